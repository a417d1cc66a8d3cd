"""What a client of two appliances notices when the master loses its power: the time without a read."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.results import Result
from tests.bench.rivals import stock_parts
from tests.lab import Lab, Machine
from tests.lab.process import Process

ROUNDS: Final = 3
READER: Final = Path(__file__).with_name("pair_reader.py")
RECOVERY: Final = 120.0


def measure(lab: Lab) -> list[Result]:
    with lab.machines("a", "b", "client") as (a, b, client):
        gaps = [gap_of_stock_parts(a, b, client)]
        while len(gaps) < ROUNDS:
            gaps.append(gap_of_stock_parts(lab.restart("a"), lab.restart("b"), client))
    note = "power-off of the master to the next read, emulated; keepalived, usbipd, re-attach loop"
    return [Result("pair.gap.stock_parts", median(gaps) * 1000, "ms", note=note)]


def gap_of_stock_parts(a: Machine, b: Machine, client: Machine) -> float:
    for machine, priority in ((a, 200), (b, 100)):
        stock_parts.set_up(machine, priority)
    stock_parts.wait_master(a)
    stock_parts.attach(client)
    gap = gap_at_power_off(a, client, stock_parts.NODES)
    client.reset()
    stock_parts.detach(client)
    return gap


def gap_at_power_off(master: Machine, client: Machine, nodes: str) -> float:
    """In seconds. `nodes`: the pattern of the file of the client's disk, which is read all the while."""
    reader = client.start("reader", [sys.executable, "-I", "-S", str(READER), nodes])
    reader.wait_for_output("reads", RECOVERY)
    master.power_off()
    return longest_gap(client, reader, len(reader.output))


def longest_gap(client: Machine, reader: Process, said: int) -> float:
    """Of those that it tells of behind the first `said` characters, until it reads again."""
    client.wait(
        lambda: "reads" in reader.output[said:].partition("gap")[2], RECOVERY, "the reader to read again"
    )
    gaps = [line.split()[1] for line in reader.output[said:].splitlines() if line.startswith("gap")]
    return max(map(float, gaps))
