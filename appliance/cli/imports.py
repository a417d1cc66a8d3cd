"""Import: devices that other machines share, plugged into this one's virtual host controller."""

from __future__ import annotations

import os
import re
import socket
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from appliance.cli.command import Command, no_arguments, show
from appliance.cli.text import table
from appliance.errors import Busy, DeviceFailed, NotFound, NotPermitted, Refused, TwinhubError, UsageError
from appliance.inventory import names
from appliance.inventory.tree import SPEEDS
from appliance.kernel import modules, vhci
from appliance.kernel.paths import Kernel
from appliance.usbip.client import import_export, list_exports
from appliance.usbip.wire import PORT, DeviceRecord
from gadgets.usb.urb import Speed

Json = dict[str, Any]

ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^][]+)\]|(?P<host>[^][:]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)

ADVICE: Final[dict[type[TwinhubError], str]] = {
    Refused: "USB/IP does not tell why; on a Twinhub server `twinhub audit` names the rule",
    Busy: "`twinhub sessions` on the server tells by whom, `twinhub kick` ends that",
    NotFound: "`twinhub list {host}` tells what is",
    DeviceFailed: "on the server, `twinhub devices` shows it; there, unplug it and plug it in again",
}
"""What a user can do about the one status code that the server sent."""


def list_remote(args: Namespace) -> None:
    host, port = address(args.server)
    told = [record_json(record) for record in list_exports(host, port)]
    rows = ((one["name"], one["id"], SPEEDS[Speed[one["speed"].upper()]], one["what"]) for one in told)
    show(args, told, table(("NAME", "ID", "SPEED", "WHAT"), rows, f"{args.server} shares nothing with us."))


def attach(args: Namespace) -> None:
    host, port = address(args.server)
    kernel = Kernel()
    make_ready(kernel)
    with explained(args.server):
        record, sock = import_export(host, port, args.name)
    number = attach_socket(kernel, sock, record, vhci.Remote(host, str(port), args.name))
    told = {"port": number, "server": args.server, "name": args.name}
    show(args, told, f"{args.name} of {args.server} is attached; `twinhub detach {number}` unplugs it.\n")


def attach_socket(kernel: Kernel, sock: socket.socket, record: DeviceRecord, remote: vhci.Remote) -> int:
    """Gives the kernel a stream socket behind which `record` answers, and closes ours; the vhci port.

    Where the socket leads is the caller's affair: to the server, or to whoever moves the URBs for us.
    """
    with sock:
        return vhci.attach(kernel, sock.fileno(), record.devid, record.speed, remote)


def detach(args: Namespace) -> None:
    vhci.detach(Kernel(), args.port)
    show(args, {"port": args.port}, f"Port {args.port} is free.\n")


def ports(args: Namespace) -> None:
    taken = vhci.ports(Kernel())
    told = [
        asdict(port) | {"status": port.status.name.lower(), "speed": Speed(port.speed).name.lower()}
        for port in taken
    ]
    rows = (
        (
            port.number,
            port.busid,
            SPEEDS[Speed(port.speed)],
            port.status.name.lower(),
            port.remote and port.remote.name,
            port.remote and f"{port.remote.host}:{port.remote.service}",
        )
        for port in taken
    )
    header = ("PORT", "DEVICE", "SPEED", "STATUS", "NAME", "SERVER")
    show(args, told, table(header, rows, "Nothing is attached; `twinhub attach HOST NAME` does it."))


def make_ready(kernel: Kernel) -> None:
    """Whatever would fail here shall fail before the server gives us the device."""
    if os.geteuid() != 0:
        raise NotPermitted("only root can plug a device into this machine; use sudo")
    for module in modules.IMPORTING:
        modules.load(kernel, module)
    vhci.all_ports(kernel)


@contextmanager
def explained(server: str) -> Iterator[None]:
    """Adds to what the server's status means what can be done about it."""
    try:
        yield
    except tuple(ADVICE) as error:
        raise type(error)(f"{error}. {ADVICE[type(error)].format(host=server)}") from error


def address(server: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT, [V6]:PORT or a bare V6."""
    if server.count(":") > 1 and not server.startswith("["):
        return server, PORT
    found = ADDRESS.fullmatch(server)
    if not found or not 0 < int(found["port"] or PORT) < 65536:
        raise UsageError(f"{server!r} is no HOST or HOST:PORT, such as hub.example:3240 or [fe80::1]:3240")
    return found["v6"] or found["host"], int(found["port"] or PORT)


def record_json(record: DeviceRecord) -> Json:
    """What a stranger tells of a device, and what usb.ids knows of its numbers."""
    known = names.load("/")
    maker = known.vendors.get(record.vendor_id, "")
    product = known.products.get((record.vendor_id, record.product_id), "")
    classes = {interface.interface_class for interface in record.interfaces} or {record.device_class}
    kinds = ", ".join(known.classes.get(code, f"class {code:02x}") for code in sorted(classes))
    return {
        "name": record.busid,
        "id": f"{record.vendor_id:04x}:{record.product_id:04x}",
        "speed": record.speed.name.lower(),
        "what": f"{maker} {product}".strip() or kinds,
        "interfaces": [
            f"{i.interface_class:02x}/{i.subclass:02x}/{i.protocol:02x}" for i in record.interfaces
        ],
    }


def server_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "server", metavar="HOST[:PORT]", help="the machine that shares (port 3240 if not said)"
    )


def attach_arguments(parser: ArgumentParser) -> None:
    server_argument(parser)
    parser.add_argument("name", metavar="NAME", help="of the export, as `twinhub list` prints it")


def port_argument(parser: ArgumentParser) -> None:
    parser.add_argument("port", type=int, metavar="PORT", help="as `twinhub ports` prints it")


COMMANDS = {
    "list": Command(
        list_remote,
        server_argument,
        "Asks a USB/IP server what it shares with this machine; any server, not only Twinhub.",
        "twinhub list hub.example",
    ),
    "attach": Command(
        attach,
        attach_arguments,
        "Plugs a device that a USB/IP server shares into this machine. Takes root, and loads vhci-hcd.",
        "sudo twinhub attach hub.example plc-adapter",
    ),
    "detach": Command(
        detach,
        port_argument,
        "Unplugs an attached device; the server has it back at once.",
        "sudo twinhub detach 0",
    ),
    "ports": Command(
        ports, no_arguments, "Lists what is attached here, and from where.", "twinhub ports --json"
    ),
}
