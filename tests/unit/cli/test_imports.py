"""Importing: what is said to a USB/IP server and to vhci_hcd, and what people read when it does not work."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.imports import address, attach_socket
from appliance.errors import Busy, DeviceFailed, NotFound, Refused, TwinhubError, UsageError
from appliance.kernel.paths import Kernel
from appliance.kernel.vhci import Remote
from appliance.usbip.handshake import Import, failure, import_reply, list_reply
from appliance.usbip.wire import DeviceRecord, InterfaceRecord
from gadgets.usb.urb import Speed
from tests.unit.cli.conftest import Twinhub

KEYBOARD = DeviceRecord(
    "/sys/devices/twinhub/keyboard", "keyboard", 1, 2, Speed.FULL, 0x1209, 0x0001, 0x0100, 0, 0, 0, 1, 1,
    (InterfaceRecord(3, 1, 1),),
)  # fmt: skip
FREE = """\
hub port sta spd dev      sockfd local_busid
hs  0000 004 000 00000000 000000 0-0
hs  0001 006 002 00010002 000003 3-1
ss  0002 004 000 00000000 000000 0-0
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """One with vhci_hcd loaded, a device on its port 1, and us as root."""
    kernel = Kernel(tmp_path / "root")
    for path, text in {
        "sys/module/vhci_hcd/refcnt": "0",
        "sys/devices/platform/vhci_hcd.0/status": FREE,
        "sys/devices/platform/vhci_hcd.0/attach": "",
        "sys/devices/platform/vhci_hcd.0/detach": "",
        "var/run/vhci_hcd/port1": "hub.example 3240 disk\n",
    }.items():
        (kernel.root / path).parent.mkdir(parents=True, exist_ok=True)
        (kernel.root / path).write_text(text)
    monkeypatch.setattr("appliance.cli.imports.Kernel", lambda: kernel)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return kernel


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """A USB/IP server for one client: reads its request, says `answer`; the value is HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(64)
                client.sendall(answer)
                client.recv(64)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_a_list_tells_names_and_what_they_are(twinhub: Twinhub) -> None:
    with server(list_reply([KEYBOARD])) as there:
        said = twinhub("list", there, "--json")
    (told,) = json.loads(said.out)
    assert (told["name"], told["id"], told["speed"]) == ("keyboard", "1209:0001", "full")
    assert told["interfaces"] == ["03/01/01"]


def test_a_list_of_nothing_is_a_sentence(twinhub: Twinhub) -> None:
    with server(list_reply([])) as there:
        assert twinhub("list", there).out == f"{there} shares nothing with us.\n"


def test_nobody_there_is_an_exit_code_and_a_sentence(twinhub: Twinhub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = twinhub("list", f"127.0.0.1:{port}")
    assert said.code == 7
    assert "Is a USB/IP server running there?" in said.err


def test_attaching_gives_the_kernel_the_connection(twinhub: Twinhub, kernel: Kernel) -> None:
    with server(import_reply(KEYBOARD)) as there:
        said = twinhub("attach", there, "keyboard")
    assert said.out == f"keyboard of {there} is attached; `twinhub detach 0` unplugs it.\n"
    port, _, devid, speed = kernel.vhci("attach").read_text().split()
    assert (port, int(devid), int(speed)) == ("0", 0x0001_0002, Speed.FULL)
    assert kernel.port_record(0).read_text() == f"127.0.0.1 {there.split(':')[1]} keyboard\n"


def test_any_stream_socket_can_be_attached_and_is_closed_here_afterwards(kernel: Kernel) -> None:
    ours, agents = socket.socketpair()
    with agents:
        assert attach_socket(kernel, ours, KEYBOARD, Remote("hub.example", "3240", "keyboard")) == 0
        assert agents.recv(1) == b""


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (Refused("no"), "`twinhub audit` names the rule"),
        (Busy("no"), "`twinhub kick` ends that"),
        (NotFound("no"), "`twinhub list 127.0.0.1:"),
        (DeviceFailed("no"), "unplug it and plug it in again"),
    ],
)
def test_a_status_of_the_server_is_explained(
    twinhub: Twinhub, kernel: Kernel, error: TwinhubError, advice: str
) -> None:
    with server(failure(Import("keyboard"), error)) as there:
        said = twinhub("attach", there, "keyboard")
    assert said.code == error.exit_code
    assert "'keyboard'" in said.err
    assert advice in said.err
    assert kernel.vhci("attach").read_text() == ""


def test_an_ordinary_user_is_told_before_the_server_is_asked(
    twinhub: Twinhub, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    said = twinhub("attach", "hub.invalid", "keyboard")
    assert (said.code, said.err) == (
        6,
        "twinhub: only root can plug a device into this machine; use sudo\n",
    )


def test_a_kernel_without_vhci_is_told_before_the_server_is_asked(
    twinhub: Twinhub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.cli.imports.Kernel", lambda: Kernel(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    said = twinhub("attach", "hub.invalid", "keyboard")
    assert said.code == 7
    assert "no module vhci-hcd" in said.err


def test_ports_tell_what_is_attached_and_from_where(twinhub: Twinhub, kernel: Kernel) -> None:
    assert twinhub("ports").out == (
        "PORT  DEVICE  SPEED  STATUS  NAME  SERVER\n1     3-1     12M    used    disk  hub.example:3240\n"
    )
    (told,) = json.loads(twinhub("ports", "--json").out)
    assert (told["number"], told["status"], told["remote"]["name"]) == (1, "used", "disk")


def test_detaching_frees_the_port(twinhub: Twinhub, kernel: Kernel) -> None:
    assert twinhub("detach", "1").out == "Port 1 is free.\n"
    assert kernel.vhci("detach").read_text() == "1"
    assert twinhub("detach", "0").code == 3


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hub", ("hub", 3240)),
        ("hub.example:1", ("hub.example", 1)),
        ("10.0.0.7:3241", ("10.0.0.7", 3241)),
        ("fe80::1%eth0", ("fe80::1%eth0", 3240)),
        ("[fe80::1]", ("fe80::1", 3240)),
        ("[::1]:3241", ("::1", 3241)),
    ],
)
def test_a_server_is_a_host_and_perhaps_a_port(text: str, meant: tuple[str, int]) -> None:
    assert address(text) == meant


@pytest.mark.parametrize(
    "text", ["", ":3240", "hub:", "hub:0", "hub:65536", "hub:x", "[::1", "[::1]3240", "[]"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        address(text)


@given(st.text())
def test_any_server_is_understood_or_refused(text: str) -> None:
    try:
        host, port = address(text)
    except UsageError:
        return
    assert host
    assert 0 < port < 65536
