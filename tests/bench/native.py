"""Software gadgets with no virtual machine between: loopback, one client program for both servers.

Rounds alternate between the servers, so that a busy machine hits both alike; medians in the end.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from appliance.usbip.client import import_export
from tests.bench.bulk_client import BulkClient, megabytes_a_second, microseconds_a_urb
from tests.bench.results import Result

ROUNDS: Final = 7
READS: Final = 2000
LENGTH: Final = 128 << 10
"""Bytes of a bulk URB: what usb-storage and libusb programs submit."""
TOTAL: Final = 256 << 20
IN_FLIGHT: Final = 8
DISK: Final = """
[gadget]
name = "bench"
[[function]]
kind = "disk"
luns = [{ medium = "memory:64M" }]
"""
SOURCE: Final = """
[gadget]
name = "bench"
[[function]]
kind = "source-sink"
isochronous = false
interrupt = false
"""


def measure() -> list[Result]:
    return [*urb_cost(), source_vs_socket()]


def urb_cost() -> Iterator[Result]:
    """A 4 KiB read's three URBs, answered by us and by PyPI's usbip."""
    with twinhub(DISK) as ours, pypi_usbip() as theirs:
        rounds = [
            (microseconds_a_urb(ours, 0x81, 0x01, READS), microseconds_a_urb(theirs, 0x82, 0x01, READS))
            for _ in range(ROUNDS)
        ]
    us, them = median(a for a, _ in rounds), median(b for _, b in rounds)
    yield Result("gadgets.urb_cost", us, "us/URB", them, "PyPI usbip", "less is better; 4 KiB reads, native")


def source_vs_socket() -> Result:
    """Bytes of a bulk source against bytes that a process sends on a bare loopback socket."""
    with twinhub(SOURCE) as ours, bare_socket() as raw:
        rounds = [
            (megabytes_a_second(ours, 0x81, LENGTH, TOTAL, IN_FLIGHT), received_megabytes_a_second(raw))
            for _ in range(ROUNDS)
        ]
    us, bare = median(a for a, _ in rounds), median(b for _, b in rounds)
    return Result("gadgets.source_vs_socket", us, "MB/s", bare, "loopback socket", f"{LENGTH >> 10} KiB URBs")


@contextmanager
def twinhub(definition: str) -> Iterator[BulkClient]:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/bench.toml"
        with open(file, "w") as written:
            written.write(definition)
        arguments = ("-m", "appliance.cli.main", "gadget", "run", file, "--json", "--port", str(free_port()))
        with serving(*arguments, "--runtime-dir", folder) as told:
            host, _, port = json.loads(told)["listen"][0].rpartition(":")
            with imported(host, int(port), "bench") as client:
                yield client


@contextmanager
def pypi_usbip() -> Iterator[BulkClient]:
    port = free_port()
    with (
        serving("-m", "tests.bench.rivals.pypi_usbip", str(port), "64"),
        imported("127.0.0.1", port, "1-1") as client,
    ):
        yield client


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """A Python program, from its first line of output on."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline()
        finally:
            process.terminate()


@contextmanager
def imported(host: str, port: int, name: str) -> Iterator[BulkClient]:
    record, sock = import_export(host, port, name)
    with sock:
        client = BulkClient(sock, record.devid)
        client.configure()
        yield client


@contextmanager
def bare_socket() -> Iterator[socket.socket]:
    """One end of a TCP connection whose other end a process fills as fast as it can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = socket.create_connection(server.getsockname())
        writer, _ = server.accept()
        if not (pid := os.fork()):
            reader.close()
            data = bytes(LENGTH)
            try:
                while True:
                    writer.sendall(data)
            except OSError:
                os._exit(0)
        writer.close()
        with reader:
            yield reader
        os.waitpid(pid, 0)


def received_megabytes_a_second(sock: socket.socket) -> float:
    buffer, left, began = bytearray(LENGTH), TOTAL, time.perf_counter()
    while left > 0:
        left -= sock.recv_into(buffer)
    return TOTAL / (time.perf_counter() - began) / 1e6


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
