from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BY_NAME, ProtocolError, TwinhubError, UsageError
from appliance.kernel import messages
from appliance.kernel.helper import HANDLERS
from appliance.kernel.messages import MAX_MESSAGE, OPERATIONS, Request, parse_reply, parse_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "op", "busid"]), inner)
    ),
    max_leaves=8,
)
DETAIL = st.dictionaries(st.text(max_size=9), st.none() | st.integers(), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    op = draw(st.sampled_from(list(OPERATIONS)))
    shape = OPERATIONS[op]
    details = (
        tuple(draw(st.lists(DETAIL, min_size=1, max_size=messages.MAX_REBUILDS))) if shape.details else ()
    )
    return Request(
        draw(st.integers(0, messages.MAX_ID)),
        op,
        draw(st.sampled_from(["1-1", "4-2.3"])) if shape.busid else "",
        tuple(range(3, 3 + (len(details) if shape.fds is None else shape.fds))),
        details,
    )


@given(requests())
def test_every_request_survives_the_way(request: Request) -> None:
    data = messages.encode_request(request)
    assert len(data) < MAX_MESSAGE
    assert parse_request(data, request.fds) == request


@given(st.binary(max_size=MAX_MESSAGE) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused_with_a_usage_error(data: bytes) -> None:
    try:
        request = parse_request(data)
    except UsageError:
        messages.id_within(data)
        return
    assert request.op in OPERATIONS


@pytest.mark.parametrize(
    ("data", "fds", "complaint"),
    [
        (b"", (), "JSON object"),
        (b"\xff", (), "JSON object"),
        (b"[1]", (), "JSON object"),
        (b"[" * MAX_MESSAGE, (), "JSON object"),
        (b"1" * MAX_MESSAGE, (), "JSON object"),
        (b'{"id": 1}', (), "unknown operation"),
        (b'{"id": 1, "op": "reboot"}', (), "unknown operation"),
        (b'{"id": 1, "op": ["bind"], "busid": "1-1"}', (), "unknown operation"),
        (b'{"id": 1, "op": "bind"}', (), "takes id, op and busid"),
        (b'{"id": 1, "op": "bind", "busid": 11}', (), "takes id, op and busid"),
        (b'{"id": 1, "op": "bind", "busid": "1-1", "root": "/"}', (), "nothing else"),
        (b'{"id": 1, "op": "load_modules", "busid": "1-1"}', (), "takes id and op"),
        (b'{"id": 1, "op": "bind", "busid": "../../1-1"}', (), "not a busid"),
        (b'{"id": 1, "op": "bind", "busid": "1-1\\u0000"}', (), "not a busid"),
        (b'{"id": true, "op": "bind", "busid": "1-1"}', (), "id of a request"),
        (b'{"id": -1, "op": "bind", "busid": "1-1"}', (), "id of a request"),
        (b'{"id": 1, "op": "hand_over", "busid": "1-1"}', (), "takes 1 descriptors, 0 came"),
        (b'{"id": 1, "op": "hand_over", "busid": "1-1"}', (3, 4), "takes 1 descriptors, 2 came"),
        (b'{"id": 1, "op": "bind", "busid": "1-1"}', (3,), "takes 0 descriptors, 1 came"),
        (b'{"id": 1, "op": "tcp_rebuild", "details": [{}]}', (), "takes 1 descriptors, 0 came"),
        (b'{"id": 1, "op": "tcp_rebuild", "details": [1]}', (3,), "details are a list"),
        (b'{"id": 1, "op": "tcp_rebuild"}', (), "takes id, op and details"),
        (b'{"id": 1, "op": "tcp_facts", "details": []}', (3,), "nothing else"),
    ],
)
def test_a_hostile_request_is_refused_with_a_reason(
    data: bytes, fds: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_request(data, fds)


def test_every_operation_has_its_handler_and_no_other_has() -> None:
    assert set(HANDLERS) == set(OPERATIONS)


@given(st.integers(0, messages.MAX_ID), st.none() | st.integers(0, 9))
def test_a_result_survives_the_way(number: int, result: int | None) -> None:
    reply = parse_reply(messages.encode_result(number, result))
    assert (reply.id, reply.result, reply.failure) == (number, result, None)


@given(st.none() | st.integers(0, messages.MAX_ID), st.sampled_from(list(BY_NAME.values())), st.text())
def test_an_error_survives_the_way(number: int | None, kind: type[TwinhubError], text: str) -> None:
    reply = parse_reply(messages.encode_failure(number, kind(text)))
    assert (reply.id, type(reply.failure), str(reply.failure)) == (number, kind, text)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_reply_is_parsed_or_a_protocol_error(data: bytes) -> None:
    try:
        parse_reply(data)
    except ProtocolError:
        pass
