"""What the daemon and its helper say to each other: one JSON object a SOCK_SEQPACKET message, no I/O here.

Request: {"id": 7, "op": "bind", "busid": "1-1.4"}, with the descriptor of a hand-over beside it (SCM_RIGHTS).
Reply: {"id": 7, "result": null} or {"id": 7, "error": "Busy", "message": "…"}; id is null when none came.

tcp_facts: a connected socket beside it; the result is `Facts.to_plain`. tcp_rebuild: "details" is a list of
`Rebuild.to_plain`, beside it for each a file with the tail; the result is a list of null, for each of the
sockets that come beside it, and of {"error", "message"}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from appliance.errors import ProtocolError, TwinhubError, UsageError, describe, revive
from appliance.kernel.paths import checked_busid

HELPER_SOCKET = Path("/run/twinhub-helper/helper.sock")
"""Where twinhub-helper.socket listens."""
MAX_MESSAGE = 16384
MAX_REBUILDS = 32
"""In one request."""
MAX_ID = 1 << 53


Result: TypeAlias = int | dict[str, Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request of this operation carries."""

    busid: bool = True
    fds: int | None = 0
    """None: one for each of the details."""

    @property
    def details(self) -> bool:
        return self.fds is None


OPERATIONS: dict[str, Shape] = {
    "bind": Shape(),
    "unbind": Shape(),
    "hand_over": Shape(fds=1),
    "end": Shape(),
    "status": Shape(),
    "load_modules": Shape(busid=False),
    "tcp_facts": Shape(busid=False, fds=1),
    "tcp_rebuild": Shape(busid=False, fds=None),
}


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    op: str
    busid: str = ""
    fds: tuple[int, ...] = ()
    details: tuple[Mapping[str, Any], ...] = ()


def encode_request(request: Request) -> bytes:
    """The message; its descriptors travel beside it."""
    message: dict[str, Any] = {"id": request.id, "op": request.op}
    if request.busid:
        message["busid"] = request.busid
    if request.details:
        message["details"] = request.details
    return json.dumps(message).encode()


def parse_request(data: bytes, fds: Sequence[int] = ()) -> Request:
    """UsageError for everything but an operation of the table in exactly its shape."""
    message = parse_object(data)
    op, busid = message.get("op"), message.get("busid", "")
    shape = OPERATIONS.get(op) if isinstance(op, str) else None
    if shape is None:
        raise UsageError(f"unknown operation {str(op)[:40]!r}; there are {', '.join(OPERATIONS)}")
    keys = ["id", "op", *["busid"] * shape.busid, *["details"] * shape.details]
    if set(message) != set(keys) or not isinstance(busid, str):
        raise UsageError(f"{op} takes {', '.join(keys[:-1])} and {keys[-1]}, nothing else")
    details = details_of(message)
    wanted = len(details) if shape.fds is None else shape.fds
    if len(fds) != wanted:
        raise UsageError(f"{op} takes {wanted} descriptors, {len(fds)} came")
    request_id = id_of(message)
    if request_id is None:
        raise UsageError(f"the id of a request is a number from 0 to {MAX_ID}")
    return Request(request_id, str(op), checked_busid(busid) if shape.busid else "", tuple(fds), details)


def details_of(message: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    found = message.get("details", [])
    if (
        not isinstance(found, list)
        or len(found) > MAX_REBUILDS
        or not all(isinstance(x, dict) for x in found)
    ):
        raise UsageError(f"details are a list of at most {MAX_REBUILDS} objects")
    return tuple(found)


def parse_object(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("a request is one JSON object") from error
    if not isinstance(message, dict):
        raise UsageError("a request is one JSON object")
    return message


def id_of(message: dict[str, Any]) -> int | None:
    found = message.get("id")
    return found if type(found) is int and 0 <= found <= MAX_ID else None


def id_within(data: bytes) -> int | None:
    """The id of a request that may be wrong in every other way."""
    try:
        return id_of(parse_object(data))
    except UsageError:
        return None


def encode_result(request_id: int, result: Result) -> bytes:
    return json.dumps({"id": request_id, "result": result}).encode()


def encode_failure(request_id: int | None, error: TwinhubError) -> bytes:
    return json.dumps({"id": request_id, **describe(error)}).encode()


@dataclass(frozen=True, slots=True)
class Reply:
    id: int | None
    result: Result = None
    failure: TwinhubError | None = None


def parse_reply(data: bytes) -> Reply:
    try:
        message = parse_object(data)
    except UsageError as error:
        raise ProtocolError("the helper's reply is not a JSON object") from error
    if "error" in message:
        return Reply(id_of(message), failure=revive(message))
    result = message.get("result")
    return Reply(id_of(message), result if type(result) in (int, dict, list) else None)
