"""What may fail between devices and clients: who still has both goes on, all others end cleanly."""

from __future__ import annotations

import signal

from tests.lab import Disk, Keyboard, Lab, SerialAdapter
from tests.lab.house import KINDS, House
from tests.lab.verified_copy import goes_on, has_failed


def test_a_disk_pulled_out_in_mid_transfer_ends_its_own_session_only(house: House) -> None:
    copies = dict(zip(KINDS, house.copies(), strict=True))
    for number, pulled in enumerate(KINDS, start=1):
        disk = house.server.unplug(house.disks[pulled])
        has_failed(copies.pop(pulled))
        house.wait_disconnected(number)
        goes_on(*copies.values())
        house.server.plug(disk)
        house.wait_free(pulled)
        copies[pulled] = house.copy(pulled)
    goes_on(*copies.values())


def test_a_disk_that_comes_back_in_another_port_is_the_same_export(house: House) -> None:
    house.copies()
    for disk in house.disks.values():
        house.server.unplug(disk)
    others = [house.server.plug(Disk(size=1 << 20)) for _ in KINDS]
    for disk in house.disks.values():
        assert house.server.plug(disk).port not in {other.port for other in others}
    house.wait_free(*KINDS)
    goes_on(*house.copies())
    for other in others:
        house.server.unplug(other)


def test_a_serial_adapter_pulled_out_while_it_is_open_ends_its_reader(house: House) -> None:
    adapter = house.server.plug(SerialAdapter(serial="SERIAL"))
    house.twinhub.wait_available(adapter)
    house.use("serial")
    tty = house.client.node("vhci_hcd.0", "tty/ttyUSB*")
    reader = house.client.start("reader", f"exec < {tty}; stty raw -echo; echo open; exec cat")
    reader.wait_for_output("open")
    adapter.socket.sendall(b"hello")
    reader.wait_for_output("hello")
    house.server.unplug(adapter)
    assert reader.wait() == -signal.SIGHUP, "its terminal has hung up"


def test_a_client_that_detaches_in_mid_transfer_leaves_free_devices(house: House) -> None:
    copies = house.copies()
    house.detach()
    has_failed(*copies)
    house.wait_free(*KINDS)
    goes_on(*house.copies())


def test_a_client_that_vanishes_frees_its_devices_within_15_seconds(house: House, lab: Lab) -> None:
    """Those in mid-transfer, and those that lie idle."""
    idle = [house.server.plug(Keyboard(serial=f"IDLE-{name.upper()}")) for name in KINDS]
    for name, keyboard in zip(KINDS, idle, strict=True):
        house.twinhub.wait_available(keyboard)
        house.use(f"idle-{name}")
    copies = house.copies()
    lab.network.cut("server", "client")
    house.wait_free(*KINDS)
    for keyboard in idle:
        house.twinhub.wait_available(keyboard)
    lab.network.heal()
    has_failed(*copies)
    house.detach()
    house.wait_disconnected(len(KINDS) + len(idle))
    for keyboard in idle:
        house.server.unplug(keyboard)
    goes_on(*house.copies())
