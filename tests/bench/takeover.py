"""What a takeover costs a client of software gadgets, and what being ready for it costs all the time.

Natively, in namespaces: client, both appliances, keepalived and witness share this machine's processors.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Final

from tests.bench.bulk_client import READ_10, BulkClient
from tests.bench.results import Result
from tests.namespaces.loads import BLOCK, CBW, CSW, READ, WRITE, Disk
from tests.namespaces.twins import MEDIUM, MEGABYTES, STICK, SWITCHOVER, VIRTUAL, Twins
from tests.namespaces.urbs import Imported
from tests.namespaces.world import Node

CRASHES: Final = 20
ORDERS: Final = 20
CALM: Final = 200
"""URBs between two takeovers."""
TRANSFER: Final = 64 << 10
IN_FLIGHT: Final = 4
"""Commands that a disk has at once."""
MEBIBYTES: Final = 64
"""Written, and read, in each turn; the turns take turns with the rival's."""
TURNS: Final = 3
READS: Final = 1000
PLAIN: Final = "plain"
"""The same disk without a group: nothing is replicated, no packet judged."""


def measure() -> list[Result]:
    with Twins() as twins:
        return [*gaps(twins), *costs(twins)]


# What a takeover costs


def gaps(twins: Twins) -> list[Result]:
    with Disk(twins.client, VIRTUAL, "disk", MEGABYTES) as disk:
        crashes = sorted(crash(twins, disk) for _ in range(CRASHES))
        planned = sorted(order(twins, disk) for _ in range(ORDERS))
    killed = f"SIGKILL of everything on the master to the next URB, {CRASHES} times; 4 KiB, depth 1"
    longest = f"the longest was {crashes[-1]:.0f} ms"
    ordered = f"`twinhub switchover`, median of {ORDERS}; the longest was {planned[-1]:.0f} ms"
    return [
        Result("pair.gap.crash_p50", median(crashes), "ms", note=killed),
        Result("pair.gap.crash_p99", quantiles(crashes, n=100, method="inclusive")[-1], "ms", note=longest),
        Result("pair.gap.planned", median(planned), "ms", note=ordered),
    ]


def crash(twins: Twins, disk: Disk) -> float:
    master, _ = settle(twins, disk)
    twins.kill(master)
    gap = gap_of(disk)
    twins.start(master)
    return gap


def order(twins: Twins, disk: Disk) -> float:
    master, _ = settle(twins, disk)
    twins.ask(master, "/api/pair/order", SWITCHOVER)
    return gap_of(disk)


def settle(twins: Twins, disk: Disk) -> tuple[str, str]:
    """Protected, and its traffic calm again; master and backup."""
    roles = twins.protected()
    disk.goes_on(CALM)
    time.sleep(1.0)  # the longest that a connection needs to be as before
    disk.pulse.restart()
    return roles


def gap_of(disk: Disk) -> float:
    """In ms."""
    disk.goes_on(CALM)
    return disk.pulse.longest * 1000


# What being protected costs


def costs(twins: Twins) -> list[Result]:
    master, backup = twins.protected()
    add_plain(twins, master)
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    added, spent = [], 0.0
    with (
        imported(twins.client, VIRTUAL, "disk") as ours,
        imported(twins.client, twins.world[master].address, PLAIN) as plain,
    ):
        for _ in range(TURNS):
            added.append(microseconds(ours) - microseconds(plain))
            for operation in (WRITE, READ):
                rates[PLAIN, operation].append(megabytes_a_second(plain, operation))
                before = cpu_seconds(twins.world[backup])
                rates["ours", operation].append(megabytes_a_second(ours, operation))
                spent += cpu_seconds(twins.world[backup]) - before
    moved = TURNS * 2 * (MEBIBYTES << 20) / 1e6
    how = f"64 KiB, {IN_FLIGHT} commands under way; all on one machine's processors"
    return [
        *(
            Result(name, median(rates["ours", did]), "MB/s", median(rates[PLAIN, did]), "unreplicated", note)
            for name, did, note in (
                ("pair.replicated_disk", WRITE, f"written, {how}"),
                ("pair.replicated_disk.read", READ, f"read, {how}"),
            )
        ),
        Result("pair.urb_cost", median(added), "us/URB", note="added to each of a 4 KiB read's three"),
        Result("pair.backup_cpu", spent * 1000 / moved, "ms/MB", note="as much written as read"),
    ]


def add_plain(twins: Twins, name: str) -> None:
    folder = twins.appliances[name].folder
    (folder / "plain.img").write_bytes(bytes(MEGABYTES << 20))
    file = folder / "plain.toml"
    file.write_text(STICK.replace('"disk"', f'"{PLAIN}"', 1).replace(MEDIUM, "plain.img"))
    twins.ask(name, "/api/gadgets/add", {"gadget": {"definition": str(file)}, "keep": False})


@contextmanager
def imported(node: Node, host: str, name: str) -> Iterator[Imported]:
    usb = Imported(node, host, name)
    try:
        bulk_in, bulk_out = usb.bulk()
        BulkClient(usb.sock, usb.record.devid).ask_ready(bulk_in, bulk_out)
        yield usb
    finally:
        usb.hang_up()
        usb.sock.close()


def microseconds(usb: Imported) -> float:
    client = BulkClient(usb.sock, usb.record.devid)
    bulk_in, bulk_out = usb.bulk()
    began = time.perf_counter()
    for number in range(READS):
        client.read_disk(bulk_in, bulk_out, number * 8 % (MEGABYTES << 11), 8)
    return (time.perf_counter() - began) / READS / 3 * 1e6


def megabytes_a_second(usb: Imported, operation: int) -> float:
    """Sequentially, from the beginning again when the end is reached."""
    bulk_in, bulk_out = usb.bulk()
    under_way, data, inbound = deque[int](), os.urandom(TRANSFER), 0x80 * (operation == READ)
    began = time.perf_counter()
    for number in range((MEBIBYTES << 20) // TRANSFER):
        block = number * TRANSFER % (MEGABYTES << 20) // BLOCK
        command = READ_10.pack(operation, 0, block, 0, TRANSFER // BLOCK, 0)
        usb.submit(bulk_out, CBW.pack(b"USBC", number, TRANSFER, inbound, 0, 10, command))
        if operation == WRITE:
            usb.submit(bulk_out, data)
        else:
            usb.submit(bulk_in, length=TRANSFER)
        usb.submit(bulk_in, length=CSW.size)
        under_way.append(3)
        while len(under_way) == IN_FLIGHT:
            finish(usb, under_way)
    while under_way:
        finish(usb, under_way)
    return (MEBIBYTES << 20) / (time.perf_counter() - began) / 1e6


def finish(usb: Imported, under_way: deque[int]) -> None:
    """One URB of the oldest command."""
    answer = usb.good(usb.answer())
    if len(answer.data) == CSW.size and answer.data[12]:
        raise RuntimeError("the disk failed")
    under_way[0] -= 1
    if not under_way[0]:
        under_way.popleft()


def cpu_seconds(node: Node) -> float:
    """Of all the processes in there."""
    ticks = 0
    for pid in node.pids():
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
