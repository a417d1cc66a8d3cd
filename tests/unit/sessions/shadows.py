"""Devices and a master in memory, for the tests of shadows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from appliance.exports.takeover import Policy, policy
from appliance.sessions.relay import Relay
from appliance.sessions.shadow.core import Shadow
from appliance.sessions.shadow.plan import Found, Plan, plan
from appliance.sessions.shadow.restore import Outcome, Transfer, steps
from appliance.sessions.state import SessionSpec, SessionState
from tests.unit.sessions.pdus import ANSWER, COMMAND, spec, through


def descriptors(ids: str, *interfaces: str) -> bytes:
    """A device with these IDs ("0403:6001") and these interface and endpoint descriptors."""
    body = b"".join(bytes.fromhex(interface) for interface in interfaces)
    vendor, product = (int(number, 16).to_bytes(2, "little") for number in ids.split(":"))
    device = bytes.fromhex("1201000200000040") + vendor + product + bytes.fromhex("000100000001")
    head = (9 + len(body)).to_bytes(2, "little") + bytes((len(interfaces), 1, 0, 0x80, 50))
    return device + b"\x09\x02" + head + body


DISK = descriptors("46f4:0001", "0904000002080650000705810200020007050202000200")
KEYBOARD = descriptors("0627:0001", "09040000010301010007058103080004")
FTDI = descriptors("0403:6001", "0904000002ffffff000705810240000007050202400000")
CAMERA = descriptors("046d:0825", "0904000000" + "0e020000", "0904000101" + "0e020000" + "07058105000301")


@dataclass
class Device:
    """Behind a stub: takes whole PDUs out of the bytes that come, and answers when it is told to."""

    name: str = ""
    data: bytes = b""
    urbs: dict[int, tuple[int, int, bytes, bytes, int]] = field(default_factory=dict)
    """unanswered: seqnum → address, length, setup, payload, packets"""
    seen: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    """address, setup, payload of all"""

    def feed(self, data: bytes) -> bytes:
        """Returns answers to unlinks."""
        self.data += data
        told = b""
        while len(self.data) >= 48:
            command, seqnum, _, direction, ep, target, length, _, packets, _, setup = COMMAND.unpack(
                self.data[:48]
            )
            if command == 2:
                self.data = self.data[48:]
                status = -104 if self.urbs.pop(target, None) else 0
                told += ANSWER.pack(4, seqnum, 0, 0, 0, status, 0, 0, 0, 0)
                continue
            assert command == 1
            size = 48 + 16 * max(packets, 0) + (0 if direction else length)
            if len(self.data) < size:
                break
            assert seqnum not in self.urbs
            payload, self.data = self.data[48:size], self.data[size:]
            self.urbs[seqnum] = direction << 7 | ep, length, setup, payload, packets
            self.seen.append((direction << 7 | ep, setup, payload))
        return told

    def answer(self, seqnum: int, data: bytes | None = None, status: int = 0) -> bytes:
        address, length, _, payload, packets = self.urbs.pop(seqnum)
        inward = (b"%07d" % seqnum * (length // 7 + 1))[:length] if data is None else data
        actual = len(inward) if address & 0x80 else length
        behind = payload[len(payload) - 16 * packets :] if packets > 0 else b""
        header = ANSWER.pack(3, seqnum, 0, 0, 0, status, actual, 0, packets, 0)
        return header + (inward if address & 0x80 else b"") + behind


class Client:
    """Reads what it is sent and refuses what the kernel's client would."""

    def __init__(self) -> None:
        self.data = b""
        self.asked: dict[int, tuple[int, int, int]] = {}
        """unanswered: seqnum → address, length, packets"""
        self.unlinks: dict[int, int] = {}
        self.answers: dict[int, tuple[int, bytes]] = {}
        """seqnum → status, payload"""

    def sends(self, pdu: bytes) -> bytes:
        command, seqnum, _, direction, ep, target, length, _, packets, *_ = COMMAND.unpack(pdu[:48])
        if command == 2:
            self.unlinks[seqnum] = target
        else:
            self.asked[seqnum] = direction << 7 | ep, length, packets
        return pdu

    def feed(self, data: bytes) -> None:
        self.data += data
        while len(self.data) >= 48:
            command, seqnum, *_, status, actual, _, packets, _ = ANSWER.unpack(self.data[:48])
            if command == 4:
                target = self.unlinks.pop(seqnum)
                assert (target in self.asked) == (status == -104), "the stub knows what is unlinked"
                self.asked.pop(target, None)
                self.data = self.data[48:]
                continue
            assert command == 3
            address, length, asked = self.asked[seqnum]
            assert 0 <= actual <= length
            assert max(packets, 0) in (max(asked, 0), 0)
            size = 48 + (actual if address & 0x80 else 0) + 16 * max(packets, 0)
            if len(self.data) < size:
                break
            del self.asked[seqnum]
            self.answers[seqnum] = status, self.data[48:size]
            self.data = self.data[size:]


class Master:
    """A relay with a journal: all that goes in or out is in its shadow first."""

    def __init__(self, shadow: Shadow | None = None, **changes: object) -> None:
        self.relay = Relay.begin(spec(**changes))
        self.shadow = shadow or Shadow(self.relay.freeze())
        self.stub, self.client = Device(), Client()

    def sends(self, data: bytes) -> None:
        """The client's bytes."""
        self.shadow.client(data)
        self.gives(self.stub.feed(through(self.relay.up, data)))

    def gives(self, data: bytes) -> None:
        """The stub's bytes: whole PDUs."""
        if out := through(self.relay.down, data):
            self.shadow.stub(out)
            self.client.feed(out)

    def asks(self, *pdus: bytes) -> None:
        for pdu in pdus:
            self.sends(self.client.sends(pdu))


class Heir:
    """The session goes on with another device."""

    def __init__(self, made: Plan, client: Client) -> None:
        self.plan, self.client, self.stub = made, client, Device()
        self.relay = Relay(made.state)
        client.feed(made.to_client)
        assert self.stub.feed(made.to_stub) == b""

    def sends(self, data: bytes) -> None:
        told = self.stub.feed(through(self.relay.up, data))
        self.client.feed(through(self.relay.down, told))

    def asks(self, *pdus: bytes) -> None:
        for pdu in pdus:
            self.sends(self.client.sends(pdu))

    def answers_all(self) -> None:
        for seqnum in list(self.stub.urbs):
            self.client.feed(through(self.relay.down, self.stub.answer(seqnum)))


def found(of: SessionSpec, **changes: object) -> Found:
    same = Found(5 << 16 | 2, "5-1", of.speed, of.descriptors, of.serial)
    return replace(same, **changes)  # type: ignore[arg-type]


def takes_over(shadow: Shadow, choice: str = "auto", **changes: object) -> Plan:
    standing = shadow.standing()
    return plan(standing, policy_of(standing.state, choice), found(standing.state.spec, **changes))


def policy_of(state: SessionState, choice: str = "auto") -> Policy:
    return policy(
        state.spec.descriptors, state.selection.configuration, dict(state.selection.alternates), choice
    )


def carried_out(made: Plan, device: Callable[[Transfer], Outcome]) -> list[Transfer]:
    """The transfers that `made` asks of a device before its client's."""
    asked: list[Transfer] = []
    running = steps(made)
    try:
        transfer = next(running)
        while True:
            asked.append(transfer)
            transfer = running.send(device(transfer))
    except StopIteration:
        return asked
