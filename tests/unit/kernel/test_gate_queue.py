from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from appliance.kernel.gate import queue
from appliance.kernel.gate.queue import Complaint, Packet


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def told(packet: Packet) -> bytes:
    """As the kernel tells of a packet, with an attribute that nobody asked for."""
    body = struct.pack(">BBH", 2, 0, 7) + attribute(1, struct.pack(">IHB", packet.id, 0x800, packet.hook))
    body += attribute(3, struct.pack(">I", packet.mark)) if packet.mark else b""
    body += attribute(9, b"hardware") + attribute(10, packet.headers)
    return struct.pack("=IHHII", 16 + len(body), queue.PACKET, 0, 0, 0) + body


NUMBERS = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(Packet, NUMBERS, st.sampled_from([1, 3]), st.binary(max_size=99), NUMBERS)


@given(PACKETS)
def test_a_packet_is_read_as_the_kernel_told_it(packet: Packet) -> None:
    assert list(queue.parse(told(packet))) == [packet]


def test_an_answer_to_a_request_is_an_errno() -> None:
    body = struct.pack("=i", -16) + bytes(16)
    assert list(queue.parse(struct.pack("=IHHII", 16 + len(body), 2, 0, 0, 0) + body)) == [Complaint(16)]


@given(st.binary(max_size=300) | st.builds(lambda p, n: told(p)[:n], PACKETS, st.integers(0, 99)))
def test_any_other_bytes_do_no_harm(data: bytes) -> None:
    assert all(isinstance(each, Packet | Complaint) for each in queue.parse(data))


def test_a_verdict_names_queue_packet_and_fate() -> None:
    assert queue.verdict(7, 0x01020304, True)[16:] == bytes.fromhex("000000070c0002000000000101020304")
