"""A gadget and its copy: what the client gets when the master dies at any moment."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import Unavailable
from appliance.sessions.replication.master import Phase
from appliance.sessions.replication.records import HEADER, MASTERS, Reader
from appliance.sessions.replication.records import Local as LocalRecord
from gadgets.definition import Definition, Part
from gadgets.serial.line import Received
from gadgets.usb.inputs import read_input
from tests.unit.sessions.replicas import (
    DISK,
    KEYBOARD,
    SERIAL,
    Bytes,
    Numbers,
    Pair,
    Script,
    Step,
    alone,
    storing,
    talking,
    typing,
)

RAISE_DTR = bytes.fromhex("2122010000000000")
FAULTS = (
    {"kind": "nak", "endpoint": 0x81, "seconds": 0.004, "nth": 3},
    {"kind": "corrupt", "bits": 2, "endpoint": 0x81, "chance": 0.5},
    {"kind": "stall", "endpoint": 0x81, "nth": 5},
)
GADGETS: dict[str, tuple[Definition, Script]] = {
    "keyboard": (KEYBOARD, typing),
    "disk": (DISK, storing),
    "serial": (SERIAL, talking),
    "keyboard with faults": (replace(KEYBOARD, faults=FAULTS, seed=3), typing),
    "disk with faults": (replace(DISK, faults=FAULTS, seed=5), storing),
}


@contextmanager
def paired(definition: Definition, *, follower: Definition | None = None) -> Iterator[Pair]:
    pair = Pair(definition, follower=follower)
    try:
        yield pair
    finally:
        pair.close()


def go_on(pair: Pair, steps: list[Step], ends: list[int]) -> bytes:
    """The master is gone. The copy takes over; what it has not had comes again, from the client by its TCP,
    and local inputs from whoever got no answer. All that the client ever got."""
    executed, taken = pair.follower.index, pair.follower.shadow.bytes_in if pair.follower.shadow else 0
    copy = pair.take_over()
    if copy.software is None:
        copy.attach()
    for number, step in enumerate(steps):
        if isinstance(step, Bytes):
            skip = min(len(step.data), taken)
            taken -= skip
            copy.do(Bytes(step.data[skip:]))
        elif number >= len(ends) or executed < ends[number]:
            copy.do(step)
    return copy.hear()


@pytest.mark.parametrize("gadget", GADGETS)
def test_a_master_may_die_at_every_record(gadget: str) -> None:
    definition, script = GADGETS[gadget]
    steps = script()
    expected = alone(definition, steps)
    for deadline in range(1, 1000):
        with paired(definition) as pair:
            pair.protect()
            began = pair.log.index
            pair.master.attach()
            ends: list[int] = []
            for step in steps:
                pair.master.do(step)
                ends.append(pair.log.index)
            while pair.over and pair.follower.index < began + deadline:
                pair.move(1)
                pair.answer()
            done = not pair.over
            assert expected.startswith(pair.master.hear())
            assert go_on(pair, steps, ends) == expected
        if done:
            break
    assert done


@pytest.mark.parametrize("gadget", GADGETS)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_master_may_die_in_the_middle_of_anything(gadget: str, data: st.DataObject) -> None:
    definition, script = GADGETS[gadget]
    steps = script()
    stop = data.draw(st.integers(0, len(steps)), "steps until the crash")
    begins_late = data.draw(st.booleans(), "the session begins before the copy")
    with paired(definition) as pair:
        if begins_late:
            pair.master.attach()
        pair.protect()
        if not begins_late:
            pair.master.attach()
        ends: list[int] = []
        for step in steps[:stop]:
            pair.master.do(step)
            ends.append(pair.log.index)
            pair.move(data.draw(st.integers(0, len(pair.over)), "bytes that get over"))
            if data.draw(st.booleans(), "an answer gets back"):
                pair.answer()
                pair.master.hear()
        pair.move(data.draw(st.integers(0, len(pair.over)), "bytes that got over at last"))
        assert go_on(pair, steps, ends) == alone(definition, steps)


@pytest.mark.parametrize("gadget", GADGETS)
def test_nothing_is_released_that_the_copy_has_not_executed(gadget: str) -> None:
    definition, script = GADGETS[gadget]
    with paired(definition) as pair:
        pair.protect()
        pair.master.attach()
        for step in script():
            before = len(pair.master.got)
            pair.master.do(step)
            assert len(pair.master.got) == before
            pair.move()
            pair.answer()
            pair.master.hear()
            shadow = pair.follower.shadow
            assert shadow
            assert len(pair.master.got) == shadow.bytes_out
        assert pair.master.got == alone(definition, script())


def test_inputs_do_not_wait_for_the_copy() -> None:
    with paired(KEYBOARD) as pair:
        pair.protect()
        pair.master.attach()
        for step in typing():
            pair.master.do(step)
        assert pair.master.hear() == b""
        pair.settle()
        assert pair.master.hear() == alone(KEYBOARD, typing())


def test_without_protection_nothing_waits() -> None:
    with paired(KEYBOARD) as pair:
        pair.log.start()
        pair.master.attach()
        for step in typing():
            pair.master.do(step)
        assert pair.master.hear() == alone(KEYBOARD, typing())


def test_a_protected_master_that_loses_its_copy_is_silent_until_it_is_told_that_it_is_alone() -> None:
    steps = typing()
    with paired(KEYBOARD) as pair:
        pair.protect()
        pair.master.attach()
        pair.settle()
        pair.log.lose("the sibling hung up")
        for step in steps:
            pair.master.do(step)
        assert pair.master.hear() == b""
        assert pair.phases[-1] is Phase.LOST
        pair.log.sole()
        assert pair.master.hear() == alone(KEYBOARD, steps)


def test_an_unprotected_master_that_loses_its_copy_goes_on() -> None:
    with paired(KEYBOARD) as pair:
        pair.log.start()
        pair.log.lose("the sibling hung up")
        pair.master.attach()
        for step in typing():
            pair.master.do(step)
        assert pair.master.hear() == alone(KEYBOARD, typing())


def test_a_copy_that_answers_otherwise_drops_out() -> None:
    with paired(KEYBOARD) as pair:
        pair.protect()
        pair.master.attach()
        astray = read_input(pair.copy.running.device.inputs, {"type_text": "x"})
        for number, step in enumerate(typing()):
            pair.master.do(step)
            pair.settle()
            if number == 1:
                pair.copy.running.local(astray)
        assert pair.phases[-1] is Phase.LOST
        assert "otherwise" in pair.reasons[-1]
        assert alone(KEYBOARD, typing()).startswith(pair.master.hear())


def test_a_copy_that_is_not_in_sync_is_not_promoted() -> None:
    with paired(KEYBOARD) as pair:
        pair.log.start()
        with pytest.raises(Unavailable, match="not in sync"):
            pair.follower.promote()


def test_the_next_session_gets_nothing_of_the_one_before() -> None:
    with paired(KEYBOARD) as pair:
        pair.protect()
        pair.master.attach()
        pair.master.do(typing()[0])
        pair.master.running.detach()
        pair.master.attach()
        pair.settle()
        assert pair.master.hear() == b""
        pair.master.do(typing()[0])
        pair.settle()
        assert len(pair.master.hear()) == 48


def test_what_a_companion_answers_is_executed_by_the_copy_without_one(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text('[[rule]]\nwhen = "to the port (.)"\nsend = "yes, \\\\1"\n')
    modem = replace(SERIAL, functions=(Part("serial", {"connect": f"script:{table}"}),))
    steps = talking()
    expected = alone(modem, steps)
    assert b"yes, 3" in expected
    with paired(modem) as pair:
        pair.protect()
        pair.master.attach()
        for step in steps:
            pair.master.do(step)
            pair.settle()
        assert pair.master.hear() == expected
        assert pair.follower.in_sync


def test_what_a_companion_heard_and_what_it_said_to_it_go_over_as_one_piece(tmp_path: Path) -> None:
    """Else a master that dies between the two would have heard, and never answered."""
    table = tmp_path / "table.toml"
    table.write_text('[[rule]]\nwhen = "(?s)(.+)"\nsend = "\\\\1"\n')
    modem = replace(SERIAL, functions=(Part("serial", {"connect": f"script:{table}"}),))
    with paired(modem) as pair:
        pair.protect()
        pair.master.attach()
        urbs = Numbers()
        pair.master.do(Bytes(urbs.configure() + urbs.submit(0, setup=RAISE_DTR)))
        pair.settle()
        pieces: list[bytes] = []
        pair.log.send = pieces.append
        pair.master.do(Bytes(urbs.submit(0x01, data=b"word")))
        received, answered = pieces
        assert b"word" in received
        inputs = [
            record.input for record in Reader(MASTERS).feed(answered) if isinstance(record, LocalRecord)
        ]
        assert len(inputs) == 2


def test_a_companion_that_starts_at_the_takeover_hears_what_is_under_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dialled:
        port = dialled.getsockname()[1]
        modem = replace(SERIAL, functions=(Part("serial", {"connect": f"tcp:127.0.0.1:{port}"}),))
        with paired(modem) as pair:
            pair.protect()
            pair.master.attach()
            urbs = Numbers()
            pair.master.do(Bytes(urbs.configure() + urbs.submit(0, setup=RAISE_DTR)))
            pair.settle()
            word = Bytes(urbs.submit(0x01, data=b"half a word"))
            pair.master.do(word)
            pair.move(HEADER.size + len(word.data))  # and not that the companion has consumed it
            assert Received(b"half a word") in pair.copy.running.gadget.functions[0].so_far()
            (companion,) = pair.take_over().running.companions["serial"]
            assert companion.stats()["from_host"] == len(b"half a word")


def test_time_goes_on_where_the_master_was() -> None:
    with paired(KEYBOARD) as pair:
        pair.protect()
        far = 10**18
        pair.master.running.tick(far)
        pair.move()
        copy = pair.take_over()
        assert far <= copy.running.now() < far + 10**12
