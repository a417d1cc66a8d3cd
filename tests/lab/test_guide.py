"""What README.md promises a new user, done as it is written there: its own commands are what runs.

Three things stand in. What pip and apt would fetch is here already: the repository's virtual environment
is /opt/twinhub. The machines get addresses in the network that the README takes for an example. And the
reader's part: APPLIANCE is the server's address, the busid is the one that `twinhub devices` has printed.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import Disk, Lab, Machine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

SERVER, CLIENT = "192.168.7.1", "192.168.7.20"
CONFIG = "/etc/twinhub/twinhub.toml"
FETCHED = ("apt-get ", "python3 -m venv ")
"""How lines begin that need the Internet."""
USER = "setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/tmp/nobody"
LIGHT = "/sys/class/leds/*::capslock/brightness"
Pair = tuple[Machine, Machine]


class Block(NamedTuple):
    language: str
    lines: list[str]
    """Without their comments."""


def section(title: str) -> str:
    """What stands under a heading of the README."""
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [Block(language, re.sub(r" *# .*", "", body).splitlines()) for language, body in found]


def commands_in_prose(text: str) -> dict[str, str]:
    """Subcommand → the `twinhub …` that a sentence tells to run."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    quoted = (" ".join(words.split()) for words in re.findall(r"`(twinhub [^`]+)`", prose))
    return {command.split()[1]: command for command in quoted}


FIVE_MINUTES = section("Five minutes to a shared device")
INSTALL, CONFIGURE, SHARE, USE = blocks(FIVE_MINUTES)
THEN = commands_in_prose(FIVE_MINUTES)
PRINTED_BUSID = "1-1.2"


@pytest.fixture(scope="module")
def followed(booted_pair: Pair) -> Iterator[tuple[Machine, Machine, Disk]]:
    """(server, client, disk) when every fenced command of the five minutes has been typed, and has worked."""
    server, client = booted_pair
    server.run(f"ip addr add {SERVER}/24 dev eth0; ln -s {sys.prefix} /opt/twinhub")
    client.run(f"ip addr add {CLIENT}/24 dev eth0")
    disk = server.plug(Disk())
    for line in INSTALL.lines:
        if not line.startswith(FETCHED):
            said = server.run(line, check=False).stdout  # the daemon does not run yet, which it tells
            assert "FAIL" not in said, said
    assert CONFIGURE.language == "toml"
    assert CONFIG in FIVE_MINUTES
    server.write_file(CONFIG, "\n".join(CONFIGURE.lines))
    busid = PRINTED_BUSID
    for line in SHARE.lines:
        if line.endswith("&"):
            daemon = server.start("daemon", f"exec {line.removesuffix('&')}")
            server.wait_for_port(3240, timeout=120)
            continue
        said = server.run(line.replace(PRINTED_BUSID, busid)).stdout
        if "devices" in line:
            (busid,) = re.findall(r"(\d+-[\d.]+) .*QEMU USB HARDDRIVE", said)
    for line in USE.lines:
        client.run(line.replace("APPLIANCE", SERVER))
    yield server, client, disk
    daemon.kill(signal.SIGTERM, group=False)
    assert daemon.wait() == 0
    server.reset()
    client.reset()


def test_the_device_works_at_the_client_and_everything_promised_then_is_so(
    followed: tuple[Machine, Machine, Disk],
) -> None:
    server, client, disk = followed
    node = client.node("vhci_hcd.0", "block/sd*")
    client.run(f"head -c 1M /dev/urandom > /tmp/data; dd if=/tmp/data of={node} oflag=direct bs=64k")

    sessions = server.run(THEN["sessions"]).stdout
    assert re.search(rf"dongle +{re.escape(CLIENT)}:\d+ +relayed", sessions), sessions

    capture = server.start("capture", f"exec {THEN['capture']}", cwd="/tmp")
    server.wait_until("test -s /tmp/dongle.pcapng")
    client.run(f"dd if={node} iflag=direct bs=64k count=16 | cmp - /tmp/data")
    capture.kill(signal.SIGINT)
    assert capture.wait() == 0
    large_urbs_done = "tshark -r /tmp/dongle.pcapng -Y \"usb.urb_type == 'C' && usb.urb_len == 65536\""
    assert len(server.run(large_urbs_done).stdout.splitlines()) == 16, "Wireshark sees what was read"

    server.run(THEN["kick"])
    client.wait_until(f"! test -e {node}")
    server.run(THEN["unshare"])
    server.run(f"head -c 1M {server.node(disk, 'block/sd*')} > /tmp/data")
    assert server.run("sha256sum /tmp/data").stdout == client.run("sha256sum /tmp/data").stdout


TYPED = {
    "us": "LEFTSHIFT+Z A Q COMMA SPACE LEFTSHIFT+2 ENTER",
    "de": "LEFTSHIFT+Y A Q COMMA SPACE RIGHTALT+Q ENTER",
    "fr": "LEFTSHIFT+W Q A M SPACE RIGHTALT+0 ENTER",
}
"""The keys of "Zaq, @" and a line feed on each layout, by the kernel's names, which are a US keyboard's."""


@pytest.fixture(scope="module")
def keyboard(lab: Lab) -> Iterator[tuple[Machine, str]]:
    """(machine, node of its new input device): `make run` by an ordinary user, then what it said to type."""
    with lab.machines("desk") as (desk,):
        desk.run(f"chmod a+x /root; install -d -o nobody /tmp/nobody; touch {ROOT}/.venv/.ready")
        served = desk.start("make run", f"exec {USER} make run")
        served.wait_for_output("-b keyboard\n", timeout=120)
        (attach,) = re.findall(r"sudo .* -b keyboard$", served.output, re.M)
        desk.run(attach.replace("sudo ", ""))
        yield desk, desk.node("vhci_hcd.0", "input/event*")
        served.kill(signal.SIGINT)  # Ctrl-C: to make, too, which dies of it
        assert served.wait() == -signal.SIGINT
        assert served.output.endswith("stopped; every device is with its own driver\n")


@pytest.mark.parametrize("layout", TYPED)
def test_make_run_is_a_keyboard_that_types(keyboard: tuple[Machine, str], layout: str) -> None:
    desk, node = keyboard
    listener = desk.start(f"evtest {layout}", f"exec stdbuf -oL evtest --grab {node}")
    listener.wait_for_output("interrupt to exit")
    typing = f"twinhub type keyboard {shlex.quote('Zaq, @')}'\n' --layout {layout}"
    desk.run(f"{USER} {typing}")
    listener.wait_for_output("(KEY_ENTER), value 0")
    listener.kill()
    assert pressed(listener.output) == expected(TYPED[layout])


def test_its_lights_are_switched_by_the_machine_that_uses_it(keyboard: tuple[Machine, str]) -> None:
    desk, _ = keyboard
    sent = f"{USER} twinhub sessions --json | grep bytes_out"
    desk.run(f"modprobe input-leds; udevadm settle; {sent} > /tmp/before; echo 1 | tee {LIGHT}")
    desk.wait_until(f"! {sent} | cmp -s - /tmp/before")


def pressed(events: str) -> list[tuple[str, int]]:
    """(key, 1 down or 0 up) as evtest prints them, without autorepeat."""
    found = re.findall(r"\(KEY_(\w+)\), value ([01])$", events, re.M)
    return [(key, int(value)) for key, value in found]


def expected(strokes: str) -> list[tuple[str, int]]:
    """ "LEFTSHIFT+Z A": all keys of a stroke go down, then all go up, modifiers first as hid-input has it."""
    keys = [stroke.split("+") for stroke in strokes.split()]
    return [(key, value) for stroke in keys for value in (1, 0) for key in stroke]
