"""What goes wrong in the lab; every message carries what is needed to see why."""

from __future__ import annotations


class LabError(Exception):
    """Base of what the lab raises."""


class CommandFailed(LabError):
    """A command in a machine ended with another code than 0; the message has its whole output."""


class DeadlinePassed(LabError):
    """What was waited for did not happen in time."""


class MachineDied(LabError):
    """The machine's QEMU is gone; the message ends with its console."""


class QmpError(LabError):
    """QEMU refused a command."""
