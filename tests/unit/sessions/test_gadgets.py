"""Software gadgets as the daemon runs them: real processes, real sockets, no kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Busy, DeviceFailed, NotFound, Unavailable, UsageError
from appliance.sessions import gadgets
from appliance.sessions.control import Lines
from appliance.sessions.conversation import Connection
from gadgets.definition import Definition, Part
from gadgets.replay.player import replay
from gadgets.replay.recording import Recording
from tests.unit.sessions.conftest import KEYBOARD, House, plain
from tests.unit.sessions.doubles import TIMEOUT, Client, control
from tests.unit.sessions.pdus import submit

CONFIGURE = bytes.fromhex("0009010000000000")
A_DOWN = bytes.fromhex("0000040000000000")


async def configured(house: House, gadget: str = "keyboard", **changes: object) -> Client:
    client = await house.attach(gadget, **changes)
    client.sock.sendall(submit(900, 0x00, setup=CONFIGURE))
    assert len(client.sock.recv(48)) == 48
    return client


async def stats(house: House, gadget: str = "keyboard") -> dict[str, Any]:
    return dict(await house.gadgets.ask(gadget, "stats"))


async def told(source: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        return await anext(source)


# A gadget is there before and after its client


async def test_a_gadget_is_one_process_that_every_client_in_turn_finds(house: House) -> None:
    kept = await house.add("keyboard")
    assert kept.link
    for session in ("one", "two"):
        client = await house.attach("keyboard", id=session)
        assert control(client, "8006000100001200", 18)[8:12] == bytes.fromhex("09120100")
        assert house.pid(session) == kept.link.pid
        client.sock.close()
        assert await house.ended() == (session, "the client hung up")
    assert (await stats(house))["session"] is None


async def test_the_end_of_a_session_is_told_on_its_own_control_socket_only(house: House) -> None:
    await house.add("keyboard")
    client = await configured(house)
    await house.sessions.kick("s1", "enough")
    assert client.hung_up()
    assert await house.ended() == ("s1", "kicked: enough")
    await configured(house)


async def test_a_client_that_breaks_the_protocol_loses_its_session_and_not_the_gadget(house: House) -> None:
    await house.add("keyboard")
    hostile = await house.attach("keyboard")
    hostile.sock.sendall(b"\xff" * 4096)
    assert "protocol was broken" in (await house.ended())[1]
    await configured(house)


async def test_a_second_client_is_told_that_it_is_busy(house: House) -> None:
    await house.add("keyboard")
    first = await configured(house)
    with pytest.raises(Busy, match=r"keyboard is in use by 192\.0\.2\.5"):
        await house.attach("keyboard", id="two")
    await house.gadgets.ask("keyboard", "local", input={"type_text": "a"})
    first.sock.sendall(submit(901, 0x81, 8))
    assert first.sock.recv(56)[48:] == A_DOWN


async def test_an_idle_client_is_released_and_the_gadget_goes_on(house: House) -> None:
    await house.add("keyboard")
    client = await configured(house, idle_seconds=0.2)
    assert await house.ended() == ("s1", "idle for 0.2 s")
    assert client.hung_up()
    await configured(house)


async def test_a_gadget_that_does_not_run_cannot_be_attached(house: House) -> None:
    with pytest.raises(Unavailable, match="gadget nothing does not run"):
        await house.attach("nothing")


async def test_there_may_be_many_of_one_definition(house: House) -> None:
    names = [f"keyboard-{number}" for number in range(8)]
    await asyncio.gather(*(house.add(name) for name in names))
    clients = [await configured(house, name, id=f"s{nth}") for nth, name in enumerate(names)]
    for name, client in zip(names, clients, strict=True):
        await house.gadgets.ask(name, "local", input={"type_text": "a"})
        client.sock.sendall(submit(901, 0x81, 8))
        assert client.sock.recv(56)[48:] == A_DOWN


# What it says of itself, and what it tells


async def test_its_portrait_says_what_it_is_and_what_it_takes(house: House) -> None:
    portrait = (await house.add("keyboard")).portrait
    assert (portrait["product"], portrait["speed"], portrait["vendor_id"]) == ("keyboard", "full", 0x1209)
    assert portrait["functions"] == [{"label": "keyboard", "kind": "Keyboard"}]
    inputs = {each["name"]: each for each in portrait["inputs"]}
    assert inputs["type_text"]["fields"] == [
        {"name": "text", "wanted": "a text", "optional": False},
        {"name": "layout", "wanted": "a text", "optional": True},
    ]
    assert portrait["descriptors"]["device"].startswith("1201")


async def test_who_follows_it_hears_what_happens(house: House) -> None:
    await house.add("keyboard")
    async with house.gadgets.events("keyboard") as source:
        client = await configured(house)
        client.sock.sendall(submit(901, 0x00, data=b"\x02", setup=bytes.fromhex("2109000200000100")))
        events = [await told(source)]
        while events[-1]["kind"] != "leds":
            events.append(await told(source))
        await house.gadgets.remove("keyboard", "seen enough")
        last = [event async for event in source]
    assert (events[0]["kind"], events[0]["fields"]) == ("attached", {"client": "192.0.2.5:50000"})
    assert (events[-2]["function"], events[-2]["kind"], events[-2]["fields"]) == (
        "", "configured", {"value": 1},
    )  # fmt: skip
    assert (events[-1]["function"], events[-1]["fields"]["caps_lock"]) == ("keyboard", True)
    assert [(event.get("kind"), event["event"]) for event in last[-2:]] == [
        ("detached", "told"),
        (None, "end"),
    ]
    assert last[-1]["reason"] == "seen enough"


async def test_who_is_too_slow_for_what_is_told_is_told_how_much(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gadgets, "BACKLOG", 2)
    ours, theirs = pair
    ours.setblocking(False)
    follower = gadgets.Follower(Path("keyboard.sock"), ours)
    follower._reader = asyncio.create_task(follower._read())
    for number in range(4):
        follower.hear({"event": "told", "number": number})
    follower.hear({"event": "lost", "count": 3})
    theirs.close()
    assert [(event["event"], event.get("count")) async for event in follower.each()] == [
        ("told", None), ("told", None), ("lost", 5), ("end", None),
    ]  # fmt: skip


async def test_a_follower_that_does_not_read_holds_nothing_up(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    connection = Connection(theirs)
    while not connection.lost:
        connection.offer({"event": "told", "data": "x" * 100})
    connection.offer({"event": "told"})
    lost, read = connection.lost, Lines()
    waiting = read.feed(ours.recv(1 << 20))
    assert all(event["event"] == "told" for event in waiting)
    connection.offer({"event": "told", "last": True})
    assert read.feed(ours.recv(1 << 20)) == [
        {"event": "lost", "count": lost},
        {"event": "told", "last": True},
    ]


async def test_an_input_that_it_does_not_take_is_refused_with_what_it_does(house: House) -> None:
    await house.add("keyboard")
    with pytest.raises(UsageError, match="did you mean 'type_text'"):
        await house.gadgets.ask("keyboard", "local", input={"type_txt": "a"})


# Faults


async def test_a_fault_that_pulls_it_out_ends_the_session_until_it_is_plugged_in_again(house: House) -> None:
    kept = await house.add("keyboard")
    assert kept.link
    client = await configured(house)
    await house.gadgets.ask("keyboard", "local", input={"add_fault": {"disconnect": 0, "nth": 1}})
    assert len((await stats(house))["faults"]) == 1
    client.sock.sendall(submit(901, 0x80, 18, setup=bytes.fromhex("8006000100001200")))
    while client.sock.recv(4096):
        continue
    assert await house.ended() == ("s1", "the device was unplugged by a fault")
    assert not kept.link.plugged
    with pytest.raises(Unavailable, match="unplugged at the moment"):
        await house.attach("keyboard")
    await house.gadgets.ask("keyboard", "local", input={"replug": True})
    assert kept.link.plugged
    await configured(house)


# Recording


async def test_a_recording_replays_byte_for_byte(house: House) -> None:
    await house.add("keyboard")
    async with house.gadgets.record("keyboard") as chunks:
        client = await configured(house)
        control(client, "8006000100001200", 18)
        await house.gadgets.ask("keyboard", "local", input={"type_text": "a"})
        client.sock.sendall(submit(901, 0x81, 8))
        assert client.sock.recv(56)[48:] == A_DOWN
        await house.gadgets.ask("keyboard", "record_end")
        data = b"".join([chunk async for chunk in chunks])
    with KEYBOARD.build() as again:
        report = replay(Recording(data), again.device)
    assert (report.identical, report.complete, report.torn) == (True, True, 0), str(report)
    assert report.inputs >= 5


async def test_a_recording_ends_whole_when_the_gadget_does(house: House) -> None:
    await house.add("keyboard")
    async with house.gadgets.record("keyboard") as chunks:
        await configured(house)
        await house.gadgets.remove("keyboard", "enough")
        data = b"".join([chunk async for chunk in chunks])
    with KEYBOARD.build() as again:
        assert replay(Recording(data), again.device).complete


async def test_a_reader_that_leaves_ends_the_recording_and_not_the_gadget(house: House) -> None:
    await house.add("keyboard")
    async with house.gadgets.record("keyboard"):
        assert (await stats(house))["recording"]["ended"] is None
    await configured(house)
    assert (await stats(house))["recording"] is None


# The daemon comes and goes; gadgets die


async def test_a_daemon_adopts_the_gadget_and_the_session_that_it_has(house: House) -> None:
    kept = await house.add("keyboard")
    assert kept.link
    client = await configured(house)
    assert [spec.name for spec in await house.renew()] == ["keyboard"]
    again = await house.gadgets.add("keyboard", plain(KEYBOARD))
    assert again.link
    assert again.link.pid == kept.link.pid
    await house.gadgets.ask("keyboard", "local", input={"type_text": "a"})
    client.sock.sendall(submit(901, 0x81, 8))
    assert client.sock.recv(56)[48:] == A_DOWN


@pytest.mark.parametrize("wanted", [{}, {"keyboard": plain(replace(KEYBOARD, serial="other"))}])
async def test_one_that_is_defined_otherwise_now_is_stopped(house: House, wanted: dict[str, Any]) -> None:
    await house.add("keyboard")
    client = await configured(house)
    await house.gadgets.close(leave=True)
    await house.gadgets.adopt(wanted)
    assert client.hung_up()
    assert "keyboard" not in house.gadgets
    assert list(house.gadgets.directory.iterdir()) == []


@pytest.mark.parametrize("in_use", [True, False])
async def test_newer_code_takes_a_gadget_over_once_nobody_uses_it(
    house: House, monkeypatch: pytest.MonkeyPatch, in_use: bool
) -> None:
    await house.add("keyboard")
    client = await configured(house)
    if not in_use:
        client.sock.close()
        await house.ended()
    monkeypatch.setattr(gadgets, "__version__", "99")
    await house.renew()
    assert ("keyboard" in house.gadgets) is in_use


async def test_the_control_socket_of_a_dead_gadget_is_removed(house: House) -> None:
    left = house.gadgets.directory / "dead.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left))
    await house.gadgets.adopt({"dead": plain(KEYBOARD)})
    assert not left.exists()


async def test_one_that_dies_is_started_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gadgets, "FIRST_DELAY", 0.01)
    kept = await house.add("keyboard")
    assert kept.link
    client = await configured(house)
    os.kill(kept.link.pid, signal.SIGKILL)
    assert client.hung_up()
    assert await house.ended() == ("s1", "the worker died")
    changes = [await house.changes.get() for _ in range(3)]
    assert changes == ["keyboard"] * 3, "it runs, it died, it runs"
    house.pidfds.append(os.pidfd_open(kept.link.pid))
    await configured(house, id="s2")


async def test_one_that_cannot_be_built_says_why_and_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gadgets, "FIRST_DELAY", 0.01)
    image = tmp_path / "disk.img"
    disk = Definition("disk", functions=(Part("disk", {"luns": [{"medium": str(image)}]}),))
    kept = await house.add("disk", disk)
    assert kept.error
    assert str(image) in str(kept.error)
    with pytest.raises(DeviceFailed, match="gadget disk does not run"):
        await house.gadgets.ask("disk", "stats")
    image.write_bytes(bytes(1 << 20))
    while kept.link is None:
        await house.changes.get()
    house.pidfds.append(os.pidfd_open(kept.link.pid))


async def test_a_gadget_that_is_not_there_is_named(house: House) -> None:
    with pytest.raises(NotFound, match="no gadget 'nothing'; there are none"):
        await house.gadgets.ask("nothing", "stats")
    await house.add("keyboard")
    with pytest.raises(NotFound, match="no gadget 'keybord'; did you mean 'keyboard'"):
        await house.gadgets.ask("keybord", "stats")
    with pytest.raises(NotFound, match="no gadget 'nothing'; known are keyboard"):
        await house.gadgets.ask("nothing", "stats")


async def test_a_name_too_long_for_a_socket_is_refused(house: House) -> None:
    kept = await house.gadgets.add("k" * 108, plain(KEYBOARD))
    assert "too long for a socket" in str(kept.error)
