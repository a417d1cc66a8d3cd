"""What is said on a worker's control socket: one JSON object a line, each way. Sans-IO.

A request is `{"op": …}` with the op's own fields, an answer `{"ok": …}` or `appliance.errors.describe`'s
`{"error", "message"}`; answers come in the order of their requests. An event is `{"event": …}` and may come
between answers. `{"event": "end", "reason": …}` is the last line of all.

Of a session, `<runtime>/sessions/<id>.sock`:

| op | fields | answer |
|---|---|---|
| describe | | the session's spec, the code's version, the worker's pid |
| stats | | counters: `Telemetry.report` and what the kind of session adds |
| kick | reason | true; the session ends, and says why |
| capture | a pipe or socket to write pcapng to, passed along (SCM_RIGHTS) | true |
| local | input | true; for gadgets: an input at the device itself, e.g. `{"type_text": "hello"}` |
| reexec | python (optional) | the version that runs now: the worker has become newer code, in mid-session |

Of a software gadget, `<runtime>/gadgets/<name>.sock`:

| op | fields | answer |
|---|---|---|
| describe | | name, definition, portrait (`portrait.py`), the code's version, the process's pid |
| stats | | session: the id of the one it has, or null; companions, by function, faults, recording |
| local | input, folder (optional: of relative paths) | true |
| events | | true; from now on `{"event": "told", "time", "gadget", "function", "kind", "fields"}` lines |
| serve | spec; the session's listening control socket and the client's socket, passed along | true |
| record | a pipe or socket to write a recording (`gadgets.replay`) to, passed along | true |
| record_end | reason | true; the recording is written to its end |
| stop | reason | true; the gadget ends, and with it the session it has |
| replicate … drop | | of its copy on the sibling appliance: see `replication/twin.py` |

A gadget tells what its functions and its device tell (function ""), and "attached" and "detached"; how much a
follower was too slow for, `{"event": "lost", "count"}` says. `{"event": "plugged", "plugged"}` goes to
everybody: when a fault pulls it out (false) and when it is back.
"""

from __future__ import annotations

import json
from typing import Any, Final

from appliance.errors import ProtocolError

LINE_LIMIT: Final = 192 << 10
REQUEST_LIMIT: Final = 128 << 10
"""Of what a worker is started with, by the nursery."""

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Bytes in, messages out."""

    def __init__(self, rest: bytes = b"") -> None:
        self.rest = rest

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises ProtocolError for a line that is none or too long."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if max(map(len, (*lines, self.rest))) > LINE_LIMIT:
            raise ProtocolError(f"a control message is longer than {LINE_LIMIT} bytes")
        return [_decode(line) for line in lines]


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a control message is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("a control message must be a JSON object")
    return message
