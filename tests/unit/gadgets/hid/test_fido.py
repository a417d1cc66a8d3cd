"""The authenticator, judged by Yubico's python-fido2, which talks to it with no kernel between."""

from __future__ import annotations

import threading

import pytest
from fido2.ctap import CtapError
from fido2.ctap1 import Ctap1
from fido2.ctap2 import Ctap2
from fido2.hid import CTAPHID, CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor, parse_report_descriptor

from appliance.errors import Unavailable, UsageError
from gadgets.hid.ctaphid import LARGEST, PACKET, Command, packets_of
from gadgets.hid.fido import MAX_BEHIND, Answer, Cancelled, Fido, FidoRequest, Reply, Touch, Wink
from tests.unit.gadgets.hid.hosts import fetched, host_of, told
from tests.unit.gadgets.host import Host

MS = 1_000_000
TICK = 50 * MS


class Connection(CtapHidConnection):
    """The host's end. Where nothing has come, time passes; `inputs` is what the user does, by the tick."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.now = 0
        self.inputs: dict[int, object] = {}
        self.waits = 0

    def write_packet(self, data: bytes) -> None:
        (done,) = self.host.submit(1, data=data)
        assert done.status == 0

    def read_packet(self) -> bytes:
        done = self.host.submit(0x81, PACKET)
        for _ in range(1000):
            if done:
                return done[0].data
            self.now += TICK
            self.waits += 1
            done = self.host.device.tick(self.now)
            if self.waits in self.inputs:
                done += self.host.device.local(self.inputs[self.waits])
        raise AssertionError("no packet comes")

    def close(self) -> None:
        pass


def connect(fido: Fido) -> tuple[Connection, CtapHidDevice]:
    connection = Connection(host_of(fido))
    described = HidDescriptor("", 0x1209, 1, *parse_report_descriptor(fido.report_descriptor), None, None)
    return connection, CtapHidDevice(described, connection)


def test_its_report_descriptor_is_what_readers_in_the_field_expect() -> None:
    assert parse_report_descriptor(Fido.report_descriptor) == (64, 64)


def test_it_says_what_it_can_without_being_told_how() -> None:
    _, device = connect(Fido())
    info = Ctap2(device).info
    assert info.versions == ["U2F_V2", "FIDO_2_0"]
    assert info.options == {"rk": False, "up": True}
    assert Ctap1(device).get_version() == "U2F_V2"


def test_it_echoes_and_winks() -> None:
    connection, device = connect(Fido())
    long = bytes(range(256)) * 20
    assert device.ping(long) == long
    device.wink()
    assert told(connection.host) == [Wink()]


def test_what_it_does_not_know_it_refuses() -> None:
    _, device = connect(Fido())
    assert device.call(CTAPHID.CBOR, b"\x06") == b"\x01"
    assert device.call(CTAPHID.MSG, b"\0\1\0\0") == b"\x6d\0"
    with pytest.raises(CtapError, match="INVALID_COMMAND"):
        device.lock()
    with pytest.raises(CtapError, match="INVALID_LENGTH"):
        device.call(CTAPHID.CBOR, b"")


def test_it_answers_by_the_first_reply_that_fits() -> None:
    replies = (Reply(b"\x02\xa1", b"\0one"), Reply(b"\x02", b"\0two"), Reply(b"\x02", b"three", "msg"))
    connection, device = connect(Fido(replies=replies))
    assert device.call(CTAPHID.CBOR, b"\x02\xa1\x01") == b"\0one"
    assert device.call(CTAPHID.CBOR, b"\x02\xa2") == b"\0two"
    assert device.call(CTAPHID.MSG, b"\x02") == b"three"
    assert told(connection.host)[0] == FidoRequest(b"\x02\xa1\x01", "cbor", 1, waits=False)


def test_a_late_reply_is_kept_alive() -> None:
    connection, device = connect(Fido(replies=(Reply(b"\x01", b"\0", delay_ms=350),)))
    seen: list[int] = []
    assert device.call(CTAPHID.CBOR, b"\x01", on_keepalive=seen.append) == b"\0"
    assert seen == [1]
    assert connection.now >= 350 * MS


def test_it_waits_for_a_touch() -> None:
    connection, device = connect(Fido(replies=(Reply(b"\x01", b"\0", touch=True),)))
    connection.inputs[7] = Touch()
    seen: list[int] = []
    assert device.call(CTAPHID.CBOR, b"\x01", on_keepalive=seen.append) == b"\0"
    assert seen == [2]


def test_whoever_is_asked_may_answer() -> None:
    connection, device = connect(Fido(ask=True))
    connection.inputs[3] = Answer(b"\0" + bytes(300))
    assert device.call(CTAPHID.CBOR, b"\x04") == b"\0" + bytes(300)
    assert told(connection.host) == [FidoRequest(b"\x04", "cbor", 1, waits=True)]


def test_the_host_may_cancel() -> None:
    connection, device = connect(Fido(ask=True))
    cancel = threading.Event()
    cancel.set()
    assert device.call(CTAPHID.CBOR, b"\x01", event=cancel) == b"\x2d"
    assert told(connection.host)[-1] == Cancelled()


def test_a_message_whose_rest_does_not_come_times_out() -> None:
    connection, _ = connect(Fido())
    connection.write_packet(next(packets_of(1, Command.PING, bytes(100))))
    assert connection.read_packet()[:8].hex() == "00000001bf000105"
    assert connection.now == 500 * MS + TICK
    assert connection.host.device.wake_at is None


def test_it_wants_no_clock_when_nothing_is_under_way() -> None:
    connection, device = connect(Fido(replies=(Reply(b"\x01", b"\0", delay_ms=100),)))
    assert connection.host.device.wake_at is None
    device.call(CTAPHID.CBOR, b"\x01")
    assert connection.host.device.wake_at is None


def test_a_new_host_starts_with_no_channels() -> None:
    connection, device = connect(Fido(ask=True))
    connection.write_packet(next(packets_of(1, Command.CBOR, b"\x01")))
    Host(connection.host.device)
    with pytest.raises(CtapError, match="INVALID_CHANNEL"):
        device.ping()


@pytest.mark.parametrize("input", [Touch(), Answer(b"\0")])
def test_what_nobody_waits_for_is_refused(input: object) -> None:
    connection, _ = connect(Fido())
    with pytest.raises(Unavailable, match="no request waits"):
        connection.host.device.local(input)


def test_an_answer_has_to_fit_into_a_message() -> None:
    connection, _ = connect(Fido(ask=True))
    connection.write_packet(next(packets_of(1, Command.CBOR, b"\x01")))
    with pytest.raises(UsageError, match=f"{LARGEST} is the most"):
        connection.host.device.local(Answer(bytes(LARGEST + 1)))
    with pytest.raises(UsageError, match=f"{LARGEST} is the most"):
        Fido(replies=(Reply(b"", bytes(LARGEST + 1)),))


def test_a_host_that_fetches_no_answers_is_not_taken_from_and_nothing_is_lost() -> None:
    connection, _ = connect(Fido())
    host = connection.host
    ping = next(packets_of(1, Command.PING, b"hello"))
    completed = sum(bool(host.submit(1, data=ping)) for _ in range(2 * MAX_BEHIND))
    assert completed == MAX_BEHIND + 1
    assert len(fetched(host)) == 2 * MAX_BEHIND


def test_packets_come_by_set_report_too() -> None:
    connection, _ = connect(Fido())
    host = connection.host
    ping = next(packets_of(1, Command.PING, b"hello"))
    for _ in range(3 * MAX_BEHIND):
        assert host.control("21 09 0200 0000 0040", ping) == b""
    assert fetched(host) == [ping] * (MAX_BEHIND + 1)
