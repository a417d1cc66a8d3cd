"""An Ethernet switch for machines only: a thread over Unix sockets, its links cut and healed at will."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LENGTH = struct.Struct("!I")
GROUP_BIT = 1
QUEUE_LIMIT = 1 << 20
"""Bytes waiting for a machine that does not read; what comes on top is dropped, as a switch does."""

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, 1)
PCAP_RECORD = struct.Struct("<IIII")


class Port:
    """A machine's plug: QEMU's stream framing (u32 length, frame), sans-IO but for the socket it names."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name, self.sock = name, sock
        self.received, self.waiting = bytearray(), bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes."""
        self.received += data
        while len(self.received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self.received)[0]
            if len(self.received) < end:
                return
            yield bytes(self.received[LENGTH.size : end])
            del self.received[:end]

    def queue(self, frame: bytes) -> None:
        if len(self.waiting) < QUEUE_LIMIT:
            self.waiting += LENGTH.pack(len(frame)) + frame

    def flush(self) -> None:
        with suppress(BlockingIOError):
            del self.waiting[: self.sock.send(self.waiting)]


class Network:
    """Machines are known by their names here."""

    def __init__(self) -> None:
        self._ports: dict[str, Port] = {}
        self._home: dict[bytes, Port] = {}
        self._cut: set[tuple[str, str]] = set()
        self._dropped: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._tap: BinaryIO | None = None
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake, wakened = socket.socketpair()
        self._selector.register(wakened, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="lab network", daemon=True)
        self._thread.start()

    def connect(self, name: str) -> socket.socket:
        """A free end of a new cable, for QEMU."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with self._lock:
            port = self._ports[name] = Port(name, ours)
            self._selector.register(ours, selectors.EVENT_READ, port)
        self._wake.send(b"!")
        return theirs

    def cut(self, source: str, destination: str, one_way: bool = False) -> None:
        """Frames from `source` to `destination` vanish; the other way too unless `one_way`."""
        with self._lock:
            self._cut |= {(source, destination)} | (set() if one_way else {(destination, source)})

    def heal(self) -> None:
        """All links carry again."""
        with self._lock:
            self._cut.clear()

    def dropped(self, source: str, destination: str) -> int:
        """Frames that vanished on a cut link so far."""
        return self._dropped[source, destination]

    @contextmanager
    def capture(self, path: Path) -> Iterator[None]:
        """A pcap file of every frame that machines send meanwhile, cut links' too."""
        with path.open("wb") as tap:
            tap.write(PCAP_HEADER)
            with self._lock:
                self._tap = tap
            try:
                yield
            finally:
                with self._lock:
                    self._tap = None

    def close(self) -> None:
        self._wake.close()
        self._thread.join()

    def _serve(self) -> None:
        with self._selector:
            while True:
                for key, events in self._selector.select():
                    if key.data is not None:
                        with self._lock:
                            self._move(key.data, events)
                    elif not key.fileobj.recv(64):  # type: ignore[union-attr]
                        for each in list(self._selector.get_map().values()):
                            each.fileobj.close()  # type: ignore[union-attr]
                        return

    def _move(self, port: Port, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                port.flush()
            data = port.sock.recv(1 << 16) if events & selectors.EVENT_READ else None
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self._selector.unregister(port.sock)
            port.sock.close()
            return
        for frame in port.feed(data or b""):
            self._forward(port, frame)
        for each in self._ports.values():
            self._watch(each)

    def _forward(self, source: Port, frame: bytes) -> None:
        destination, sender = frame[:6], frame[6:12]
        self._home[sender] = source
        if self._tap:
            seconds, nanoseconds = divmod(time.time_ns(), 10**9)
            self._tap.write(PCAP_RECORD.pack(seconds, nanoseconds // 1000, len(frame), len(frame)) + frame)
        known = None if destination[0] & GROUP_BIT else self._home.get(destination)
        for port in [known] if known else self._ports.values():
            if port is source or port.sock.fileno() < 0:
                continue
            if (source.name, port.name) in self._cut:
                self._dropped[source.name, port.name] += 1
            else:
                port.queue(frame)

    def _watch(self, port: Port) -> None:
        """Look for room in a port's socket only while something waits for it."""
        if port.sock.fileno() < 0:
            return
        if port.waiting:
            with suppress(OSError):
                port.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.waiting else 0)
        if self._selector.get_key(port.sock).events != wanted:
            self._selector.modify(port.sock, wanted, port)
