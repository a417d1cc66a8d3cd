"""A serial port tied to a TCP port: dials it, or listens at it on loopback."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from appliance.errors import Unavailable
from appliance.loop import IN, OUT
from gadgets.serial.companions.stream import Stream
from gadgets.usb.companion import Reactor


class Connection(Stream):
    sock: socket.socket | None = None

    def take(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.connect(sock.fileno())

    def on_disconnect(self) -> None:
        if self.sock:
            self.sock.close()
            self.sock = None


class Dial(Connection):
    """Connects at the start, and again whenever a host comes or raises DTR and nobody is there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.host, self.port = host, port
        self._dialling: socket.socket | None = None
        self._calling = (False, False)
        """there is a host, and it has raised DTR"""

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        """Raises Unavailable for a host that has no address; one that does not answer may do so later."""
        super().start(reactor, give)
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise Unavailable(f"cannot find {self.host}: no host can have that name") from None
        except OSError as error:
            raise Unavailable(f"cannot find {self.host}: {error.strerror}") from None
        self._at = found[0]
        self._dial()

    def moved(self) -> None:
        before, self._calling = self._calling, (self.online, self.lines.dtr)
        if self._calling > before:
            self._dial()
        super().moved()

    def _dial(self) -> None:
        if self.fd >= 0 or self._dialling:
            return
        family, *_, address = self._at
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if sock.connect_ex(address) in (0, errno.EINPROGRESS):
            self._dialling = sock
            self.reactor.watch(sock.fileno(), OUT, self._on_answer)
        else:
            sock.close()

    def _on_answer(self, events: int) -> None:
        assert self._dialling
        sock, self._dialling = self._dialling, None
        self.reactor.forget(sock.fileno())
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
        else:
            self.take(sock)

    def stats(self) -> dict[str, object]:
        return {"tcp": f"{self.host}:{self.port}", "connected": self.fd >= 0, **super().stats()}

    def close(self) -> None:
        if self._dialling:
            self.reactor.forget(self._dialling.fileno())
            self._dialling.close()
            self._dialling = None
        self.disconnect()


class Listen(Connection):
    """Accepts one at a time; the next ones wait until that one has hung up. Port 0: any that is free."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self._listener: socket.socket | None = None

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        super().start(reactor, give)
        try:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on port {self.port}: {os.strerror(error.errno or 0)}; choose another"
            ) from None
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        reactor.watch(self._listener.fileno(), IN, self._on_call)

    def _on_call(self, events: int) -> None:
        assert self._listener
        try:
            sock, _ = self._listener.accept()
        except OSError:  # they gave up before we answered
            return
        sock.setblocking(False)
        self.reactor.want(self._listener.fileno(), 0)
        self.take(sock)

    def on_disconnect(self) -> None:
        super().on_disconnect()
        if self._listener:
            self.reactor.want(self._listener.fileno(), IN)

    def stats(self) -> dict[str, object]:
        return {"listen": self.port, "connected": self.fd >= 0, **super().stats()}

    def close(self) -> None:
        if self._listener:
            self.reactor.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        self.disconnect()
