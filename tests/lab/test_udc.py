"""Gadgets on a real USB device controller: dummy_hcd is one whose cable ends in the same machine."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Machine
from tests.lab.process import Process
from tests.lab.test_usbtest import BULK, CHAPTER_9, RUNNER, Case
from tests.lab.twinhub import Twinhub

INTERRUPTED = 130
CONFIGFS = "/sys/kernel/config/usb_gadget"
UDC, VUDC = "dummy_udc.0", "usbip-vudc.0"

KEYBOARD = """
[gadget]
serial = "0001"
max_power_ma = 200
remote_wakeup = true
[[function]]
kind = "keyboard"
"""
SOURCE_SINK = """
[gadget]
vendor_id = 0x0525
product_id = 0xa4a4
manufacturer = { 0x0409 = "Twinhub", 0x0407 = "Zwillingsnabe" }
serial = "0002"
max_power_ma = 200
[[function]]
kind = "source-sink"
isochronous = false
interrupt = false
"""
DISK = """
[gadget]
product_id = 4
serial = "0004"
max_power_ma = 200
[[function]]
kind = "disk"
luns = [{ medium = "new:/root/disk.img:32M" }]
"""
DESK = """
[gadget]
product_id = 5
serial = "0005"
[[function]]
kind = "kernel:ncm"
[[function]]
kind = "keyboard"
"""
COMPOSITE = """
[gadget]
product_id = 3
product = "Everything"
serial = "0003"
max_power_ma = 200
[[function]]
kind = "keyboard"
[[function]]
kind = "mouse"
[[function]]
kind = "loopback"
"""


WINDOWS = """
[gadget]
product_id = 6
[[function]]
kind = "loopback"
[[function]]
kind = "winusb"
"""
ASK_AS_WINDOWS = """
import ctypes, fcntl, sys
class Control(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint8), ("request", ctypes.c_uint8), ("value", ctypes.c_uint16),
                ("index", ctypes.c_uint16), ("length", ctypes.c_uint16), ("timeout", ctypes.c_uint32),
                ("data", ctypes.c_void_p)]
USBDEVFS_CONTROL = 0xC0185500
with open(sys.argv[1], "rb+", 0) as device:
    for request in ((0x80, 6, 0x03EE, 0), (0xC0, 0xCD, 0, 4), (0xC1, 0xCD, 0, 5)):
        answer = ctypes.create_string_buffer(255)
        asked = Control(*request, 255, 1000, ctypes.addressof(answer))
        length = fcntl.ioctl(device, USBDEVFS_CONTROL, asked)
        print(answer.raw[:length].replace(bytes(1), b"").decode("ascii", "replace"))
"""
ODD_LENGTHS = (4, 100, 2048, 333, 1)
"""Reads that end within a packet: FunctionFS sends whole ones, and cannot know."""
DEFINITIONS = {
    "keyboard": KEYBOARD,
    "source-sink": SOURCE_SINK,
    "disk": DISK,
    "desk": DESK,
    "composite": COMPOSITE,
    "windows": WINDOWS,
}
IDS = {"keyboard": "1209:0001", "source-sink": "0525:a4a4", "disk": "1209:0004", "composite": "1209:0003"}


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    with lab.machines("one") as (machine,):
        machine.run("modprobe -a dummy_hcd vhci-hcd usbip-vudc")
        for name, text in DEFINITIONS.items():
            machine.write_file(f"/root/{name}.toml", text)
        yield machine


@pytest.fixture(scope="module")
def over_usbip(machine: Machine) -> dict[str, str]:
    """What `lsusb -v` says of each gadget over USB/IP."""
    gadgets = (f'[[gadget]]\nname = "{name}"\ndefinition = "/root/{name}.toml"\n' for name in IDS)
    twinhub = Twinhub(machine, "".join(gadgets)).start()
    found = {}
    for name, ids in IDS.items():
        machine.wait_until(f"usbip attach -r {machine.name} -b {name}")
        found[name] = told(machine, ids)
    twinhub.stop()
    machine.wait_until("! lsusb | grep -E '1209|0525'")
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind(machine: Machine) -> Iterator[None]:
    yield
    machine.reset()


def present(machine: Machine, name: str, udc: str = UDC) -> Process:
    """The gadget of /root/<name>.toml is on the controller; lines to /root/<name>.in are its inputs."""
    machine.run(f"rm -f /root/{name}.in; mkfifo /root/{name}.in")
    words = f"/root/{name}.toml --udc {udc}"
    process = machine.start(f"{name} on {udc}", f"exec twinhub gadget run {words} 0<>/root/{name}.in")
    process.wait_for_output(f"is on {udc}", timeout=60)
    return process


def give(machine: Machine, name: str, line: str) -> None:
    machine.run(["sh", "-c", 'printf "%s\\n" "$1" > /root/"$0".in', name, line])


def node_of(machine: Machine, ids: str) -> str:
    """The file of the device with these ids, as soon as a driver has it."""
    machine.wait_until(f"lsusb -d {ids}")
    line = machine.run(f"lsusb -d {ids}").stdout
    return "/dev/bus/usb/{}/{}".format(*re.findall(r"\d{3}", line)[:2])


def told(machine: Machine, ids: str) -> str:
    """`lsusb -v` without the device's place."""
    machine.wait_until(f"lsusb -d {ids}; udevadm settle")
    return machine.run(f"lsusb -v -d {ids} 2>&1 | sed 's/^Bus .*: ID/ID/'").stdout


def without_addresses(text: str) -> str:
    """dummy_hcd's endpoints have fixed numbers, which FunctionFS shows."""
    return re.sub(r"0x([08])[0-9a-f]  EP \d+", r"0x\1?  EP ?", text)


@pytest.mark.parametrize("name", ["keyboard", "source-sink", "composite", "disk"])
def test_a_definition_says_the_same_over_usbip_and_on_a_controller(
    machine: Machine, over_usbip: dict[str, str], name: str
) -> None:
    present(machine, name)
    assert without_addresses(told(machine, IDS[name])) == without_addresses(over_usbip[name])


def test_usbip_vudc_shows_it_to_a_stock_client_to_the_last_byte(
    machine: Machine, over_usbip: dict[str, str]
) -> None:
    gadget = present(machine, "composite", VUDC)
    machine.start("usbipd", "exec usbipd -4 --device")
    machine.wait_for_port(3240)
    machine.run(f"usbip attach -r 127.0.0.1 -d {VUDC}")
    assert told(machine, IDS["composite"]) == over_usbip["composite"]
    hidraw = machine.node("vhci_hcd.0", "hidraw/hidraw0")
    reader = machine.start("reader", f"exec head -c 16 {hidraw} > /root/reports")
    machine.wait_until(f"fuser -s {hidraw}")
    give(machine, "composite", "type_text=i")
    assert reader.wait() == 0
    assert machine.read_file("/root/reports")[2] == 0x0C
    gadget.kill(signal.SIGTERM, group=False)
    assert gadget.wait() == INTERRUPTED
    machine.wait_until(f"! lsusb -d {IDS['composite']}")


def test_a_keyboard_types_and_has_lights(machine: Machine) -> None:
    keyboard = present(machine, "keyboard")
    hidraw = machine.node("dummy_hcd.0", "hidraw/hidraw*")
    reader = machine.start("reader", f"exec head -c 32 {hidraw} > /root/reports")
    machine.wait_until(f"fuser -s {hidraw}")
    give(machine, "keyboard", "type_text=Hi")
    assert reader.wait() == 0
    reports = machine.read_file("/root/reports")
    assert reports.hex(" ", 8) == ("02000b0000000000 0000000000000000 00000c0000000000 0000000000000000")
    machine.run(f"printf '\\0\\2' > {hidraw}")
    keyboard.wait_for_output("caps_lock=true")


def test_a_wrong_input_is_told_and_the_next_one_counts(machine: Machine) -> None:
    keyboard = present(machine, "keyboard")
    machine.node("dummy_hcd.0", "hidraw/hidraw*")
    give(machine, "keyboard", "typetext=Hi")
    keyboard.wait_for_output("typetext")
    assert keyboard.code is None


def test_a_disk_holds_a_file_system(machine: Machine) -> None:
    present(machine, "disk")
    node = machine.node("dummy_hcd.0", "block/sd*")
    machine.run(f"mkfs.vfat {node} && mkdir -p /mnt/disk && mount {node} /mnt/disk")
    machine.run("head -c 1M /dev/urandom > /root/data; cp /root/data /mnt/disk/data; umount /mnt/disk")
    machine.run(f"echo 3 > /proc/sys/vm/drop_caches; fsck.vfat -n {node}; mount {node} /mnt/disk")
    machine.run("cmp /root/data /mnt/disk/data; umount /mnt/disk")
    assert "reset high-speed" not in machine.run("dmesg").stdout


def fewer(case: Case) -> Case:
    """Every packet takes its way through Python here, and that is emulated."""
    number, iterations, *sizes = case
    return number, max(iterations // 5, 1), *sizes


def test_usbtest_passes_what_functionfs_admits(machine: Machine) -> None:
    machine.run("modprobe usbtest pattern=0")
    present(machine, "source-sink")
    node = node_of(machine, "0525:a4a4")
    machine.wait_until("test -e /sys/bus/usb/drivers/usbtest/*:1.0")
    cases = [fewer(case) for case in CHAPTER_9 + BULK if case != ODD_LENGTHS]
    command = ["python3", "-I", "-S", str(RUNNER), node, json.dumps(cases)]
    lines = [json.loads(line) for line in machine.run(command, timeout=120).stdout.splitlines()]
    assert {case: error for case, (_, error, *_) in zip(cases, lines, strict=True) if error} == {}


def test_windows_would_find_its_winusb_driver(machine: Machine) -> None:
    present(machine, "windows")
    node = node_of(machine, "1209:0006")
    signature, driver, guid = machine.run(
        ["python3", "-I", "-S", "-c", ASK_AS_WINDOWS, node]
    ).stdout.splitlines()
    assert "MSFT100" in signature
    assert "WINUSB" in driver
    assert "DeviceInterfaceGUID" in guid


def test_after_a_crash_the_next_one_takes_down_what_is_left(machine: Machine) -> None:
    present(machine, "keyboard").kill()
    machine.wait_until("! lsusb -d 1209:")
    assert machine.run(f"ls {CONFIGFS}").stdout.strip() == "twinhub-keyboard"
    again = present(machine, "composite")
    assert machine.run(f"ls {CONFIGFS}").stdout.strip() == "twinhub-composite"
    again.kill(signal.SIGTERM, group=False)
    again.wait()
    assert machine.run(f"ls {CONFIGFS}; mount -t functionfs").stdout == ""


def test_the_kernels_functions_mix_with_ours(machine: Machine) -> None:
    present(machine, "desk")
    machine.wait_until("ip link show usb0 && ip link show usb1")
    machine.run("ip addr add 10.9.0.1/24 dev usb0; ip link set usb0 up")
    machine.run("ip netns add host; ip link set usb1 netns host")
    machine.run("ip -n host addr add 10.9.0.2/24 dev usb1; ip -n host link set usb1 up")
    machine.wait_until("ping -c 3 -W 5 10.9.0.2")
    machine.node("dummy_hcd.0", "hidraw/hidraw*")
