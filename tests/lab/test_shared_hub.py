"""The lab's own hub for two: who has it, who has it no more, and that the switch alone decides."""

from __future__ import annotations

import sys

import pytest

from tests.lab.arbiter import Arbiter
from tests.lab.machine import Machine
from tests.lab.shared_hub import SharedHub
from tests.lab.trio import Trio

CLAIM = """
import asyncio
from appliance.pair.selector import open_selector
async def claim():
    selector = open_selector("{selector}")
    standing = await selector.look()
    print("found", standing)
    print("granted", await selector.claim("{node}", standing.epoch, None))
    await selector.close()
asyncio.run(claim())
"""


def devices(machine: Machine) -> int:
    """How many of the hub's devices its kernel has."""
    return int(
        machine.run("cat /sys/bus/usb/devices/*/serial | grep -cxe KEYS -e DISK -e LINE", check=False).stdout
    )


def has_it(machine: Machine) -> str:
    """The disk's node, as soon as the machine's kernel has all three."""
    machine.wait_until("test $(cat /sys/bus/usb/devices/*/serial | grep -cxe KEYS -e DISK -e LINE) = 3")
    node = machine.wait_until("readlink -e /dev/disk/by-id/usb-*_DISK-0:0")
    return node.stdout.strip()


def write(machine: Machine, node: str, text: str) -> None:
    machine.run(f"printf '%-512s' '{text}' | dd of={node} oflag=direct status=none")


def read(machine: Machine, node: str) -> str:
    return machine.run(f"dd if={node} bs=512 count=1 iflag=direct status=none").stdout.strip()


def test_the_hub_moves_with_all_behind_it_and_what_was_written(trio: Trio, hub: SharedHub) -> None:
    hub.turn("a")
    write(trio.a, has_it(trio.a), "by a")
    hub.turn("b")
    assert devices(trio.a) == 0
    assert read(trio.b, has_it(trio.b)) == "by a"
    hub.turn("none")
    trio.b.wait_until("! grep -qsx DISK /sys/bus/usb/devices/*/serial")
    assert hub.turns == ["a", "b", "none"]


def test_the_serial_line_follows_the_adapter(trio: Trio, hub: SharedHub) -> None:
    for position, machine in hub.machines.items():
        hub.turn(position)
        has_it(machine)
        tty = machine.node("usb1", "tty/ttyUSB*")
        listener = machine.start(f"tty {position}", f"exec < {tty}; stty raw -echo; echo open; exec cat")
        listener.wait_for_output("open")
        hub.adapter.socket.sendall(f"to {position}".encode())
        listener.wait_for_output(f"to {position}")


def test_a_frozen_machine_has_lost_the_hub_before_it_thaws(trio: Trio, hub: SharedHub) -> None:
    hub.turn("a")
    node = has_it(trio.a)
    write(trio.a, node, "by a")
    writer = trio.a.start(
        "writer", f"while printf '%-512s' old | dd of={node} oflag=direct conv=nocreat; do :; done"
    )
    trio.a.freeze()
    hub.turn("b")
    of_b = has_it(trio.b)
    write(trio.b, of_b, "by b")
    trio.a.thaw()
    writer.wait()
    trio.a.wait_until("! grep -qsx DISK /sys/bus/usb/devices/*/serial")
    assert read(trio.b, of_b) == "by b"


def test_a_dead_machine_loses_the_hub_and_gets_it_back_when_it_is_up_again(
    trio: Trio, hub: SharedHub
) -> None:
    hub.turn("a")
    write(trio.a, has_it(trio.a), "by a")
    trio.a.power_off()
    hub.turn("b")
    assert read(trio.b, has_it(trio.b)) == "by a"
    hub.replace("a", trio.lab.restart("a"))
    hub.turn("a")
    assert read(trio.a, has_it(trio.a)) == "by a"


def claim(machine: Machine, selector: str = "arbiter:/dev/ttyS1") -> str:
    machine.write_file("/root/claim.py", CLAIM.format(node=machine.name, selector=selector))
    return machine.run([sys.executable, "/root/claim.py"], check=False).stdout


@pytest.mark.usefixtures("arbiter")
def test_a_claim_at_the_arbiter_turns_the_switch(trio: Trio, hub: SharedHub) -> None:
    assert "granted Standing(owner='a'" in claim(trio.a)
    has_it(trio.a)
    assert hub.turns == ["a"]


def test_a_cut_serial_line_reaches_no_arbiter(trio: Trio, hub: SharedHub, arbiter: Arbiter) -> None:
    arbiter.cut("a", from_machine=False)
    assert claim(trio.a) == ""
    arbiter.heal()
    assert "granted Standing(owner='a'" in claim(trio.a)


def test_a_witness_answers_from_a_third_machine(trio: Trio, witness: str) -> None:
    assert "granted Standing(owner='b'" in claim(trio.b, witness)
    assert "found Standing(owner='b', epoch=1" in claim(trio.a, witness)
