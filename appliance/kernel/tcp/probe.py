"""Asking clients where they stand, and making them repeat what was lost, by segments of our own making.

A kernel answers a segment far outside its window at once with a pure acknowledgement, which has its position
in both streams; such answers are not limited where a byte is in the segment (Linux: `tcp_oow_rate_limited`).
"""

from __future__ import annotations

import array
import select
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from threading import Thread
from time import monotonic

from appliance.errors import NotPermitted
from appliance.kernel.tcp.segment import ACK, TCP, Endpoint, Segment, make, parse, seq
from appliance.kernel.tcp.state import Rebuild

OUTSIDE = 1 << 30
"""So far before what is acknowledged is certainly no window."""
ASK_AGAIN = (0.01, 0.03, 0.07)
"""When a silent client is asked, in seconds: it may first have to learn who has the address now."""
GIVE_UP = 0.15
SNAPSHOT = 200
"""The headers of a segment, with all their options."""
SO_ATTACH_FILTER, SO_MARK = 26, 36
HOME_MADE = 0x7477696E
"""The mark of our segments: the gate tells them from what a kernel says of an earlier connection."""
NEEDS_ROOT = "asking a client where it stands needs CAP_NET_RAW: run the helper as root"
ETHERTYPE = {socket.AF_INET: 0x0800, socket.AF_INET6: 0x86DD}
LOAD_BYTE, JUMP_IF_EQUAL, RETURN = 0x30, 0x15, 0x06
"""Classic BPF: linux/bpf_common.h."""


def ask(rebuilds: Sequence[Rebuild]) -> list[Segment | None]:
    """The answer of each client, all asked at once; None where there was none in time."""
    ways = {(each.facts.remote, each.facts.local): number for number, each in enumerate(rebuilds)}
    answers: list[Segment | None] = [None] * len(rebuilds)
    with ExitStack() as stack:
        families = {family_of(each.facts.local) for each in rebuilds}
        ears = [_listen(family) for family in families]
        for ear in ears:
            stack.callback(Thread(target=ear.close).start)  # the kernel waits for all its processors
        start = monotonic()
        for until in (*ASK_AGAIN, GIVE_UP):
            for each, answer in zip(rebuilds, answers, strict=True):
                if answer is None:
                    send(probe(each), b"\0")
            while None in answers and monotonic() < start + until:
                ready, _, _ = select.select(ears, [], [], max(0.0, start + until - monotonic()))
                for ear in ready:
                    heard = parse(ear.recv(SNAPSHOT))
                    if heard and heard.length == 0 and heard.flags == ACK:
                        number = ways.get((heard.source, heard.target), -1)
                        if number >= 0:
                            answers[number] = heard
            if None not in answers:
                break
    return answers


def probe(rebuild: Rebuild) -> Segment:
    stamps = None if rebuild.clock is None else (rebuild.clock, 0)
    facts = rebuild.facts
    return Segment(
        facts.local, facts.remote, seq(rebuild.snd - OUTSIDE), rebuild.rcv, ACK, 0xFFFF, timestamps=stamps
    )


def send(segment: Segment, payload: bytes = b"", sack: tuple[tuple[int, int], ...] = ()) -> None:
    """Sends it as if the kernel had; a network that does not take it loses it, as it may any segment."""
    with _raw(family_of(segment.source)) as sender, suppress(ConnectionError, TimeoutError):
        sender.setsockopt(socket.SOL_SOCKET, SO_MARK, HOME_MADE)
        sender.bind((segment.source[0], 0))
        sender.sendto(make(segment, payload, sack), (segment.target[0], 0))


def family_of(end: Endpoint) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in end[0] else socket.AF_INET


def _raw(family: socket.AddressFamily) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_RAW, TCP)
    except PermissionError as error:
        raise NotPermitted(NEEDS_ROOT) from error


def filter_of(protocol_at: int) -> array.array[int]:
    return array.array("B", b"".join(struct.pack("=HBBI", *each) for each in (
        (LOAD_BYTE, 0, 0, protocol_at),
        (JUMP_IF_EQUAL, 0, 1, TCP),
        (RETURN, 0, 0, SNAPSHOT),
        (RETURN, 0, 0, 0),
    )))  # fmt: skip


TCP_ONLY = {socket.AF_INET: filter_of(9), socket.AF_INET6: filter_of(6)}
"""By where the IP header has its protocol."""


def _listen(family: socket.AddressFamily) -> socket.socket:
    """Hears TCP as it comes from the network, whatever a firewall lets the kernel see."""
    try:
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE[family]))
    except PermissionError as error:
        raise NotPermitted(NEEDS_ROOT) from error
    where, size = TCP_ONLY[family].buffer_info()
    ear.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", size // 8, where))
    return ear
