"""Sharing a real disk: Twinhub's direct and relayed sessions against the stock `usbipd`.

One machine is server and client at once. `usbipd` listens on another port and serves the very device that
Twinhub bound, so that the variants can take turns: round by round, the order rotating, medians in the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.results import Result
from tests.lab import Disk, Lab, Machine

ROUNDS: Final = 4
SECONDS: Final = 3
STOCK_PORT: Final = 3239
VARIANTS: Final = ("usbipd", "direct", "relayed")
WORKLOADS: Final = {
    "seq_read": ("--rw=read --bs=1M", "MB/s"),
    "rand_read": ("--rw=randread --bs=4k", "reads/s"),
    "rand_read_64k": ("--rw=randread --bs=64k", "reads/s"),
}
"""fio's words: direct I/O, one request at a time."""
CONFIG: Final = "[log]\nlevel = 'warning'\n"


@dataclass(frozen=True)
class Run:
    variant: str
    workload: str
    figure: float
    cpu_ms_per_mb: float


def measure(lab: Lab) -> list[Result]:
    with lab.machines("bench") as (machine,):
        disk = machine.plug(Disk(size=64 << 20, serial="BENCH"))
        machine.run("modprobe -a vhci-hcd usbip-host")
        machine.write_file("/etc/twinhub/twinhub.toml", CONFIG.encode())
        machine.start("twinhub", "exec twinhub serve")
        machine.wait_for_port(3240)
        machine.run(f"twinhub share {disk.busid} --name disk")
        machine.start("usbipd", f"exec usbipd --tcp-port {STOCK_PORT}")
        machine.wait_for_port(STOCK_PORT)
        runs, memory = [], 0.0
        for number in range(ROUNDS):
            for variant in rotated(VARIANTS, number):
                attach(machine, variant, str(disk.busid))
                runs += list(work(machine, variant))
                if variant == "relayed":
                    memory = private_megabytes(machine, worker(machine))
                detach(machine)
    return results(runs, memory)


def rotated(variants: tuple[str, ...], number: int) -> tuple[str, ...]:
    turn = number % len(variants)
    return variants[turn:] + variants[:turn]


def attach(machine: Machine, variant: str, busid: str) -> None:
    if variant == "usbipd":
        machine.run(f"usbip --tcp-port {STOCK_PORT} attach -r 127.0.0.1 -b {busid}")
    else:
        machine.run(f"twinhub share {busid} --name disk --mode {variant}")
        machine.run("usbip attach -r 127.0.0.1 -b disk")
    machine.node("vhci_hcd.0", "block/sd*")
    machine.run("udevadm settle")


def detach(machine: Machine) -> None:
    machine.run("usbip detach -p $(usbip port 2>/dev/null | sed -n 's/^Port 0*\\([0-9][0-9]*\\):.*/\\1/p')")
    machine.wait_until(
        "! ls -d /sys/devices/platform/vhci_hcd.0/usb*/*/*/host*/target*/*/block/sd* 2>/dev/null"
    )
    machine.wait_until("grep -qx 1 /sys/bus/usb/drivers/usbip-host/*/usbip_status")


def work(machine: Machine, variant: str) -> Iterator[Run]:
    node = machine.node("vhci_hcd.0", "block/sd*")
    pid = worker(machine) if variant == "relayed" else None
    for workload, (words, unit) in WORKLOADS.items():
        before = cpu_ms(machine, pid)
        told = machine.run(
            f"fio --name=x --filename={node} --direct=1 --ioengine=psync --runtime={SECONDS} --time_based"
            f" --output-format=json {words}",
            timeout=SECONDS + 60,
        )
        read = json.loads(told.stdout)["jobs"][0]["read"]
        spent = cpu_ms(machine, pid) - before
        figure = read["bw_bytes"] / 1e6 if unit == "MB/s" else read["iops"]
        yield Run(variant, workload, figure, spent / (read["io_bytes"] / 1e6))


def worker(machine: Machine) -> int:
    """The process of the one session."""
    told = json.loads(
        machine.run("ls /run/twinhub/sessions/*.sock >/dev/null; twinhub sessions --json").stdout
    )
    (session,) = told["sessions"] if isinstance(told, dict) else told
    found = machine.run(f"fuser /run/twinhub/sessions/{session['id']}.sock 2>/dev/null", check=False).stdout
    pids = {int(word) for word in found.split()}
    daemon = int(machine.run("pgrep -o -f 'twinhub serve'").stdout)
    return max(pids - {daemon})


def cpu_ms(machine: Machine, pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = machine.read_file(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10.0


def private_megabytes(machine: Machine, pid: int) -> float:
    told = machine.read_file(f"/proc/{pid}/smaps_rollup").decode()
    return sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("Private")) / 1024


def results(runs: list[Run], memory: float) -> list[Result]:
    def typical(variant: str, workload: str) -> float:
        return median(run.figure for run in runs if (run.variant, run.workload) == (variant, workload))

    found = [
        Result(
            f"share.{variant}.{workload}",
            typical(variant, workload),
            unit,
            typical("usbipd", workload),
            "usbipd",
        )
        for variant in VARIANTS[1:]
        for workload, (_, unit) in WORKLOADS.items()
    ]
    microseconds = {variant: 1e6 / typical(variant, "rand_read") for variant in VARIANTS}
    added = (microseconds["relayed"] - microseconds["usbipd"]) / 3
    cpu = median(run.cpu_ms_per_mb for run in runs if (run.variant, run.workload) == ("relayed", "seq_read"))
    return [
        *found,
        Result(
            "share.relayed.added_latency",
            added,
            "us/URB",
            note="of a 4 KiB read's three URBs, under emulation",
        ),
        Result("share.relayed.cpu", cpu, "ms/MB", note="worker, sequential, under emulation"),
        Result("share.relayed.memory", memory, "MB", note="private memory of a session's process"),
    ]
