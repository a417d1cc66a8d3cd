"""What root's helper is asked, what it answers, and what the kernel says of its ports."""

from __future__ import annotations

from functools import partial
from random import Random

from appliance.errors import DeviceFailed, ProtocolError, UsageError
from appliance.kernel.messages import (
    OPERATIONS,
    Request,
    encode_failure,
    encode_request,
    encode_result,
    id_within,
    parse_reply,
    parse_request,
)
from appliance.kernel.paths import BUSID
from appliance.kernel.vhci import parse_status
from tests.fuzz.harness import parser
from tests.fuzz.mutation import JSON_WORDS, invent

REQUESTS = (
    encode_request(Request(7, "bind", "1-1.4")),
    encode_request(Request(8, "hand_over", "2-3")),
    encode_request(Request(9, "load_modules")),
)
REPLIES = (encode_result(7, None), encode_result(8, 3), encode_failure(9, UsageError("no")))
STATUS = (
    b"hub port sta spd dev      sockfd local_busid\n"
    b"hs  0000 006 002 00030007 000005 1-1.2\n"
    b"hs  0001 004 000 00000000 000000 0-0\n"
    b"ss  0008 004 000 00000000 000000 0-0\n",
)
STATUS_WORDS = (b"hs", b"ss", b" ", b"\n", b"999999999", b"0", b"-", b"ffffffff", "٣".encode(), b"\0")


def ask_helper(random: Random, data: bytes) -> None:
    """What passes names an operation of the table and a busid that is one."""
    id_within(data)
    request = parse_request(data, range(random.choice((0, 0, 1, 2))))
    shape = OPERATIONS[request.op]
    assert len(request.fds) == shape.fds
    assert bool(BUSID.fullmatch(request.busid)) == shape.busid
    assert request == parse_request(encode_request(request), request.fds)


def hear_helper(random: Random, data: bytes) -> None:
    reply = parse_reply(data)
    assert reply.result is None or isinstance(reply.result, int)
    str(reply.failure)


def read_ports(random: Random, data: bytes) -> None:
    for port in parse_status(data.decode("utf-8", "replace")):
        assert 0 <= port.number < 1_000_000_000
        assert 0 <= port.devid < 1 << 32


broken = partial(invent, words=JSON_WORDS)
TARGETS = (
    parser("helper-request", lambda r: broken(r, REQUESTS), ask_helper, (UsageError,)),
    parser("helper-reply", lambda r: broken(r, REPLIES), hear_helper, (ProtocolError,)),
    parser("vhci-status", lambda r: invent(r, STATUS, STATUS_WORDS), read_ports, (DeviceFailed,)),
)
