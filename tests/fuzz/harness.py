"""What runs a target: one seed for each input, a count of what came of it, an eye on memory and time.

Input number n of seed s is the same whatever ran before it, so a crash is had again by its number alone.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from appliance.errors import TwinhubError

GROWTH = 32 << 20
"""Bytes by which the process may grow from a target's first inputs to its last."""
LONGEST = 10
"""Seconds of processor time that one input may take."""
WARM_UP = 1000
"""Inputs after which everything is loaded and every cache is full."""


@dataclass(slots=True)
class Tally:
    inputs: int = 0
    rejected: int = 0
    crashes: int = 0


Note = Callable[[Tally], None]
"""Told now and then how far a target is."""
Run = Callable[[int, range, Note], Tally]
"""Runs a target: the seed, the numbers of the inputs, whom to tell."""


@dataclass(frozen=True)
class Target:
    """`share`: it gets one of so many inputs, because each takes long."""

    name: str
    run: Run
    share: int = 1


@dataclass(frozen=True)
class Result:
    """`growth`: bytes of memory at the highest, above those after the first inputs."""

    target: str
    tally: Tally
    seconds: float
    growth: int

    @property
    def fine(self) -> bool:
        return not self.tally.crashes and self.growth < GROWTH


def parser(
    name: str,
    invent: Callable[[Random], Any],
    judge: Callable[[Random, Any], object],
    rejects: tuple[type[Exception], ...] = (TwinhubError,),
    share: int = 1,
) -> Target:
    """`judge` takes an input that `invent` made, or rejects it with one of `rejects`; all else is a crash."""

    def run(seed: int, numbers: range, note: Note) -> Tally:
        random, tally = Random(), Tally()
        with impatience():
            for number in numbers:
                random.seed(seed << 64 | number)
                given = invent(random)
                tally.inputs += 1
                signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
                try:
                    judge(random, given)
                except rejects:
                    tally.rejected += 1
                except Exception as error:
                    tally.crashes += 1
                    again = f"python -m tests.fuzz --target {name} --seed {seed} --first {number} --count 1"
                    print(f"{name}: {error!r}\n  input {given!r}\n  {again}", file=sys.stderr)
                if not tally.inputs % 1000:
                    note(tally)
        return tally

    return Target(name, run, share)


class Hang(Exception):
    pass


@contextmanager
def impatience() -> Iterator[None]:
    """The virtual timer, which counts this process's own time only, raises Hang."""

    def expired(*_: object) -> None:
        raise Hang(f"after {LONGEST} s of processor time")

    before = signal.signal(signal.SIGVTALRM, expired)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def part(target: Target, count: int) -> int:
    """Of `count` inputs for each target, those of this one."""
    return max(count // target.share, 1)


def soak(target: Target, count: int, seed: int, first: int = 0, note: Note = lambda _: None) -> Result:
    """`count` inputs from number `first` on."""
    target.run(seed, range(first, first + min(count, WARM_UP)), lambda _: None)
    gc.collect()
    began, before = time.monotonic(), memory()
    highest = before

    def watch(tally: Tally) -> None:
        nonlocal highest
        highest = max(highest, memory())
        note(tally)

    tally = target.run(seed, range(first, first + count), watch)
    watch(tally)
    return Result(target.name, tally, time.monotonic() - began, highest - before)


def memory() -> int:
    """Bytes of this process that are in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
