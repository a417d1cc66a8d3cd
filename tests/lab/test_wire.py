"""Our bytes before independent judges: what the stock `usbipd` says, and what tshark makes of a session."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab import Audio, Disk, Hub, Keyboard, Lab, Machine, SerialAdapter
from tests.lab.twinhub import Twinhub

EVERYTHING = """
[sessions]
take_over = "never"
[[share]]
any = true
"""
TSHARK = ("tshark", "-d", "tcp.port==3240,usbip")
LIST = bytes.fromhex("0111 8005 0000 0000")
IMPORT = bytes.fromhex("0111 8003 0000 0000")
LIST_HEADER, IMPORT_REPLY, RECORD, INTERFACE = 12, 320, 312, 4
BUSID, INTERFACE_COUNT = slice(256, 288), 311
"""Of a device record."""

ASK = """
import socket, sys
request, longest = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
answer = b""
with socket.create_connection(("server", 3240), timeout=30) as sock:
    sock.sendall(request)
    while len(answer) < longest and (part := sock.recv(longest - len(answer))):
        answer += part
print(answer.hex())
"""
"""Prints what a server answers: until it hangs up, or until a reply is whole that a session follows."""

Pair = tuple[Machine, Machine]


def ask(client: Machine, request: bytes, longest: int = 1 << 16) -> bytes:
    return bytes.fromhex(client.run(["python3", "-I", "-S", "-c", ASK, request.hex(), str(longest)]).stdout)


def ask_for(client: Machine, busid: str) -> bytes:
    return ask(client, IMPORT + busid.encode().ljust(32, b"\0"), IMPORT_REPLY)


def wait_free(server: Machine, busids: list[str]) -> None:
    for busid in busids:
        server.wait_until(f"grep -qx 1 /sys/bus/usb/devices/{busid}/usbip_status")


def answers(server: Machine, client: Machine, busids: list[str]) -> dict[str, bytes]:
    """What whoever listens on the server says to every kind of request."""
    wait_free(server, busids)
    told = {"list": ask(client, LIST), "unknown": ask_for(client, "7-7")}
    for busid in busids:
        told[f"import {busid}"] = ask_for(client, busid)
        wait_free(server, [busid])
    client.run(f"usbip attach -r server -b {busids[0]}")
    client.node("vhci_hcd.0", "block/sd*")
    told["busy"] = ask_for(client, busids[0])
    told["list without what is in use"] = ask(client, LIST)
    client.run("usbip detach -p $(usbip port | sed -n 's/^Port \\([0-9]*\\): .*/\\1/p')")
    wait_free(server, busids)
    return told


def devices_in(list_reply: bytes) -> dict[str, tuple[bytes, bytes]]:
    """For each sysfs path the device record, less the name it is exported by, and the interface records."""
    found, at = {}, LIST_HEADER
    while at < len(list_reply):
        record = list_reply[at : at + RECORD]
        end = at + RECORD + INTERFACE * record[INTERFACE_COUNT]
        path = record[: BUSID.start].rstrip(b"\0").decode()
        found[path] = record[: BUSID.start] + record[BUSID.stop :], list_reply[at + RECORD : end]
        at = end
    return found


def without_interface_count(record: bytes) -> bytes:
    return record[:-1]


def interfaces_in_sysfs(server: Machine, busid: str) -> bytes:
    """The interface records of a device that is still with its own driver."""
    files = " ".join(f"$interface/bInterface{part}" for part in ("Class", "SubClass", "Protocol"))
    interfaces = f"/sys/bus/usb/devices/{busid}:*"
    told = server.run(f"for interface in {interfaces}; do echo $(cat {files}) 00; done").stdout
    return bytes.fromhex(told)


def test_every_answer_is_that_of_usbipd_byte_for_byte(pair: Pair) -> None:
    """Save one: usbip-host deconfigures what it gets, and usbipd then tells of no interfaces. We remember
    them, so that a client sees what kind of device it could import."""
    server, client = pair
    plugged = [server.plug(each) for each in (Disk(), Audio(), SerialAdapter(), Hub(Keyboard()))]
    busids = [device.busid for device in plugged[:-1]] + [f"{plugged[-1].busid}.1"]
    interfaces = sorted(interfaces_in_sysfs(server, busid) for busid in busids)
    client.run("modprobe vhci-hcd")
    server.run("modprobe usbip-host; " + "; ".join(f"usbip bind -b {busid}" for busid in busids))
    server.start("usbipd", "exec usbipd")
    server.wait_for_port(3240)
    theirs = answers(server, client, busids)
    server.kill("usbipd")
    server.run("; ".join(f"usbip unbind -b {busid}" for busid in busids))
    Twinhub(server, EVERYTHING).start()
    ours = answers(server, client, busids)

    assert sorted(records for _, records in devices_in(ours["list"]).values()) == interfaces
    for question in ("list", "list without what is in use"):
        their_list, our_list = theirs.pop(question), ours.pop(question)
        assert our_list[:LIST_HEADER] == their_list[:LIST_HEADER]
        their_devices, our_devices = devices_in(their_list), devices_in(our_list)
        assert our_devices.keys() == their_devices.keys()
        for path, (record, _) in our_devices.items():
            assert without_interface_count(record) == without_interface_count(their_devices[path][0])
    for question, answer in ours.items():
        assert without_interface_count(answer) == without_interface_count(theirs[question]), question


def test_tshark_reads_a_whole_session(pair: Pair, lab: Lab, tmp_path: Path) -> None:
    server, client = pair
    disk, keyboard = server.plug(Disk()), server.plug(Keyboard())
    twinhub = Twinhub(server, EVERYTHING).start()
    twinhub.wait_available(disk)
    twinhub.wait_available(keyboard)
    client.run("modprobe vhci-hcd")
    with lab.network.capture(tmp_path / "session.pcap"):
        client.run("usbip list -r server")
        client.run(f"usbip attach -r server -b {disk.busid}")
        node = client.node("vhci_hcd.0", "block/sd*")
        client.run(f"usbip attach -r server -b {keyboard.busid}")
        client.node("vhci_hcd.0", "input/event*")
        client.run(f"mkfs.ext4 -q {node}; fsck.ext4 -fn {node}")
        server.type_keys("a")
        client.run("for port in 0 15; do usbip detach -p $port; done")
        twinhub.wait_available(disk)
        twinhub.wait_available(keyboard)

    def count(filter: str) -> int:
        command = [*TSHARK, "-r", str(tmp_path / "session.pcap"), "-Y", filter]
        return len(subprocess.check_output(command, text=True).splitlines())

    assert count("usbip.operation == 0x0005") == 1
    assert count("usbip.operation == 0x0003") == 2
    assert count("usbip.urb == 3") > 100
    assert count("usbip.urb == 3 && !usbip.cmd_frame") == 0, "each reply belongs to a command"
    assert count("usbms.dCSWStatus == 0") > 10, "the URBs' payload makes sense, too"
    assert count("_ws.malformed") == 0
