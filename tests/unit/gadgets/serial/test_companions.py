"""The other ends of a serial port: a pty, TCP, a script; and what they may never do: block, lose, hoard."""

from __future__ import annotations

import os
import random
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ConfigError, Unavailable, UsageError
from gadgets.serial.acm import Serial
from gadgets.serial.companions import located
from gadgets.serial.line import SerialState
from tests.unit.gadgets.serial.desk import Desk, Turns

STREAM = random.Random(1).randbytes(300_000)
HERE = SerialState.DCD | SerialState.DSR


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    """Closed at the end."""
    made: list[Desk] = []
    yield made
    for desk in made:
        desk.close()
        assert not desk.turns.handlers, "nothing is watched any more"


def open_desk(desks: list[Desk], connect: str, *, configured: bool = True) -> Desk:
    desks.append(Desk(connect, configured=configured))
    return desks[-1]


class Reader:
    """A program at the other end: reads and writes without blocking, as fast as the test lets it."""

    def __init__(self, turns: Turns, fd: int) -> None:
        self.turns, self.fd = turns, fd
        self.read, self.unwritten = bytearray(), b""
        os.set_blocking(fd, False)

    def take(self, count: int = 4096) -> None:
        try:
            self.read += os.read(self.fd, count)
        except BlockingIOError:
            pass

    def put(self) -> None:
        try:
            self.unwritten = self.unwritten[os.write(self.fd, self.unwritten) :]
        except BlockingIOError:
            pass


def open_pty(desk: Desk) -> int:
    fd = os.open(str(desk.stats["pty"]), os.O_RDWR | os.O_NOCTTY)
    desk.turns.until(lambda: desk.stats["opened"])
    return fd


def lines(desk: Desk) -> SerialState:
    return SerialState(desk.port.snapshot()["state"])


# What it can be connected to


@pytest.mark.parametrize(
    "connect",
    ["modem", "pt", ":x", "tcp:", "tcp:host", "tcp::5", "tcp:host:0", "tcp:host:x", "listen:", "listen:65536",
     "listen:-1", "script:"],
)  # fmt: skip
def test_what_it_cannot_be_connected_to_is_refused_with_what_it_can(connect: str) -> None:
    with pytest.raises(UsageError, match='"pty:LINK"'):
        Serial(connect=connect)


def test_a_definition_opens_nothing() -> None:
    Serial(connect="listen:1")
    Serial(connect="script:/nowhere")


@pytest.mark.parametrize(
    ("connect", "opened"),
    [("pty:port", "pty:/here/port"), ("pty", "pty"), ("script:/x", "script:/x"), ("listen:1", "listen:1")],
)
def test_a_path_in_a_definition_counts_from_its_folder(connect: str, opened: str) -> None:
    assert located(connect, Path("/here")) == opened


# A pty


def test_a_link_leads_to_the_pty_and_goes_with_it(desks: list[Desk], tmp_path: Path) -> None:
    link = tmp_path / "port"
    link.symlink_to("/nowhere")
    desk = open_desk(desks, f"pty:{link}")
    assert os.readlink(link) == desk.stats["pty"]
    desk.close()
    assert not link.is_symlink()


def test_a_file_in_the_place_of_the_link_is_left_alone(tmp_path: Path) -> None:
    link = tmp_path / "port"
    link.write_text("precious")
    with pytest.raises(Unavailable, match="something else is there"):
        Desk(f"pty:{link}")
    assert link.read_text() == "precious"


def test_a_pty_is_raw(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    fd = open_pty(desk)
    everything = bytes(range(256))
    os.write(fd, everything)
    number = desk.ask()
    desk.turns.until(lambda: desk.done(number))
    assert desk.data_of(number) == everything
    desk.send(everything)
    desk.turns.settle()
    assert os.read(fd, 1000) == everything
    os.close(fd)


def test_dcd_and_dsr_are_on_while_a_program_has_the_pty_open(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty", configured=False)
    assert lines(desk) == 0
    fd = open_pty(desk)
    assert lines(desk) == HERE
    desk.configure()
    os.close(fd)
    desk.turns.until(lambda: not desk.stats["opened"])
    assert lines(desk) == 0


def test_without_a_reader_the_host_goes_on_and_its_data_is_dropped(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    assert all(desk.done(desk.send(STREAM[:16384])) for _ in range(20))
    assert desk.stats["dropped"] == 20 * 16384


def test_the_next_reader_finds_neither_old_data_nor_old_settings(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    fd = open_pty(desk)
    cooked = termios.tcgetattr(fd)
    cooked[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, cooked)
    desk.send(STREAM[:100_000])
    desk.turns.settle()
    os.close(fd)
    desk.turns.until(lambda: not desk.stats["opened"])
    desk.turns.settle()
    fd = open_pty(desk)
    desk.send(b"fresh")
    desk.turns.settle()
    assert os.read(fd, 1000) == b"fresh"
    os.close(fd)


def test_what_a_program_left_before_it_closed_reaches_the_host(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    fd = os.open(str(desk.stats["pty"]), os.O_WRONLY | os.O_NOCTTY)
    os.write(fd, b"bye")
    os.close(fd)
    number = desk.ask()
    desk.turns.until(lambda: desk.done(number))
    assert desk.data_of(number) == b"bye"
    desk.turns.settle()
    assert not desk.stats["opened"]


def test_what_a_program_sends_waits_for_a_host(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty", configured=False)
    fd = open_pty(desk)
    os.write(fd, b"early")
    desk.turns.settle()
    desk.configure()
    number = desk.ask()
    desk.turns.until(lambda: desk.done(number))
    assert desk.data_of(number) == b"early"
    os.close(fd)


def test_a_pty_passes_everything_both_ways_at_the_readers_pace(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    program = Reader(desk.turns, open_pty(desk))
    program.unwritten = STREAM
    sent = [desk.send(STREAM[at : at + 5000]) for at in range(0, len(STREAM), 5000)]
    assert not desk.done(sent[-1]), "the host waits for the reader"
    asked = [desk.ask(4096)]
    while len(program.read) < len(STREAM) or len(desk.data_of(*asked)) < len(STREAM):
        program.take()
        program.put()
        desk.turns.turn(0)
        if desk.done(asked[-1]):
            asked.append(desk.ask(4096))
    assert bytes(program.read) == STREAM
    assert desk.data_of(*asked) == STREAM
    assert desk.done(sent[-1])
    assert (desk.stats["from_host"], desk.stats["to_host"]) == (len(STREAM), len(STREAM))
    os.close(program.fd)


def test_the_hosts_baud_rate_shows_in_the_statistics_only(desks: list[Desk]) -> None:
    desk = open_desk(desks, "pty")
    desk.control("21 20 0000 0000 0007", bytes.fromhex("00c20100 00 00 08"))
    desk.control("21 22 0001 0000 0000")
    assert (desk.stats["baud"], desk.stats["dtr"], desk.stats["rts"]) == (115200, True, False)


# TCP


def test_a_listener_serves_one_caller_after_the_other(desks: list[Desk]) -> None:
    desk = open_desk(desks, "listen:0")
    at = ("127.0.0.1", int(str(desk.stats["listen"])))
    with socket.create_connection(at) as first, socket.create_connection(at) as second:
        first.sendall(b"1")
        second.sendall(b"2")
        number = desk.ask()
        desk.turns.until(lambda: desk.done(number))
        assert desk.data_of(number) == b"1"
        assert lines(desk) == HERE
        desk.send(b"to the first")
        desk.turns.settle()
        assert first.recv(100) == b"to the first"
        first.close()
        number = desk.ask()
        desk.turns.until(lambda: desk.done(number))
        assert desk.data_of(number) == b"2"
    desk.turns.until(lambda: not desk.stats["connected"])
    assert lines(desk) == 0


def test_a_caller_who_does_not_read_holds_up_the_host_and_nothing_is_lost(desks: list[Desk]) -> None:
    desk = open_desk(desks, "listen:0")
    with socket.create_connection(("127.0.0.1", int(str(desk.stats["listen"])))) as caller:
        desk.turns.until(lambda: desk.stats["connected"])
        chunks, read = 0, bytearray()
        while desk.done(desk.send(STREAM)):
            chunks += 1
            desk.turns.settle()
        caller.setblocking(False)
        while len(read) < (chunks + 1) * len(STREAM):
            try:
                read += caller.recv(1 << 16)
            except BlockingIOError:
                pass
            desk.turns.turn(0)
        assert bytes(read) == STREAM * (chunks + 1)


def test_a_port_in_use_is_told(desks: list[Desk]) -> None:
    desk = open_desk(desks, "listen:0")
    with pytest.raises(Unavailable, match=r"cannot listen on port \d+: Address already in use"):
        Desk(f"listen:{desk.stats['listen']}")


def test_it_dials_at_the_start(desks: list[Desk]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        desk = open_desk(desks, f"tcp:127.0.0.1:{server.getsockname()[1]}", configured=False)
        peer, _ = server.accept()
        with peer:
            desk.turns.until(lambda: desk.stats["connected"])
            assert lines(desk) == HERE


def test_it_dials_again_when_the_host_raises_dtr(desks: list[Desk]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        desk = open_desk(desks, f"tcp:127.0.0.1:{server.getsockname()[1]}")
        server.accept()[0].close()
        desk.turns.until(lambda: desk.stats["connected"])
        desk.turns.until(lambda: not desk.stats["connected"])
        desk.control("21 22 0001 0000 0000")
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"again")
            number = desk.ask()
            desk.turns.until(lambda: desk.done(number))
            assert desk.data_of(number) == b"again"


def test_who_does_not_answer_is_no_error(desks: list[Desk]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    desk = open_desk(desks, f"tcp:127.0.0.1:{port}")
    desk.turns.settle()
    assert desk.done(desk.send(b"into the void"))
    assert desk.stats["connected"] is False


@pytest.mark.parametrize("host", ["[::1::]", "x" * 64])
def test_a_host_without_an_address_is_told(host: str) -> None:
    with pytest.raises(Unavailable, match="cannot find"):
        Desk(f"tcp:{host}:80")


# A script

SCRIPT = r"""
start = "login: "
[[rule]]
when = "reboot\r"
send = "bye\r\n"
once = true
[[rule]]
when = '(\w+)\r'
send = 'hello \1\r\n'
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return path


def said(desk: Desk) -> bytes:
    """Everything there is for the host now."""
    text = b""
    while desk.done(number := desk.ask()):
        text += desk.data_of(number)
    desk.device.unlink(number)
    return text


def test_a_script_answers_what_it_is_told(desks: list[Desk], script: Path) -> None:
    desk = open_desk(desks, f"script:{script}")
    assert said(desk) == b""
    desk.control("21 22 0001 0000 0000")
    assert said(desk) == b"login: "
    for part in (b"ro", b"ot\rreboot\r", b"reboot\r"):
        desk.send(part)
    assert said(desk) == b"hello root\r\nbye\r\nhello reboot\r\n"
    desk.control("21 22 0000 0000 0000")
    desk.control("21 22 0001 0000 0000")
    desk.send(b"reboot\r")
    assert said(desk) == b"login: bye\r\n"


def test_a_script_hears_no_faster_than_its_answers_are_fetched(desks: list[Desk], script: Path) -> None:
    script.write_text(f'[[rule]]\nwhen = "x"\nsend = "{"y" * 16_000}"')
    desk = open_desk(desks, f"script:{script}")
    numbers = [desk.send(b"x") for _ in range(100)]
    assert not desk.done(numbers[-1])
    assert len(said(desk)) == 100 * 16_000
    assert desk.done(numbers[-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = 1", "rule"),
        ("[[rule]]\nwhen = 'x'", "send"),
        ("[[rule]]\nwhen = 'x'\nsend = 'y'\nonec = true", "once"),
        ("[[rule]]\nwhen = '('\nsend = 'y'", "rule 1: .* is no regular expression"),
        ("[[rule]]\nwhen = '[[a]'\nsend = 'y'", "rule 1: .* is no regular expression"),
        ("[[rule]]\nwhen = 'x*'\nsend = 'y'", "rule 1: .* matches nothing at all"),
        (r"[[rule]]" "\nwhen = 'x'\nsend = '\\1'", "rule 1: cannot send"),
        ("[[rule]", "script.toml: .*line 1"),
    ],
)
def test_a_wrong_script_is_told_with_its_place(script: Path, text: str, message: str) -> None:
    script.write_text(text)
    with pytest.raises(UsageError, match=message):
        Desk(f"script:{script}")


def test_a_script_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable, match="cannot read /nowhere"):
        Desk("script:/nowhere")


def test_errors_of_a_script_are_of_a_configuration(script: Path) -> None:
    script.write_text("x")
    with pytest.raises(ConfigError):
        Desk(f"script:{script}")
