"""Whatever happens to one of the two, the client's devices go on: nothing lost, doubled or out of order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.namespaces.soak import soak
from tests.namespaces.twins import Loads, Twins

pytestmark = pytest.mark.timeout(300)
COUNT, SEED = 10, 1
"""`make soak` does a thousand."""


@pytest.fixture(autouse=True)
def in_order(pair: Twins) -> Iterator[None]:
    """What was said meanwhile is shown where a test fails."""
    pair.protected()
    began = pair.log.tell()
    yield
    pair.heal()
    print(pair.said(began))


@pytest.fixture
def loads(pair: Twins, in_order: None) -> Iterator[Loads]:
    with pair.loads() as loads:
        yield loads


def test_everything_on_the_master_is_killed(pair: Twins, loads: Loads) -> None:
    master, backup = pair.protected()
    loads.type(master, "typed before the blow")
    pair.kill(master)
    pair.becomes_master(backup)
    loads.go_on()
    pair.start(master)
    assert pair.protected() == (backup, master)
    loads.go_on()


def test_the_master_freezes_and_comes_back_believing_it_is_master(pair: Twins, loads: Loads) -> None:
    master, backup = pair.protected()
    loads.type(master, "typed before it froze")
    pair.freeze(master)
    pair.becomes_master(backup)
    loads.go_on()
    pair.thaw(master)
    loads.go_on()
    assert pair.protected() == (backup, master)
    loads.go_on()


def test_the_master_is_cut_off_from_everybody(pair: Twins, loads: Loads) -> None:
    master, backup = pair.protected()
    pair.cut_off(master)
    pair.becomes_master(backup)
    loads.go_on()
    pair.heal()
    assert pair.protected() == (backup, master)
    loads.go_on()


def test_the_master_is_cut_off_from_the_client(pair: Twins, loads: Loads) -> None:
    """The backup, which hears the client, is fitter, and the master hands over."""
    master, backup = pair.protected()
    pair.cut_off(master, "client")
    pair.becomes_master(backup)
    loads.go_on()
    pair.heal()
    assert set(pair.protected()) == {master, backup}
    loads.go_on()


def test_the_two_are_cut_off_from_each_other(pair: Twins, loads: Loads) -> None:
    """Whoever the witness grants the group goes on alone."""
    pair.cut_off("a", "b")
    alone = pair.wait_for("a sole master", pair.sole)
    loads.type(alone, "alone")
    loads.go_on()
    pair.heal()
    assert pair.protected()[0] == alone
    loads.go_on()


def test_the_master_is_cut_off_from_the_witness(pair: Twins, loads: Loads) -> None:
    """A protected master needs no lease."""
    master, backup = pair.protected()
    since = pair.log.tell()
    pair.cut_off(master, "witness")
    pair.wait_for("a silent witness", lambda: "selector_silent" in pair.said(since))
    loads.type(master, "without a witness")
    loads.go_on()
    assert pair.protected() == (master, backup)
    pair.heal()
    loads.go_on()


def test_the_witness_is_away_and_comes_back(pair: Twins, loads: Loads) -> None:
    before, since = pair.protected(), pair.log.tell()
    pair.kill("witness")
    pair.wait_for("a silent witness", lambda: "selector_silent" in pair.said(since))
    loads.go_on()
    assert pair.protected() == before
    pair.start("witness")
    loads.go_on()
    assert pair.protected() == before


def test_a_daemon_is_killed_and_started_again(pair: Twins, loads: Loads) -> None:
    master, _ = pair.protected()
    loads.type(master, "typed before it died")
    pair.kill_daemon(master)
    loads.go_on()
    pair.start(master)
    pair.protected()
    loads.go_on()


def test_keepalived_is_killed(pair: Twins, loads: Loads) -> None:
    master, _ = pair.protected()
    pair.kill_keepalived(master)
    loads.go_on()
    pair.protected()
    loads.go_on()


def test_the_backup_is_killed_and_brought_in_sync_again(pair: Twins, loads: Loads) -> None:
    """Outputs wait meanwhile, until the witness has granted the master to go on alone."""
    master, backup = pair.protected()
    pair.kill(backup)
    pair.wait_for("a sole master", pair.sole)
    loads.type(master, "alone")
    loads.go_on()
    pair.start(backup)
    assert pair.protected() == (master, backup)
    loads.go_on()


def test_an_operator_switches_over_and_back(pair: Twins, loads: Loads) -> None:
    first, second = pair.protected()
    for master, backup in ((first, second), (second, first)):
        loads.type(master, "there and back")
        pair.switch_over()
        loads.go_on()
        assert pair.protected() == (backup, master)


def test_both_are_restarted_one_after_the_other(pair: Twins, loads: Loads) -> None:
    """A rolling update."""
    for _ in range(2):
        _, backup = pair.protected()
        pair.stop(backup)
        loads.go_on()
        pair.start(backup)
        pair.protected()
        pair.switch_over()
        loads.go_on()


def test_takeovers_follow_each_other_and_leave_both_disks_equal(pair: Twins) -> None:
    with pair.loads() as loads:
        for number in range(4):
            master, backup = pair.protected()
            loads.type(master, f"{number}th")
            pair.kill(master)
            pair.becomes_master(backup)
            loads.go_on()
            pair.start(master)
            assert pair.protected() == (backup, master)
    pair.wait_for("equal disks", lambda: len(pair.media()) == 1)


@pytest.mark.timeout(900)
def test_many_takeovers_of_all_kinds(pair: Twins) -> None:
    with pair.loads() as loads:
        print(soak(pair, loads, COUNT, SEED))
