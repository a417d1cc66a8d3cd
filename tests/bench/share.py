"""Sharing a real disk: Twinhub's direct and relayed sessions against the stock `usbipd`.

One machine is server and client at once. `usbipd` listens on another port and serves the very device that
Twinhub bound, so that the variants can take turns.
"""

from __future__ import annotations

from statistics import median
from typing import Final

from tests.bench.fio import (
    WORKLOADS,
    Run,
    Variant,
    attached,
    cpu_ms,
    private_megabytes,
    rounds,
    session_pid,
    typical,
    work,
)
from tests.bench.results import Result
from tests.lab import Disk, Lab

STOCK_PORT: Final = 3239
READS: Final = ("seq_read", "rand_read", "rand_read_64k")
MODES: Final = ("direct", "relayed")
CONFIG: Final = "[log]\nlevel = 'warning'\n"
FREE: Final = "grep -qx 1 /sys/bus/usb/drivers/usbip-host/*/usbip_status"


def measure(lab: Lab) -> list[Result]:
    with lab.machines("bench") as (machine,):
        disk = machine.plug(Disk(size=64 << 20, serial="BENCH"))
        machine.run("modprobe -a vhci-hcd usbip-host")
        machine.write_file("/etc/twinhub/twinhub.toml", CONFIG)
        machine.start("twinhub", "exec twinhub serve")
        machine.wait_for_port(3240, timeout=120)
        machine.run(f"twinhub share {disk.busid} --name disk")
        machine.start("usbipd", f"exec usbipd --tcp-port {STOCK_PORT}")
        machine.wait_for_port(STOCK_PORT)
        stock = Variant("usbipd", STOCK_PORT, str(disk.busid))
        runs: list[Run] = []
        cpu_ms_per_mb: list[float] = []
        memory = 0.0
        for variant in rounds((stock, *(Variant(mode, 3240, "disk") for mode in MODES))):
            if variant != stock:
                machine.run(f"twinhub share {disk.busid} --name disk --mode {variant.name}")
            with attached(machine, variant, FREE) as node:
                if variant.name != "relayed":
                    runs += work(machine, variant.name, node, READS)
                    continue
                pid = session_pid(machine)
                before = cpu_ms(machine, pid)
                (sequential,) = work(machine, variant.name, node, READS[:1])
                cpu_ms_per_mb.append((cpu_ms(machine, pid) - before) / sequential.megabytes)
                runs += [sequential, *work(machine, variant.name, node, READS[1:])]
                memory = private_megabytes(machine, pid)
    return results(runs, median(cpu_ms_per_mb), memory)


def results(runs: list[Run], cpu: float, memory: float) -> list[Result]:
    found = [
        Result(
            f"share.{mode}.{workload}",
            typical(runs, mode, workload),
            WORKLOADS[workload][1],
            typical(runs, "usbipd", workload),
            "usbipd",
        )
        for mode in MODES
        for workload in READS
    ]
    microseconds = {variant: 1e6 / typical(runs, variant, "rand_read") for variant in ("usbipd", "relayed")}
    added = (microseconds["relayed"] - microseconds["usbipd"]) / 3
    return [
        *found,
        Result("share.relayed.added_latency", added, "us/URB", note="of a 4 KiB read's three URBs, emulated"),
        Result("share.relayed.cpu", cpu, "ms/MB", note="worker, sequential, emulated"),
        Result("share.relayed.memory", memory, "MB", note="private memory of a session's process"),
    ]
