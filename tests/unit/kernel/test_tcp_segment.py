from __future__ import annotations

import ipaddress
import struct
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from appliance.kernel.tcp.segment import ACK, RST, TCP, Segment, checksum, distance, make, parse, seq

NUMBERS = st.integers(0, 0xFFFFFFFF)
PORTS = st.integers(0, 0xFFFF)


def ends(version: Literal[4, 6]) -> st.SearchStrategy[tuple[str, int]]:
    return st.tuples(st.ip_addresses(v=version).map(str), PORTS)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    end = draw(st.sampled_from([ends(4), ends(6)]))
    return Segment(
        *(draw(end), draw(end), draw(NUMBERS), draw(NUMBERS)),
        flags=draw(st.sampled_from([ACK, RST])),
        window=draw(PORTS),
        length=draw(st.integers(0, 1400)),
        timestamps=draw(st.none() | st.tuples(NUMBERS, NUMBERS)),
    )


def packet(segment: Segment, extension: bytes = b"") -> bytes:
    """As it is on the wire, in IPv4 or IPv6."""
    source, target = (ipaddress.ip_address(end[0]).packed for end in (segment.source, segment.target))
    tcp = make(segment, bytes(segment.length), ((1, 2),))
    if len(source) == 4:
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, TCP, 0) + source + target + tcp
    following = 60 if extension else TCP
    body = extension + tcp
    return struct.pack(">IHBB", 6 << 28, len(body), following, 64) + source + target + body


@given(segments(), st.booleans())
def test_what_is_made_is_read_again_though_its_payload_is_cut_off(segment: Segment, extended: bool) -> None:
    whole = packet(segment, bytes((TCP, 0)) + bytes(6) if extended else b"")
    assert parse(whole) == segment
    assert parse(whole[: len(whole) - segment.length]) == segment


@given(segments(), st.binary(max_size=99))
def test_the_checksum_of_what_is_made_is_right(segment: Segment, payload: bytes) -> None:
    source, target = (ipaddress.ip_address(end[0]).packed for end in (segment.source, segment.target))
    tcp = make(segment, payload)
    assert checksum(source + target + struct.pack(">II", len(tcp), TCP) + tcp) == 0


@given(st.binary(max_size=200) | st.builds(lambda s, n: packet(s)[:n], segments(), st.integers(0, 80)))
def test_any_other_bytes_are_no_segment_or_one(data: bytes) -> None:
    assert parse(data) is None or isinstance(parse(data), Segment)


@given(NUMBERS, st.integers(-(1 << 31), (1 << 31) - 1))
def test_distances_count_across_the_wrap(start: int, by: int) -> None:
    assert distance(start, seq(start + by)) == by
