"""Disks of several servers, used by the kernel's client of the machine they run on, turn by turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.lab import Machine

ROUNDS: Final = 3
SECONDS: Final = 3
WORKLOADS: Final = {
    "seq_read": ("--rw=read --bs=1M", "MB/s"),
    "seq_write": ("--rw=write --bs=1M", "MB/s"),
    "rand_read": ("--rw=randread --bs=4k", "reads/s"),
    "rand_read_64k": ("--rw=randread --bs=64k", "reads/s"),
}
"""fio's words: direct I/O, one request at a time."""
NODE: Final = "/sys/devices/platform/vhci_hcd.0/usb*/*/*/host*/target*/*/block/sd*"
VHCI: Final = "/sys/devices/platform/vhci_hcd.0"


@dataclass(frozen=True)
class Variant:
    """A server on this machine, and the name of its disk."""

    name: str
    port: int
    export: str


@dataclass(frozen=True)
class Run:
    variant: str
    workload: str
    figure: float
    megabytes: float


def typical(runs: Sequence[Run], variant: str, workload: str) -> float:
    return median(run.figure for run in runs if (run.variant, run.workload) == (variant, workload))


def rounds(variants: Sequence[Variant]) -> Iterator[Variant]:
    """Each variant ROUNDS times, the order rotating, so that what drifts hits all alike."""
    for number in range(ROUNDS):
        turn = number % len(variants)
        yield from (*variants[turn:], *variants[:turn])


@contextmanager
def attached(machine: Machine, variant: Variant, freed: str = "true") -> Iterator[str]:
    """The node of the variant's disk; afterwards the client has let go and the command `freed` succeeds."""
    machine.run(f"usbip --tcp-port {variant.port} attach -r 127.0.0.1 -b {variant.export}")
    try:
        node = machine.node("vhci_hcd.0", "block/sd*")
        machine.run("udevadm settle")
        yield node
    finally:
        ports = f"awk '$3 == 6 {{print $2 + 0}}' {VHCI}/status"
        machine.run(f"for port in $({ports}); do echo $port > {VHCI}/detach; done")
        machine.wait_until(f"! ls -d {NODE} 2>/dev/null")
        machine.wait_until(freed)


def work(
    machine: Machine,
    variant: str,
    node: str,
    workloads: Sequence[str],
    before: Callable[[], None] = lambda: None,
) -> Iterator[Run]:
    for workload in workloads:
        words, unit = WORKLOADS[workload]
        told = machine.run(
            f"fio --name=x --filename={node} --direct=1 --ioengine=psync --runtime={SECONDS} --time_based"
            f" --output-format=json {words}",
            timeout=SECONDS + 60,
        )
        done = json.loads(told.stdout)["jobs"][0]["write" if "write" in workload else "read"]
        figure = done["bw_bytes"] / 1e6 if unit == "MB/s" else done["iops"]
        yield Run(variant, workload, figure, done["io_bytes"] / 1e6)


def cpu_ms(machine: Machine, pid: int) -> float:
    """Of a process so far, user and system."""
    fields = machine.read_file(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10.0


def private_megabytes(machine: Machine, pid: int) -> float:
    told = machine.read_file(f"/proc/{pid}/smaps_rollup").decode()
    return sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("Private")) / 1024


def session_pid(machine: Machine) -> int:
    """The process of the one session."""
    told = json.loads(machine.run("twinhub sessions --json").stdout)
    (session,) = told["sessions"] if isinstance(told, Mapping) else told
    found = machine.run(f"fuser /run/twinhub/sessions/{session['id']}.sock 2>/dev/null", check=False).stdout
    daemon = int(machine.run("pgrep -o -f 'twinhub serve'").stdout)
    return max({int(word) for word in found.split()} - {daemon})
