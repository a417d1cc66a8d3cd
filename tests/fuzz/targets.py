"""All targets by name, and the run of one of them."""

from __future__ import annotations

from tests.fuzz import (
    fuzz_definition,
    fuzz_faults,
    fuzz_gadgets,
    fuzz_hid,
    fuzz_kernel,
    fuzz_serial,
    fuzz_sessions,
    fuzz_storage,
    fuzz_usbip,
    fuzz_words,
)
from tests.fuzz.harness import Note, Result, Tally, Target, part, soak

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        fuzz_usbip,
        fuzz_sessions,
        fuzz_kernel,
        fuzz_gadgets,
        fuzz_definition,
        fuzz_faults,
        fuzz_hid,
        fuzz_serial,
        fuzz_storage,
        fuzz_words,
    )
    for target in module.TARGETS
}
STEPS = 10
"""How often a target tells how far it is."""


def progress(target: Target, count: int) -> Note:
    step = max(count // STEPS, 1)
    told = 0

    def tell(tally: Tally) -> None:
        nonlocal told
        if tally.inputs >= told + step:
            told = tally.inputs
            print(f"{target.name}: {tally.inputs:,} of {count:,}, {tally.crashes} crashes", flush=True)

    return tell


def one(name: str, count: int, seed: int, first: int) -> Result:
    """The target's part of `count` inputs, from number `first` on; tells on standard output how far it is."""
    target = TARGETS[name]
    count = part(target, count)
    return soak(target, count, seed, first, progress(target, count))
