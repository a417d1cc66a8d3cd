"""A copy to and from a disk that compares every byte, and goes on until something is wrong."""

from __future__ import annotations

from tests.lab.machine import Machine
from tests.lab.process import Process

SCRIPT = """
head -c 256K /dev/urandom > /tmp/{name}
while dd if=/tmp/{name} of={node} bs=64k oflag=direct conv=nocreat status=none &&
      dd if={node} bs=64k count=4 iflag=direct status=none | cmp - /tmp/{name}
do echo verified; sleep {pause}; done
echo failed
"""


def start_copy(machine: Machine, name: str, node: str, pause: float = 0) -> Process:
    """Has verified its first round when this returns. `pause`: seconds between rounds, for others to work."""
    copy = machine.start(f"copy on {name}", SCRIPT.format(name=name, node=node, pause=pause))
    copy.wait_for_output("verified")
    return copy


def goes_on(*copies: Process) -> None:
    """Each verifies two more rounds: the second has begun after this was called."""
    wanted = {copy: copy.output.count("verified") + 2 for copy in copies}
    for copy, rounds in wanted.items():

        def is_there(copy: Process = copy, rounds: int = rounds) -> bool:
            return copy.output.count("verified") >= rounds or "failed" in copy.output

        copy.machine.wait(is_there, 60, f"{copy.name} to go on")
        assert "failed" not in copy.output, copy.output


def has_failed(*copies: Process) -> None:
    for copy in copies:
        copy.wait_for_output("failed")
