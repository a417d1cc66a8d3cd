"""Software gadgets as a stock kernel sees them: disks beside PyPI's `usbip` and the kernel's, keys, idling.

One machine is server and client at once; the servers listen on ports of their own and take turns.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final

from tests.bench.fio import (
    WORKLOADS,
    Run,
    Variant,
    attached,
    cpu_ms,
    private_megabytes,
    rounds,
    typical,
    work,
)
from tests.bench.results import Result
from tests.lab import Lab, Machine

MEGABYTES: Final = 64
RIVAL_PORT, VUDC_PORT = 3238, 3237
IDLE_SECONDS: Final = 20
PRESSES: Final = 300
CONFIG: Final = """
[log]
level = 'warning'
[[gadget]]
definition = "usb-stick"
name = "disk"
[[gadget]]
definition = "keyboard"
count = 64
"""
TWINHUB: Final = Variant("twinhub", 3240, "disk")
RIVAL: Final = Variant("PyPI usbip", RIVAL_PORT, "1-1")
VUDC: Final = Variant("usbip-vudc", VUDC_PORT, "usbip-vudc.0")
COMPARED: Final = ("seq_read", "seq_write", "rand_read")
KERNELS_DISK: Final = f"""
set -e
modprobe -a usbip-vudc libcomposite usb_f_mass_storage
truncate -s {MEGABYTES}M /run/vudc.img
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
mkdir -p /sys/kernel/config/usb_gadget/bench && cd /sys/kernel/config/usb_gadget/bench
echo 0x1209 > idVendor; echo 0x0008 > idProduct
mkdir -p configs/c.1 functions/mass_storage.0
echo /run/vudc.img > functions/mass_storage.0/lun.0/file
ln -s functions/mass_storage.0 configs/c.1/
echo usbip-vudc.0 > UDC
"""


def measure(lab: Lab) -> list[Result]:
    with lab.machines("bench", memory="2G") as (machine,):
        machine.run("modprobe vhci-hcd")
        machine.write_file("/etc/twinhub/twinhub.toml", CONFIG)
        machine.start("twinhub", "exec twinhub serve")
        machine.wait_for_port(3240, timeout=120)
        machine.wait_until("twinhub gadget list --json | grep -q keyboard-64", timeout=120)
        return [*disks(machine), *keys(machine), *many(machine)]


def disks(machine: Machine) -> list[Result]:
    machine.start("rival", f"exec {sys.executable} -m tests.bench.rivals.pypi_usbip {RIVAL_PORT} {MEGABYTES}")
    machine.wait_for_port(RIVAL_PORT, timeout=60)
    machine.run(KERNELS_DISK)
    machine.start("vudc", f"exec usbipd --device --tcp-port {VUDC_PORT}")
    machine.wait_for_port(VUDC_PORT)
    runs: list[Run] = []
    for variant in rounds((TWINHUB, RIVAL, VUDC)):
        with attached(machine, variant) as node:
            runs += work(machine, variant.name, node, COMPARED if variant != VUDC else COMPARED[:1])
    for name in ("rival", "vudc"):
        machine.kill(name)

    def against(rival: Variant, name: str, workload: str) -> Result:
        figures = (typical(runs, variant.name, workload) for variant in (TWINHUB, rival))
        ours, theirs = figures
        return Result(f"gadgets.{name}.{workload}", ours, WORKLOADS[workload][1], theirs, rival.name)

    return [
        *(against(RIVAL, "disk", workload) for workload in COMPARED),
        against(VUDC, "disk_vs_vudc", "seq_read"),
    ]


def keys(machine: Machine) -> list[Result]:
    """From an input at the gadget's control socket to the event that evdev gives a program."""
    machine.run("usbip attach -r 127.0.0.1 -b keyboard")
    node = machine.node("vhci_hcd.0", "input/event*")
    told = machine.run(
        f"{sys.executable} -m tests.bench.key_latency /run/twinhub/gadgets/keyboard.sock {node} {PRESSES}",
        timeout=200,
    )
    latency = json.loads(told.stdout)
    return [
        Result("gadgets.key_latency", latency["p50"], "us", note="press to evdev, median, emulated"),
        Result("gadgets.key_latency_p99", latency["p99"], "us", note="press to evdev, emulated"),
    ]


def many(machine: Machine) -> list[Result]:
    """64 keyboards, all attached (the first one is already) or 16 of them, doing nothing."""
    began = time.monotonic()
    attach_up_to(machine, 2, 16)
    machine.run("udevadm settle", timeout=200)
    idle = idle_cpu(machine)
    attach_up_to(machine, 17, 64)
    machine.run("udevadm settle", timeout=300)
    machine.wait_until("test $(lsusb -d 1209:0001 | wc -l) = 64", timeout=200)
    taken = time.monotonic() - began
    memory = sum(private_megabytes(machine, pid) for pid in gadgets(machine)) / len(gadgets(machine))
    return [
        Result("gadgets.idle_cpu", idle, "% of a core", note="16 attached keyboards' processes together"),
        Result(
            "gadgets.attached_64", taken - IDLE_SECONDS, "s", note="64 devices attached, one after another"
        ),
        Result("gadgets.memory", memory, "MB", note="private memory of a gadget's process, 64 attached"),
    ]


def attach_up_to(machine: Machine, first: int, last: int) -> None:
    # The stock client fails while a device that it attached before is still being enumerated.
    each = "usbip attach -r 127.0.0.1 -b keyboard-$n && udevadm settle || exit 1"
    machine.run(f"for n in $(seq {first} {last}); do {each}; done", timeout=600)


def idle_cpu(machine: Machine) -> float:
    pids = gadgets(machine)
    before = sum(cpu_ms(machine, pid) for pid in pids)
    machine.run(f"sleep {IDLE_SECONDS}", timeout=IDLE_SECONDS + 60)
    return (sum(cpu_ms(machine, pid) for pid in pids) - before) / (IDLE_SECONDS * 10)


def gadgets(machine: Machine) -> list[int]:
    """The processes of all gadgets."""
    daemon = int(machine.run("pgrep -o -f 'twinhub serve'").stdout)
    found = machine.run("fuser /run/twinhub/gadgets/*.sock 2>/dev/null", check=False).stdout
    return sorted({int(word) for word in found.split()} - {daemon})
