"""python -m tests.unit.pair.explore_soak FIRST LAST: long walks by these seeds; exit code 1: one broke."""

from __future__ import annotations

import sys

from tests.unit.pair.explore import walk
from tests.unit.pair.test_node_explored import verdict, world

if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    broken = 0
    for seed in range(first, last):
        for stale in (False, True):
            if wrong := verdict(walk(seed, 2500, world(stale), faults=0.02)[0]):
                broken += 1
                print(f"seed {seed}, serve_stale {stale}: {wrong}", flush=True)
    sys.exit(bool(broken))
