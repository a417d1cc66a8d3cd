"""What is said on a control socket: lines, bounds, and who asks nonsense."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.sessions.control import LINE_LIMIT, Lines, encode
from tests.unit.sessions.conftest import House
from tests.unit.sessions.doubles import TIMEOUT

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
messages = st.lists(st.dictionaries(st.text(), json), max_size=5)


@given(messages, st.integers(1, 50))
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    sent: list[dict[str, object]], chunk: int
) -> None:
    data = b"".join(map(encode, sent))
    lines = Lines()
    got = [m for at in range(0, len(data), chunk) for m in lines.feed(data[at : at + chunk])]
    assert got == sent
    assert lines.rest == b""


@given(st.binary())
def test_noise_is_no_message(noise: bytes) -> None:
    try:
        assert all(isinstance(message, dict) for message in Lines().feed(noise))
    except ProtocolError:
        pass


@pytest.mark.parametrize("bad", [b"[]\n", b"{\n", b"\xff\n", b"x" * (LINE_LIMIT + 1), b"[" * 50000 + b"\n"])
def test_a_line_that_is_no_message_is_an_error(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        Lines().feed(bad)


def connect(house: House) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(str(house.runtime / "sessions" / "s1.sock"))
    house.sockets.append(sock)
    return sock


async def test_an_unknown_operation_names_the_known_ones(house: House) -> None:
    await house.start()
    sock = connect(house)
    sock.sendall(encode({"op": "dance"}))
    told = Lines().feed(sock.recv(4096))[0]
    assert told["error"] == "UsageError"
    assert "describe" in told["message"]


async def test_nonsense_on_the_control_socket_ends_that_connection_only(house: House) -> None:
    client = await house.start()
    sock = connect(house)
    sock.sendall(b"nonsense\n")
    assert sock.recv(100) == b""
    client.read(10)
    assert (await house.sessions.stats("s1"))["urbs"] == 1


async def test_more_connections_than_allowed_wait_for_their_turn(house: House) -> None:
    await house.start()
    crowd = [connect(house) for _ in range(9)]
    for sock in crowd:
        sock.sendall(encode({"op": "describe"}))
    served, waiting = crowd[:7], crowd[7:]
    for sock in served:
        assert sock.recv(4096)
    for sock in served[:2]:
        sock.close()
    for sock in waiting:
        assert sock.recv(4096)


async def test_somebody_who_does_not_read_is_cut_off_and_the_session_goes_on(house: House) -> None:
    client = await house.start()
    deaf = connect(house)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        deaf.sendall(encode({"op": "describe"}) * 100_000)
    client.read(10)


async def test_a_capture_without_a_descriptor_is_refused(house: House) -> None:
    await house.start()
    sock = connect(house)
    sock.sendall(encode({"op": "capture"}))
    assert Lines().feed(sock.recv(4096))[0]["error"] == "UsageError"


async def test_the_last_word_on_a_control_socket_is_the_reason(house: House) -> None:
    await house.start()
    sock = connect(house)
    sock.sendall(encode({"op": "describe"}))
    data = sock.recv(4096)
    await house.sessions.kick("s1", "because")
    while piece := sock.recv(4096):
        data += piece
    assert Lines().feed(data)[-1] == {"event": "end", "reason": "kicked: because"}
