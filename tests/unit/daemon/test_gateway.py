"""A group's address at the gate, and its clients' connections at the helper."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from appliance.daemon.gateway import Gateway
from appliance.errors import PeerError, TwinhubError, Unavailable
from appliance.kernel.client import Helper
from appliance.kernel.gate.messages import Freeze, Message, Open, Refuse
from appliance.kernel.tcp.state import Facts, Rebuild
from appliance.pair.gadget_exports import Orphan
from appliance.sessions.state import SessionSpec
from tests.unit.kernel.fakegate import FakeGate

HERE = "127.0.0.1"
FACTS = Facts((HERE, 3240), ("192.0.2.1", 50000), 1000, 2000, 1460, True, 7, 7, 123456)


class House:
    """The helper is this; it rebuilds nothing."""

    def __init__(self, folder: Path) -> None:
        self.gate = FakeGate(folder / "gate")
        self.asked: list[Rebuild] = []
        self.gateway = Gateway(HERE, self.gate.path, cast(Helper, self))

    async def tcp_facts(self, fd: int) -> Facts:
        return FACTS

    async def rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        self.asked += [rebuild for rebuild, _ in wanted]
        return [Unavailable(f"tail {tail!r}") for _, tail in wanted]

    async def told(self) -> Message:
        return await asyncio.to_thread(self.gate.next)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.gateway.hang_up()
    if house.gate.path.exists():
        house.gate.die()


def orphan(name: str, facts: Facts | None = FACTS, started: float = 1.0) -> Orphan:
    spec = SessionSpec(id=name, name=name, kind="gadget", peer="192.0.2.1:50000", started=started)
    return Orphan(name, spec, facts.to_plain() if facts else {}, 5, 6, name.encode())


async def test_the_address_is_frozen_and_opened(house: House) -> None:
    await house.gateway.close()
    await house.gateway.open()
    assert [await house.told(), await house.told()] == [Freeze(HERE), Open(HERE)]


async def test_a_gate_that_was_restarted_is_told_again_how_the_address_is(house: House) -> None:
    await house.gateway.close()
    watching = asyncio.create_task(house.gateway.watch())
    assert [await house.told(), await house.told()] == [Freeze(HERE), Freeze(HERE)]
    await asyncio.to_thread(house.gate.die)
    house.gate.start()
    assert await house.told() == Freeze(HERE)
    watching.cancel()
    await asyncio.wait([watching])


async def test_without_a_gate_it_is_unavailable_and_the_next_one_is_found(house: House) -> None:
    await asyncio.to_thread(house.gate.die)
    with pytest.raises(Unavailable):
        await house.gateway.close()
    house.gate.start()
    await house.gateway.close()
    assert await house.told() == Freeze(HERE)


async def test_many_may_be_refused_at_once(house: House) -> None:
    await asyncio.gather(*(house.gateway.refuse(orphan("a")) for _ in range(8)))
    assert [await house.told() for _ in range(8)] == 8 * [Refuse((FACTS.local, FACTS.remote))]


async def test_a_client_of_the_address_is_guarded_and_one_of_another_is_not(house: House) -> None:
    with socket.create_server((HERE, 0)) as server:
        for address, guarded in ((HERE, True), ("127.0.0.2", False)):
            house.gateway.address = address
            with socket.create_connection(server.getsockname()) as client, server.accept()[0] as served:
                told = await house.gateway.guard(served)
                client.close()
            assert (told == {"facts": FACTS.to_plain(), "gate": str(house.gate.path)}) is guarded


@pytest.mark.parametrize("lost", [orphan("lost", None), orphan("lost", started=float("nan"))])
async def test_a_connection_of_which_too_little_is_known_costs_the_others_nothing(
    house: House, lost: Orphan
) -> None:
    one, none, other = await house.gateway.rebuild([orphan("a"), lost, orphan("b")])
    assert isinstance(none, PeerError)
    assert [str(one), str(other)] == ["tail b'a'", "tail b'b'"]
    assert [rebuild.facts for rebuild in house.asked] == [FACTS, FACTS]


async def test_who_has_no_connection_that_is_known_cannot_be_refused(house: House) -> None:
    with pytest.raises(PeerError):
        await house.gateway.refuse(orphan("a", None))
