"""The command line of a machine's QEMU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from tests.lab.kernel import Kernel

Init = Literal["agent", "systemd"]

SUPER_SPEED_PORTS, HIGH_SPEED_PORTS = range(1, 9), range(9, 16)
"""Ports of the machine's xHCI; one of the former is SuperSpeed for a device that can."""

UART = "uart"
"""The socket, in a machine's folder, where its /dev/ttyS1 ends."""

AGENT = f"{sys.executable} -I -S {Path(__file__).with_name('agent.py')}"


def command_line(
    kernel: Kernel, state: Path, number: int, memory: str, init: Init, fds: dict[str, int]
) -> list[str]:
    """`fds`: the machine's ends of "agent", "qmp" and "net"; `state`: its folder, with the initramfs."""
    # What costs time at boot and means nothing under emulation is off.
    append = (
        "console=ttyS0 loglevel=5 panic=-1 net.ifnames=0 mitigations=off nokaslr no_timer_check "
        "random.trust_cpu=on audit=0 apparmor=0 usb-storage.delay_use=0 "
        f'lab_init={init} lab_modules={kernel.modules} "lab_agent={AGENT}"'
    )
    return [
        # QEMU dies with the test run, however that ends.
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
        # Nehalem: newer models copy memory by instructions that are slow to emulate. One CPU: see README.md.
        *("-M", "q35,i8042=off,sata=off,smbus=off", "-accel", "tcg", "-m", memory),
        *("-cpu", "Nehalem,+rdrand", "-smp", "1"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(state / "initramfs"), "-append", append),
        *("-serial", f"file:{state / 'console.log'}"),
        # The second one's other end is whoever listens there (line.py).
        *(
            "-chardev",
            f"socket,id=uart,path={state / UART},server=off,reconnect=1",
            "-serial",
            "chardev:uart",
        ),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,fd={fds['agent']}"),
        *("-device", "virtserialport,chardev=agent,name=twinhub.lab"),
        *("-chardev", f"socket,id=qmp,fd={fds['qmp']}", "-mon", "chardev=qmp,mode=control"),
        *("-netdev", f"stream,id=net,server=off,addr.type=fd,addr.str={fds['net']}"),
        *("-device", f"virtio-net-pci,netdev=net,romfile=,mac=52:54:00:77:00:{number:02x}"),
        *("-audiodev", f"wav,id=speaker,path={state / 'heard.wav'}"),
        *("-device", f"qemu-xhci,id=usb,p2={HIGH_SPEED_PORTS[-1]},p3={SUPER_SPEED_PORTS[-1]}"),
    ]
