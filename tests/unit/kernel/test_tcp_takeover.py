"""A client's TCP connection goes on at B after everything on A was killed. Needs root and namespaces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.kernel.tcp_world import World, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, getattr(request, "param", 4))
    yield made
    made.close()


def takeover(world: World, shape: str, seed: int, stop_at: int = 0, refuse: bool = False) -> str:
    """What the client says in the end. With `stop_at` the master commits nothing after so many bytes."""
    at_master, at_backup = world.stream()
    backup, theirs = world.pair()
    client, its = world.pair()
    words = str(at_backup.fileno()), str(theirs.fileno()), str(stop_at)
    world.act(
        "b", "backup", world.address, world.gate_path("b"), *words, fds=(at_backup.fileno(), theirs.fileno())
    )
    master = world.act(
        "a", "master", world.address, world.gate_path("a"), str(at_master.fileno()), fds=(at_master.fileno(),)
    )
    assert backup.recv(99) == b"listening"
    at_master.close()
    at_backup.close()
    world.act("c", "client", world.address, shape, str(seed), str(its.fileno()), fds=(its.fileno(),))
    assert backup.recv(99) == (b"stopped" if stop_at else b"under way")
    rng = random.Random(seed)
    for part in rng.sample([master, world.gates["a"]], 2):
        part.kill()
    world.move("a", "b")
    if refuse:
        backup.send(b"refuse")
        return client.recv(99).decode()
    backup.send(b"take over")
    assert backup.recv(999).startswith(b"rebuilt")
    client.send(b"taken over")
    return client.recv(99).decode()


@pytest.mark.parametrize(
    ("world", "shape"),
    [(4, "small"), (4, "pipelined"), (4, "bulk_in"), (6, "bulk_in"), (4, "bulk_out"), (6, "bulk_out")],
    indirect=["world"],
)
def test_a_client_gets_every_answer_once_and_whole(world: World, shape: str) -> None:
    assert takeover(world, shape, seed=world.version).startswith("whole")


def test_what_the_kernel_took_and_nobody_committed_is_sent_again_by_the_client(world: World) -> None:
    assert takeover(world, "bulk_out", seed=7, stop_at=1 << 20).startswith("whole")


def test_a_client_that_cannot_be_taken_over_is_reset_at_once(world: World) -> None:
    assert takeover(world, "small", seed=8, refuse=True) == "reset"
