"""Hypothesis judges here what is right, not how fast it is: no deadline on a machine with other work."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
