"""Sessions as the daemon runs them, with real processes and a fake stub."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys

import pytest

from appliance import __version__
from appliance.errors import DeviceFailed, NotFound, UsageError
from tests.unit.sessions.conftest import House
from tests.unit.sessions.doubles import TIMEOUT, Client, control
from tests.unit.sessions.pdus import spec, submit, unlink, unlinked

MIB = 1 << 20


async def test_a_relayed_session_moves_and_counts_urbs(house: House) -> None:
    client = await house.start()
    client.read(512)
    client.write(b"x" * 31)
    assert [s.id for s in house.sessions.all()] == ["s1"]
    stats = await house.sessions.stats("s1")
    assert (stats["urbs"], stats["bytes_in"], stats["bytes_out"], stats["in_flight"]) == (2, 512, 31, 0)
    assert stats["endpoints"]["0x81"]["latency_us"]["p50"] > 0
    assert house.helper.devices[0].taken == [b"x" * 31]


async def test_only_the_owner_may_use_a_control_socket(house: House) -> None:
    await house.start()
    mode = (house.runtime / "sessions" / "s1.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_a_client_that_hangs_up_frees_the_device(house: House) -> None:
    client = await house.start()
    client.sock.close()
    assert await house.ended() == ("s1", "the client hung up")
    house.helper.devices[0].join(TIMEOUT)
    assert house.sessions.all() == []


async def test_a_device_that_is_unplugged_hangs_up_on_its_client(house: House) -> None:
    client = await house.start()
    house.helper.devices[0].unplug()
    assert client.hung_up()
    assert await house.ended() == ("s1", "the device is gone")


async def test_a_kick_ends_the_session_and_tells_why(house: House) -> None:
    client = await house.start()
    await house.sessions.kick("s1", "Mallory has had it long enough")
    assert house.ends.get_nowait() == ("s1", "kicked: Mallory has had it long enough")
    assert client.hung_up()
    with pytest.raises(NotFound):
        await house.sessions.kick("s1", "again")


async def test_a_worker_that_does_not_answer_a_kick_is_killed(house: House) -> None:
    client = await house.start()
    os.kill(house.pid("s1"), signal.SIGSTOP)
    await house.sessions.kick("s1", "it hangs")
    assert await house.ended() == ("s1", "kicked: it hangs")
    assert client.hung_up()


async def test_a_worker_that_is_killed_leaves_both_ends_closed(house: House) -> None:
    client = await house.start()
    os.kill(house.pid("s1"), signal.SIGKILL)
    assert await house.ended() == ("s1", "the worker died")
    assert client.hung_up()
    house.helper.devices[0].join(TIMEOUT)


async def test_a_worker_that_is_told_to_stop_ends_its_session(house: House) -> None:
    await house.start()
    os.kill(house.pid("s1"), signal.SIGTERM)
    assert await house.ended() == ("s1", "the worker was told to stop")


async def test_a_device_that_cannot_be_handed_over_leaves_nothing_behind(house: House) -> None:
    house.helper.fails = True
    client, accepted = house.connection()
    with pytest.raises(DeviceFailed):
        await house.sessions.start(spec(), accepted)
    assert accepted.fileno() != -1
    assert house.sessions.all() == []
    client.sock.close()


async def test_a_hostile_client_ends_only_its_own_session(house: House) -> None:
    hostile, honest = await house.start(id="bad"), await house.start(id="good")
    hostile.sock.sendall(b"\xff" * 4096)
    session, reason = await house.ended()
    assert (session, hostile.hung_up()) == ("bad", True)
    assert "command 0xffffffff" in reason
    honest.read(512)


async def test_a_submit_that_would_break_the_stub_is_answered_and_the_session_goes_on(house: House) -> None:
    client = await house.start()
    client.sock.sendall(submit(900, 0x0F, data=b"x" * 5000))
    assert client.sock.recv(48)[4:8] == (900).to_bytes(4, "big")
    client.read(100)


async def test_a_client_that_does_not_read_holds_up_only_its_own_data(house: House) -> None:
    client = await house.start()
    numbers = [client.submit_in(MIB) for _ in range(20)]
    while not (stats := await house.sessions.stats("s1"))["urbs"]:
        continue
    assert stats["in_flight"] > 0
    for number in numbers:
        client.expect_in(number, MIB)


async def test_an_interrupt_transfer_stays_parked_until_it_is_unlinked(house: House) -> None:
    client = await house.start()
    parked = client.submit_in(8, 0x83)
    client.read(100)
    client.sock.sendall(unlink(500, parked))
    assert client.sock.recv(48) == unlinked(500)
    assert (await house.sessions.stats("s1"))["unlinked"] == 1


# The daemon comes and goes


async def test_a_new_daemon_finds_the_session_in_mid_transfer_and_nothing_is_lost(house: House) -> None:
    client = await house.start()
    number = client.submit_in(4 * MIB)
    start = client.sock.recv(1000)
    adopted = await house.renew()
    assert adopted == [spec()]
    rest = bytearray(start)
    while len(rest) < 48 + 4 * MIB:
        rest += client.sock.recv(MIB)
    client.seqnum = number
    client.read(512)
    assert (await house.sessions.stats("s1"))["bytes_in"] == 4 * MIB + 512
    await house.sessions.kick("s1", "by the new daemon")
    assert await house.ended() == ("s1", "kicked: by the new daemon")


async def test_a_daemon_that_is_killed_takes_no_session_with_it(house: House) -> None:
    client, accepted = house.connection()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "tests.unit.sessions.doomed", str(house.runtime)]
        fds = (accepted.fileno(), theirs.fileno())
        doomed = await asyncio.create_subprocess_exec(*command, *map(str, fds), pass_fds=fds)
        accepted.close()
        _, (stub,), _, _ = await asyncio.to_thread(socket.recv_fds, ours, 1, 1)
        await house.helper.hand_over("3-1", stub)
        os.close(stub)
        assert await asyncio.to_thread(ours.recv, 1) == b"s"
        client.read(512)
        doomed.kill()
        await doomed.wait()
    client.read(512)
    await house.sessions.adopt()
    client.read(512)
    assert (await house.sessions.stats("s1"))["urbs"] == 3


async def test_the_control_socket_of_a_dead_worker_is_removed(house: House) -> None:
    left = house.runtime / "sessions" / "dead.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left))
    assert await house.sessions.adopt() == []
    assert not left.exists()


async def test_a_nursery_that_died_is_replaced(house: House) -> None:
    first = await house.start(id="one")
    process = house.sessions.nursery._process
    assert process
    process.kill()
    process.wait()
    second = await house.start(id="two")
    first.read(10)
    second.read(10)


async def test_a_worker_becomes_newer_code_under_load_without_losing_a_byte(house: House) -> None:
    client = await house.start()

    def load(rounds: int) -> None:
        for length in range(1, rounds * 997, 997):
            parked = [client.submit_in(length) for _ in range(3)]
            for number in parked:
                client.expect_in(number, length)
            client.write(b"w" * length)

    working = asyncio.create_task(asyncio.to_thread(load, 200))
    upgrades = 0
    while not working.done() or not upgrades:
        assert await house.sessions.upgrade("s1") == __version__
        upgrades += 1
    await working
    stats = await house.sessions.stats("s1")
    assert (stats["urbs"], stats["in_flight"], stats["dropped"]) == (800, 0, 0)


async def test_code_that_does_not_start_leaves_the_session_as_it_is(house: House) -> None:
    client = await house.start()
    with pytest.raises(Exception, match="goes on here"):
        await house.sessions.link("s1").ask("reexec", python="/bin/false")
    with pytest.raises(Exception, match="cannot run"):
        await house.sessions.link("s1").ask("reexec", python="/nowhere/python")
    client.read(512)


# Idle


async def test_an_idle_session_is_released_even_with_an_interrupt_transfer_parked(house: House) -> None:
    client = await house.start(idle_seconds=0.2)
    client.submit_in(8, 0x83)
    assert await house.ended() == ("s1", "idle for 0.2 s")
    assert client.hung_up()


async def test_bytes_keep_an_idle_session_alive(house: House) -> None:
    client = await house.start(idle_seconds=2.0)
    for _ in range(10):
        client.read(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await house.ends.get()
    client.sock.close()
    assert await house.ended() == ("s1", "the client hung up")


# The other kinds


async def test_a_direct_session_leaves_the_urbs_to_the_kernel(house: House) -> None:
    client = await house.start(kind="direct")
    client.read(4096)
    assert await house.sessions.stats("s1") == {}
    client.sock.close()
    assert (await house.ended())[0] == "s1"
    assert house.helper.ended == ["3-1"]


async def test_a_direct_session_can_be_kicked(house: House) -> None:
    client = await house.start(kind="direct")
    await house.sessions.kick("s1", "enough")
    assert client.hung_up()
    assert house.helper.ended == ["3-1"]


async def test_a_direct_session_outlives_the_daemon(house: House) -> None:
    client = await house.start(kind="direct")
    assert [s.kind for s in await house.renew()] == ["direct"]
    client.read(4096)
    assert await house.sessions.upgrade("s1") == __version__
    client.read(4096)


async def test_a_direct_session_whose_worker_died_is_ended_in_the_kernel(house: House) -> None:
    await house.start(kind="direct")
    os.kill(house.pid("s1"), signal.SIGKILL)
    assert await house.ended() == ("s1", "the worker died")
    assert house.helper.ended == ["3-1"]
    house.helper.devices[0].unplug()


async def keyboard(house: House) -> Client:
    await house.add("keyboard")
    client = await house.attach("keyboard")
    client.sock.sendall(submit(900, 0x00, setup=bytes.fromhex("0009010000000000")))
    client.sock.recv(48)
    return client


async def test_a_gadget_session_is_the_device_itself(house: House) -> None:
    client = await keyboard(house)
    assert control(client, "8006000100001200", 18)[8:12] == bytes.fromhex("09120100")
    client.sock.sendall(submit(901, 0x81, 8))
    await house.sessions.local("s1", {"type_text": "a"})
    assert client.sock.recv(56)[48:] == bytes.fromhex("0000040000000000")
    assert (await house.sessions.stats("s1"))["endpoints"]["0x81"]["urbs"] == 1


@pytest.mark.parametrize(
    "nonsense", [{}, {"shout": "a"}, {"type_text": "a", "press": []}, {"type_text": "a", "size": 3}]
)
async def test_an_input_that_makes_no_sense_is_refused(house: House, nonsense: dict[str, object]) -> None:
    await keyboard(house)
    with pytest.raises(UsageError):
        await house.sessions.local("s1", nonsense)


async def test_what_a_kind_of_session_cannot_do_is_refused(house: House) -> None:
    await keyboard(house)
    await house.start(id="d", kind="direct")
    await house.start(id="r")
    for asked in (
        house.sessions.upgrade("s1"),
        house.sessions.local("d", {"type_text": "a"}),
        house.sessions.local("r", {"type_text": "a"}),
    ):
        with pytest.raises(UsageError):
            await asked
    with pytest.raises(UsageError):
        async with house.sessions.capture("d"):
            pass
