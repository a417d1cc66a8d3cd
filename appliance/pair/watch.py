"""Looks after one group's health, in the daemon: asks what there is to ask, and tells what became of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Container, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.errors import NotPermitted
from appliance.pair.health import Cause, ErrorRate, Health, Rule, Sibling, Targets, is_on_network, rules
from appliance.pair.probes import Prober
from appliance.pair.settings import GroupTable, Target

log = logging.getLogger(__name__)

COUNTED: Final = 1.0
"""Seconds from one count of errors to the next."""


@dataclass(frozen=True, slots=True)
class Use:
    """A device in a session."""

    device: str
    session: str


class Facts(Protocol):
    """What the daemon knows of the group."""

    def is_owner(self) -> bool:
        """Whether the selector says that the group is ours."""
        ...

    def devices(self) -> Container[str | None]:
        """The busids on our bus."""
        ...

    def sibling(self) -> Sibling:
        """What the other appliance last said of its targets."""
        ...

    async def failed(self) -> Mapping[Use, int]:
        """The URBs of the group's devices that failed, of each session that there is since its start."""
        ...


class Watch:
    """`changed` is called after every look that changed `health.causes`."""

    def __init__(self, group: GroupTable, facts: Facts, changed: Callable[[], None]) -> None:
        self.health = Health(rules(group))
        self.targets = Targets([str(target) for target in group.targets], Rule(group.lost, group.back, 0))
        self.hears_any = True
        """What the other appliance is told of our targets."""
        self._group = group
        self._facts = facts
        self._changed = changed
        self._errors = ErrorRate()
        self._had_hub = False

    async def run(self) -> None:
        """A look every so often, until it is cancelled."""
        async with asyncio.TaskGroup() as looking:
            looking.create_task(self._look_around())
            if self._group.errors:
                looking.create_task(self._count_errors())

    async def _count_errors(self) -> None:
        before: Mapping[Use, int] = {}
        while True:
            totals = await self._facts.failed()
            now = asyncio.get_running_loop().time()
            for use, total in totals.items():
                self._errors.count(use.device, max(0, total - before.get(use, 0)), now)
            before = totals
            await asyncio.sleep(COUNTED)

    async def _look_around(self) -> None:
        async for answers in self._rounds():
            now = asyncio.get_running_loop().time()
            self.targets.heard({str(target): answered for target, answered in answers.items()}, now)
            self.hears_any = any(answers.values()) or not answers
            self._look(Cause.NETWORK, is_on_network(answers.values(), self._facts.sibling()))
            self._look_at_bus()

    def _look_at_bus(self) -> None:
        group, now = self._group, asyncio.get_running_loop().time()
        is_ours = self._facts.is_owner()
        has_hub = group.hub in self._facts.devices()
        # One that is still on its way to us is not lost.
        self._had_hub = is_ours and (has_hub or self._had_hub)
        self._look(Cause.HUB, has_hub or not self._had_hub)
        self._look(Cause.ERRORS, not is_ours or not group.errors or self._errors.worst(now) < group.errors)

    async def _rounds(self) -> AsyncIterator[dict[Target, bool]]:
        """Of probes; where none may be sent, of none."""
        prober = Prober(self._group.targets, self._group.interface, self._group.every)
        try:
            async for answers in prober.rounds():
                yield answers
        except NotPermitted as error:
            log.warning("group %s: its network is not judged: %s", self._group.name, error)
        async for answers in Prober((), self._group.interface, self._group.every).rounds():
            yield answers

    def _look(self, cause: Cause, is_good: bool) -> None:
        before = self.health.causes
        self.health.look(cause, is_good, asyncio.get_running_loop().time())
        if self.health.causes != before:
            self._changed()
