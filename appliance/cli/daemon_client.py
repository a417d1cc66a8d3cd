"""The CLI's side of the API: HTTP over the daemon's Unix socket.

http.client and not aiohttp, because it is there 0.2 s sooner.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from appliance.errors import NotPermitted, PeerError, ProtocolError, Timeout, Unavailable, revive

Json = dict[str, Any]

SECONDS_TO_ANSWER: Final = 30.0
SECONDS_OF_SILENCE: Final = 60.0
"""Of an event stream; its heartbeat comes four times as often."""
MAX_ANSWER: Final = 64 * 1024 * 1024
MAX_LINE: Final = 1024 * 1024
CHUNK: Final = 64 * 1024


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class DaemonClient:
    """Raises the TwinhubError that the daemon answered with, or Unavailable, Timeout, PeerError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, path: str, **query: str | None) -> Any:
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: Json) -> Any:
        return self._ask("POST", path, {}, body)

    @contextmanager
    def lines(self, path: str, **query: str | None) -> Iterator[Iterator[Json]]:
        """An NDJSON stream, without its heartbeats, until the daemon ends it; it has begun on entry."""
        with self._answer("GET", path, query, None, SECONDS_OF_SILENCE) as answer:
            yield events_of(answer)

    def chunks(self, path: str, **query: str | None) -> Iterator[bytes]:
        """A body of unknown size, as it comes, until its end."""
        with self._answer("GET", path, query, None, None) as answer:
            while chunk := answer.read1(CHUNK):
                yield chunk

    def _ask(self, method: str, path: str, query: dict[str, str | None], body: Json | None) -> Any:
        with self._answer(method, path, query, body, SECONDS_TO_ANSWER) as answer:
            return parsed(answer.read(MAX_ANSWER))

    @contextmanager
    def _answer(
        self, method: str, path: str, query: dict[str, str | None], body: Json | None, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        said = {name: value for name, value in query.items() if value is not None}
        target = f"{path}?{urlencode(said)}" if said else path
        data = None if body is None else json.dumps(body)
        try:
            with closing(UnixConnection(self.path, timeout)) as connection:
                connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
                with connection.getresponse() as answer:
                    if answer.status >= 400:
                        raise revive(parsed(answer.read(MAX_ANSWER)))
                    yield answer
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(
                f"no daemon answers on {self.path}; start it with `twinhub serve` or "
                "`systemctl start twinhub`, or say where it is with --runtime-dir or --config"
            ) from None
        except PermissionError:
            raise NotPermitted(
                f"{self.path} is not yours to use; become root, or a member of the group that owns it"
            ) from None
        except TimeoutError:
            raise Timeout(f"the daemon on {self.path} did not answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(
                f"the daemon broke off its answer ({type(error).__name__}); see its log"
            ) from None


def events_of(answer: http.client.HTTPResponse) -> Iterator[Json]:
    while line := answer.readline(MAX_LINE):
        event = parsed(line)
        if event.get("event") == "error":
            raise revive(event)
        if event.get("event") != "heartbeat":
            yield event


def parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ProtocolError("the daemon's answer is not JSON; is it of this version?") from None
