"""What an appliance and the witness say to each other; sans-IO.

    witness    {"twinhub": "witness", "version": 1, "nonce": "<32 hex digits>"}
    appliance  {"nonce": "<32 hex digits>"}
    appliance  <mac> {"op": "claim", "group": "desk", "node": "a", "epoch": 3, "heir": "b"}
    witness    <mac> {"lease": 5.0, "owner": "a", "epoch": 4, "heir": "b"}            granted
    witness    <mac> {"lease": 5.0, "owner": "b", "epoch": 9, "heir": null, "refused": true}
    witness    <mac> {"error": "Unavailable", "message": "…"}                         nothing was changed

Lines of UTF-8, at most LINE_LIMIT bytes; every request has one answer, in order. `mac` is HMAC-SHA256, in
hex, over the direction (">" to the witness, "<" from it), the number of the line in that direction (8 bytes,
big-endian, from 0) and the JSON, by a key made of the shared key and both nonces: so nothing can be replayed,
reordered, reflected or moved to another connection. Lines are authenticated, not secret.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from appliance.errors import PeerError, ProtocolError, TwinhubError, describe, revive
from appliance.explain import shown
from appliance.pair.model import Standing
from appliance.pair.selector.register import Op, Request, is_epoch, is_node

Json = dict[str, Any]

PORT: Final = 3243
VERSION: Final = 1
LINE_LIMIT: Final = 1024
NONCE: Final = 16
MAC: Final = 64
LONGEST_GROUP: Final = 64
LONGEST_LEASE: Final = 3600.0

TO_WITNESS: Final = b">"
FROM_WITNESS: Final = b"<"


def session_key(key: bytes, witness_nonce: bytes, appliance_nonce: bytes) -> bytes:
    return hmac.digest(key, b"twinhub witness 1" + witness_nonce + appliance_nonce, sha256)


class Lines:
    """One direction of one connection: seals the lines of one end, opens those of the other."""

    def __init__(self, key: bytes, direction: bytes) -> None:
        self._key, self._direction, self._count = key, direction, 0

    def seal(self, message: Json) -> bytes:
        text = json.dumps(message, ensure_ascii=False).encode()
        return self._mac(text) + b" " + text + b"\n"

    def open(self, line: bytes) -> Json:
        """Raises PeerError when it was not sealed by who has the key, as the next line of this connection."""
        mac, _, text = line.rstrip(b"\n").partition(b" ")
        if not hmac.compare_digest(mac, self._mac(text)):
            raise PeerError("a line that the shared key did not seal; is the key the same on both ends?")
        return parse(text)

    def _mac(self, text: bytes) -> bytes:
        counted = self._direction + self._count.to_bytes(8, "big") + text
        self._count += 1
        return hmac.new(self._key, counted, sha256).hexdigest().encode()


def parse(line: bytes) -> Json:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ProtocolError(f"not a line of the witness' protocol: {shown(line[:80].decode('latin1'))}")
    return message


def greeting(nonce: bytes) -> bytes:
    return json.dumps({"twinhub": "witness", "version": VERSION, "nonce": nonce.hex()}).encode() + b"\n"


def reply_to_greeting(nonce: bytes) -> bytes:
    return json.dumps({"nonce": nonce.hex()}).encode() + b"\n"


def read_greeting(line: bytes) -> bytes:
    """The witness' nonce."""
    message = parse(line)
    if message.get("twinhub") != "witness":
        raise ProtocolError("this is not a witness; is the port right?")
    if message.get("version") != VERSION:
        raise ProtocolError(f"the witness speaks version {shown(message.get('version'))}, we speak {VERSION}")
    return read_nonce(message)


def read_nonce(message: Json) -> bytes:
    text = message.get("nonce")
    try:
        nonce = bytes.fromhex(text if isinstance(text, str) else "")
    except ValueError:
        nonce = b""
    if len(nonce) != NONCE:
        raise ProtocolError(f"wanted a nonce of {NONCE} bytes, in hex")
    return nonce


def write_request(group: str, request: Request) -> Json:
    return {
        "op": request.op.value,
        "group": group,
        "node": request.node,
        "epoch": request.epoch,
        "heir": request.heir,
    }


def read_request(message: Json) -> tuple[str, Request]:
    """The group and what is asked of its register."""
    group, op = message.get("group"), message.get("op")
    node, epoch, heir = message.get("node"), message.get("epoch"), message.get("heir")
    if not (isinstance(group, str) and group.isprintable() and 0 < len(group) <= LONGEST_GROUP):
        raise ProtocolError(f"wanted a group's name, found {shown(group)}")
    if op == Op.LOOK.value:
        return group, Request(Op.LOOK)
    if op not in [known.value for known in Op]:
        raise ProtocolError(f"wanted one of {', '.join(known.value for known in Op)}, found {shown(op)}")
    if not (is_node(node) and is_epoch(epoch) and (heir is None or (is_node(heir) and heir != node))):
        raise ProtocolError(f"wanted a node, an epoch and another node as heir, found {shown(message)}")
    return group, Request(Op(op), node, epoch, heir)


def write_standing(standing: Standing, lease: float, *, refused: bool = False) -> Json:
    said = {"lease": lease, "owner": standing.owner, "epoch": standing.epoch, "heir": standing.heir}
    return {**said, "refused": True} if refused else said


def write_error(error: TwinhubError) -> Json:
    return dict(describe(error))


@dataclass(frozen=True, slots=True)
class Answer:
    standing: Standing
    lease: float
    refused: bool


def read_answer(message: Json) -> Answer:
    """Raises what went wrong there, too."""
    if "error" in message:
        raise revive({key: str(value) for key, value in message.items()})
    owner, epoch, heir, lease = (message.get(key) for key in ("owner", "epoch", "heir", "lease"))
    nodes = all(node is None or is_node(node) for node in (owner, heir))
    if not (nodes and is_epoch(epoch) and isinstance(lease, int | float) and 0 < lease <= LONGEST_LEASE):
        raise ProtocolError(f"the witness' answer makes no sense: {shown(message)}")
    return Answer(Standing(owner, epoch, heir), float(lease), bool(message.get("refused")))
