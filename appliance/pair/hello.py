"""What two daemons say first, and which of two connections between them they keep. Sans-IO."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from appliance.errors import ProtocolError
from appliance.pair.model import NodeId

OLDEST, NEWEST = 1, 1
"""Versions of the pair's protocol that this Twinhub speaks."""
LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class Hello:
    node: NodeId
    name: str
    boot: str
    """Another one for every start of the daemon."""
    software: str
    """Its Twinhub."""
    oldest: int = OLDEST
    newest: int = NEWEST

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def parse_hello(said: object) -> Hello:
    """ProtocolError unless it is one; what a newer version says besides does not matter."""
    if not isinstance(said, dict):
        raise ProtocolError("the sibling does not say hello")
    kinds = {"node": str, "name": str, "boot": str, "software": str, "oldest": int, "newest": int}
    for key, kind in kinds.items():
        value = said.get(key)
        if type(value) is not kind or (isinstance(value, str) and not is_plain(value)):
            raise ProtocolError(f"the sibling's hello lacks a proper {key!r}")
    return Hello(**{key: said[key] for key in kinds})


def is_plain(text: str) -> bool:
    return len(text) <= LONGEST and text.isprintable()


def agree(ours: Hello, theirs: Hello) -> int:
    """The version to speak. ProtocolError if there is none that both know."""
    version = min(ours.newest, theirs.newest)
    if version < max(ours.oldest, theirs.oldest):
        raise ProtocolError(
            f"{theirs.name} runs Twinhub {theirs.software}, which does not understand this one,"
            f" {ours.software}; bring both to the same version"
        )
    return version


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connection on which both have said hello."""

    dialler: NodeId
    boot: str
    """Of the sibling's daemon."""


def prefers(new: Candidate, kept: Candidate | None) -> bool:
    """Whether `new` takes the place of `kept`; both ends judge alike.

    A daemon that was started again, or whose dialled connection is gone, has no use for the old one. Of two
    that were dialled at the same time, that of the smaller node id stays.
    """
    return kept is None or new.boot != kept.boot or new.dialler <= kept.dialler
