"""Takeovers without end, mixed by a seed, under load: python -m tests.namespaces.soak --count 1000 --seed 1

Ends at the first thing that a client should not have seen, with what everybody said meanwhile.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.namespaces.twins import Loads, Twins, missing
from tests.namespaces.world import why_not


@contextmanager
def crash(twins: Twins, master: str, backup: str) -> Iterator[None]:
    twins.kill(master)
    twins.becomes_master(backup)
    yield
    twins.start(master)


@contextmanager
def pause(twins: Twins, master: str, backup: str) -> Iterator[None]:
    twins.freeze(master)
    twins.becomes_master(backup)
    yield
    twins.thaw(master)


@contextmanager
def planned(twins: Twins, master: str, backup: str) -> Iterator[None]:
    twins.switch_over()
    yield


KINDS: Final = {"crash": (crash, 1), "pause": (pause, 2), "planned": (planned, 2)}
"""What happens to a master, with what the `with` block's end undoes of it; how often."""


@dataclass(slots=True)
class Tally:
    """The longest pause that a client saw in each takeover, in seconds, by its kind."""

    gaps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __str__(self) -> str:
        lines = [line(kind, gaps) for kind, gaps in sorted(self.gaps.items())]
        total = sum(map(len, self.gaps.values()))
        return "\n".join(
            [*lines, f"{total} takeovers; every session went on, no byte lost, doubled or out of order"]
        )


def line(kind: str, gaps: list[float]) -> str:
    ordered = sorted(gaps)
    middle, late, last = (round(1000 * ordered[int(part * (len(ordered) - 1))]) for part in (0.5, 0.99, 1))
    return f"{kind:8} {len(gaps):4}   gap median {middle} ms, p99 {late} ms, longest {last} ms"


def soak(twins: Twins, loads: Loads, count: int, seed: int, tell: Callable[[str], None] = print) -> Tally:
    """So many takeovers; after each the pair is protected again, the other way round."""
    mix, tally = random.Random(seed), Tally()
    for number in range(1, count + 1):
        master, backup = twins.protected()
        [kind] = mix.choices(list(KINDS), [weight for _, weight in KINDS.values()])
        loads.type(master, f"{kind} {number}")
        loads.restart()
        with KINDS[kind][0](twins, master, backup):
            gap = loads.go_on()
        tally.gaps[kind].append(gap)
        tell(f"{number:4} {kind:8} {master} to {backup}: {1000 * gap:.0f} ms")
    twins.protected()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.namespaces.soak", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if reason := why_not() or missing():
        print(reason, file=sys.stderr)
        return 1
    with Twins() as twins:
        try:
            with twins.loads() as loads:
                print(soak(twins, loads, options.count, options.seed, lambda _: None))
            twins.wait_for("equal disks", lambda: len(twins.media()) == 1)
        except BaseException:
            print(twins.said()[-100_000:], file=sys.stderr)
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
