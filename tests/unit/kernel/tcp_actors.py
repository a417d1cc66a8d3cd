"""Who plays in the tests of a takeover, each a process in its own network namespace; see tcp_world.py.

A request is two lengths and bytes; its answer is as long as the second length says and depends on the bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from appliance.kernel.gate.client import GateLine, Passage, connection_of
from appliance.kernel.gate.messages import Open, Refuse
from appliance.kernel.spawn import spawn_helper
from appliance.kernel.tcp.state import Facts, rebuild_of

PORT = 3240
REQUEST = struct.Struct(">II")
RECORD = struct.Struct(">cI")
TAIL = 1 << 20
UNDER_WAY = 8000
"""After so many bytes of input the traffic flows."""
SHAPES = {
    "small": (1, 40, 48),
    "pipelined": (8, 40, 48),
    "bulk_in": (2, 40, 48 + 65536),
    "bulk_out": (2, 65536, 48),
}
"""Depth, bytes of a request, bytes of an answer."""


def answer_to(payload: bytes, size: int) -> bytes:
    return (hashlib.sha256(payload).digest() * (size // 32 + 1))[:size]


class Echo:
    """The deterministic device: bytes in, bytes out."""

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, data: bytes) -> bytes:
        self.pending += data
        out = []
        while len(self.pending) >= REQUEST.size:
            size, wanted = REQUEST.unpack_from(self.pending)
            if len(self.pending) < REQUEST.size + size:
                break
            out.append(answer_to(self.pending[REQUEST.size : REQUEST.size + size], wanted))
            self.pending = self.pending[REQUEST.size + size :]
        return b"".join(out)


def listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    listener.listen()
    return listener


def record(link: socket.socket, kind: bytes, body: bytes) -> None:
    link.sendall(RECORD.pack(kind, len(body)) + body)


def take(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def master(address: str, gate: str, link: socket.socket) -> None:
    """Serves one client; each piece of input is at the backup before it is acknowledged or answered.

    When the backup says so (`S`), it commits nothing more: what the kernel has then is not the backup's.
    """
    helper, listener = spawn_helper(), listen(address)
    record(link, b"L", b"")
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    facts = asyncio.run(helper.tcp_facts(connection.fileno()))
    passage = Passage(facts, path=Path(gate))
    record(link, b"F", json.dumps(facts.to_plain()).encode())
    echo, received = Echo(), 0
    while data := connection.recv(1 << 18):
        record(link, b"I", data)
        if take(link, 1) == b"S":
            time.sleep(3600)
        received += len(data)
        passage.commit(received)
        connection.sendall(echo.feed(data))
    passage.let_go()


def backup(address: str, gate: str, link: socket.socket, control: socket.socket, stop_at: int) -> None:
    """Executes what the master got; told to take over, goes on with the client."""
    echo, tail, facts, began, helper = Echo(), b"", None, 0.0, spawn_helper()
    received = sent = 0
    heard = [link, control]
    while True:
        ready, _, _ = select.select(heard, [], [])
        if link in ready:
            try:
                kind, size = RECORD.unpack(take(link, RECORD.size))
                body = take(link, size)
            except (EOFError, OSError):
                heard.remove(link)
                continue
            if kind == b"L":
                control.send(b"listening")
            if kind == b"F":
                facts, began = Facts.from_plain(json.loads(body)), time.monotonic()
            if kind == b"I":
                if stop_at and received >= stop_at:
                    link.send(b"S")
                    control.send(b"stopped")
                    stop_at = 1 << 60
                    continue
                out = echo.feed(body)
                if received < UNDER_WAY <= received + len(body) and not stop_at:
                    control.send(b"under way")
                received, sent, tail = received + len(body), sent + len(out), (tail + out)[-TAIL:]
                with suppress(OSError):
                    link.send(b"A")
        elif control in ready:
            order = control.recv(99)
            break
    assert facts
    if order == b"refuse":
        GateLine(Path(gate)).ask(Refuse(connection_of(facts)))
        return
    start = time.monotonic()
    rebuild = rebuild_of(facts, received, sent, int((start - began) * 1000))
    [connection] = asyncio.run(helper.rebuild([(rebuild, tail)]))
    if not isinstance(connection, socket.socket):
        control.send(f"refused {connection}".encode())
        return
    built = time.monotonic()
    passage = Passage(facts, received, Path(gate))
    line = GateLine(Path(gate))
    line.ask(Open(address))
    control.send(f"rebuilt {(built - start) * 1e3:.1f} {(time.monotonic() - start) * 1e3:.1f}".encode())
    with suppress(ConnectionError):
        while data := connection.recv(1 << 18):
            received += len(data)
            passage.commit(received)
            connection.sendall(echo.feed(data))
    passage.let_go()
    connection.close()


def client(address: str, shape: str, seed: int, control: socket.socket) -> None:
    """Asks until it is told that the takeover is done, and 200 times more; then says how it went."""
    depth, size, wanted = SHAPES[shape]
    rng = random.Random(seed)
    connection = socket.create_connection((address, PORT))
    with suppress(OSError):
        # As Debian's clients have it, whatever this machine prefers.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked: list[bytes] = []
    backlog, left, got, gap, ended, last = b"", None, 0, 0.0, 0.0, time.monotonic()
    connection.settimeout(20)
    while left is None or left > 0:
        while len(asked) < depth:
            payload = rng.randbytes(size)
            asked.append(payload)
            connection.sendall(REQUEST.pack(size, wanted) + payload)
        try:
            data = connection.recv(1 << 18)
        except ConnectionResetError:
            control.send(b"reset")
            return
        if not data:
            control.send(b"unplugged")
            return
        backlog += data
        while len(backlog) >= wanted:
            if backlog[:wanted] != answer_to(asked.pop(0), wanted):
                control.send(b"garbled")
                return
            backlog, got, now = backlog[wanted:], got + 1, time.monotonic()
            gap, ended = max((gap, ended), (now - last, now))
            last = now
            if left is not None:
                left -= 1
        if left is None and select.select([control], [], [], 0)[0]:
            control.recv(99)
            left = 200
    connection.close()
    control.send(f"whole {got} {gap:.4f} {ended:.4f}".encode())


def main(role: str, *words: str) -> None:
    if role == "master":
        master(words[0], words[1], socket.socket(fileno=int(words[2])))
    elif role == "backup":
        link, control = (socket.socket(fileno=int(word)) for word in words[2:4])
        backup(words[0], words[1], link, control, int(words[4]))
    else:
        client(words[0], words[1], int(words[2]), socket.socket(fileno=int(words[3])))


if __name__ == "__main__":
    main(*sys.argv[1:])
