"""What the daemon and its helper say to each other: one JSON object a SOCK_SEQPACKET message, no I/O here.

Request: {"id": 7, "op": "bind", "busid": "1-1.4"}, with the descriptor of a hand-over beside it (SCM_RIGHTS).
Reply: {"id": 7, "result": null} or {"id": 7, "error": "Busy", "message": "…"}; id is null when none came.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ProtocolError, TwinhubError, UsageError, describe, revive
from appliance.kernel.paths import checked_busid

HELPER_SOCKET = Path("/run/twinhub-helper/helper.sock")
"""Where twinhub-helper.socket listens."""
MAX_MESSAGE = 4096
MAX_ID = 1 << 53


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request of this operation carries."""

    busid: bool = True
    fds: int = 0


OPERATIONS: dict[str, Shape] = {
    "bind": Shape(),
    "unbind": Shape(),
    "hand_over": Shape(fds=1),
    "end": Shape(),
    "status": Shape(),
    "load_modules": Shape(busid=False),
}


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    op: str
    busid: str = ""
    fds: tuple[int, ...] = ()


def encode_request(request: Request) -> bytes:
    """The message; its descriptors travel beside it."""
    message: dict[str, Any] = {"id": request.id, "op": request.op}
    if request.busid:
        message["busid"] = request.busid
    return json.dumps(message).encode()


def parse_request(data: bytes, fds: Sequence[int] = ()) -> Request:
    """UsageError for everything but an operation of the table in exactly its shape."""
    message = parse_object(data)
    op, busid = message.get("op"), message.get("busid", "")
    shape = OPERATIONS.get(op) if isinstance(op, str) else None
    if shape is None:
        raise UsageError(f"unknown operation {str(op)[:40]!r}; there are {', '.join(OPERATIONS)}")
    if set(message) != {"id", "op", *(["busid"] if shape.busid else [])} or not isinstance(busid, str):
        raise UsageError(f"{op} takes {'id, op and busid' if shape.busid else 'id and op'}, nothing else")
    if len(fds) != shape.fds:
        raise UsageError(f"{op} takes {shape.fds} descriptors, {len(fds)} came")
    request_id = id_of(message)
    if request_id is None:
        raise UsageError(f"the id of a request is a number from 0 to {MAX_ID}")
    return Request(request_id, str(op), checked_busid(busid) if shape.busid else "", tuple(fds))


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


def encode_result(request_id: int, result: int | None) -> bytes:
    return json.dumps({"id": request_id, "result": result}).encode()


def encode_failure(request_id: int | None, error: TwinhubError) -> bytes:
    return json.dumps({"id": request_id, **describe(error)}).encode()


@dataclass(frozen=True, slots=True)
class Reply:
    id: int | None
    result: int | None = None
    failure: TwinhubError | None = None


def parse_reply(data: bytes) -> Reply:
    try:
        message = parse_object(data)
    except UsageError as error:
        raise ProtocolError("the helper's reply is not a JSON object") from error
    if "error" in message:
        return Reply(id_of(message), failure=revive(message))
    result = message.get("result")
    return Reply(id_of(message), result if type(result) is int else None)
