"""What goes wrong goes wrong the same way again, whatever it is and whatever the host does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gadgets.faults.catalogue import AnyFault, fault_from_plain
from gadgets.faults.faulty import Faulty
from gadgets.usb.device import BusEvent
from gadgets.usb.records import to_tagged
from tests.unit.gadgets.faults.sequences import ended, faults, faulty, run, runs
from tests.unit.gadgets.usb.test_determinism import Input, device, plain, sequences

Run = tuple[list[AnyFault], list[Input]]


@given(runs())
def test_the_same_seed_and_inputs_give_the_same_completions_and_events(given: Run) -> None:
    plan, steps = given
    first, second = faulty(plan), faulty(plan)
    assert repr(run(first, steps)) == repr(run(second, steps))
    assert plain(first.snapshot()) == plain(second.snapshot())


@given(runs(), st.data())
def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened(given: Run, data: st.DataObject) -> None:
    plan, steps = given
    at = data.draw(st.integers(0, len(steps)))
    original, restored = faulty(plan), faulty([])
    run(original, steps[:at])
    restored.restore(original.snapshot())
    assert plain(restored.snapshot()) == plain(original.snapshot())
    assert repr(run(restored, steps[at:])) == repr(run(original, steps[at:]))
    assert plain(restored.snapshot()) == plain(original.snapshot())


@given(runs())
def test_no_transfer_ends_twice_and_none_is_left_after_a_detach(given: Run) -> None:
    plan, steps = given
    subject = faulty(plan)
    numbers = ended([*(step(subject) for step in steps), subject.bus(BusEvent.DETACH)])
    assert len(numbers) == len(set(numbers))
    assert min(numbers, default=0) >= 0
    assert not any(subject.unlink(number) for number in range(len(steps) + 2))


@given(sequences())
def test_without_faults_nothing_is_otherwise(steps: list[Input]) -> None:
    bare, around = device(), Faulty(device())
    assert repr(run(around, steps)) == repr(run(bare, steps))
    assert around.snapshot()["device"] == bare.snapshot()


@given(faults())
def test_a_fault_can_be_written_as_plain_values_and_read_again(fault: AnyFault) -> None:
    again = fault_from_plain(to_tagged(fault))
    assert to_tagged(again) == to_tagged(fault)
    assert type(again) is type(fault)
