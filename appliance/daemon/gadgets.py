"""The software gadgets of this daemon: those of the configuration, and those that were added while it ran."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from appliance.config import Config
from appliance.daemon.events import Events
from appliance.errors import DeviceFailed, TwinhubError, Unavailable, UsageError
from appliance.explain import BadKey
from appliance.exports.gadgets import GadgetTable, parse_gadget
from appliance.exports.registry import Exports
from appliance.exports.rules import ExportOptions
from appliance.exports.store import Store
from appliance.sessions.gadgets import Gadgets
from appliance.sessions.portrait import record_of
from appliance.usbip.wire import DeviceRecord

log = logging.getLogger(__name__)

Json = dict[str, Any]
Source = Literal["config", "added", "for now"]
MOST: Final = 1024


@dataclass(frozen=True)
class Defined:
    """One gadget that there shall be. `source` "for now": it is not remembered."""

    name: str
    number: int
    definition: Json
    options: ExportOptions
    source: Source

    def is_of(self, definition: Json, options: ExportOptions) -> bool:
        return (self.definition, self.options) == (definition, options)


class HubGadgets:
    """What is defined, which of it runs (`processes`), and as what it is exported."""

    def __init__(
        self, config: Config, store: Store, processes: Gadgets, exports: Exports, events: Events
    ) -> None:
        self.processes = processes
        self._defaults, self._store, self._exports, self._events = config.sessions, store, exports, events
        self._defined: dict[str, Defined] = {}
        self._turn = asyncio.Lock()
        for table in config.gadgets:
            self._define(table, plain_of(table), "config")
        for name, plain in store.gadgets().items():
            self._define_again(name, plain)

    def _define_again(self, name: str, plain: Json) -> None:
        """A newer Twinhub, or a newer configuration, may not know what to do with it any more."""
        try:
            table = self.parse(plain)
            self._define(table, plain_of(table), "added")
        except TwinhubError as error:
            log.error("gadget %s, which was added, is left out: %s", name, error)

    def parse(self, plain: Mapping[str, Any]) -> GadgetTable:
        """UsageError names the key."""
        try:
            return parse_gadget(plain, self._defaults)
        except BadKey as error:
            raise UsageError(f"gadget: {error}") from None

    async def begin(self) -> None:
        """Takes up what an earlier daemon left, and starts the rest; what does not start is tried again."""
        wanted = {each.name: each.definition for each in self._defined.values()}
        await self.processes.adopt(wanted)
        await asyncio.gather(*(self.processes.add(name, wanted[name]) for name in wanted))

    async def add(self, plain: Mapping[str, Any], keep: bool) -> list[str]:
        """The names of the gadgets of this table, which run now. `keep`: remember them over a restart."""
        async with self._turn:
            return await self._add(plain, keep)

    async def _add(self, plain: Mapping[str, Any], keep: bool) -> list[str]:
        table = self.parse(plain)
        definition = await asyncio.to_thread(plain_of, table)
        made = self._define(table, definition, "added" if keep else "for now")
        try:
            for each in made:
                kept = await self.processes.add(each.name, each.definition)
                if kept.error:
                    raise kept.error
        except BaseException:
            for each in made:
                await self._forget(each.name, "it could not be started")
            raise
        if keep:
            rest = {key: value for key, value in plain.items() if key not in ("name", "count")}
            for each in made:
                row = {**rest, "definition": each.definition, "name": each.name}
                await asyncio.to_thread(self._store.add_gadget, each.name, row)
        return [each.name for each in made]

    async def remove(self, name: str) -> None:
        """NotFound. UsageError for one of the configuration, which would come back."""
        if self.find(name).source == "config":
            raise UsageError(
                f"gadget {name} is in the configuration; take it out there, and restart the daemon"
            )
        async with self._turn:
            await asyncio.to_thread(self._store.forget_gadget, name)
            await self._forget(name, "the gadget was removed")
        self._events.tell("gadget.removed", gadget=name)

    async def learn(self) -> None:
        """What was added and removed on the other appliance of the pair is so here too."""
        async with self._turn:
            stored = await asyncio.to_thread(self._store.gadgets)
            for each in [each for each in self._defined.values() if each.source == "added"]:
                if not self._is_still(each, stored.get(each.name)):
                    await self._forget(each.name, "the gadget was changed on the other appliance")
                    self._events.tell("gadget.removed", gadget=each.name)
            for name in stored.keys() - self._defined.keys():
                self._define_again(name, stored[name])
                if name in self._defined:
                    await self.processes.add(name, self._defined[name].definition)

    def _is_still(self, defined: Defined, plain: Json | None) -> bool:
        try:
            return plain is not None and defined.is_of(plain["definition"], self.parse(plain).options)
        except (KeyError, TwinhubError):
            return False

    def find(self, name: str) -> Defined:
        self.processes.find(name)
        return self._defined[name]

    def error(self, name: str) -> TwinhubError | None:
        """Why it cannot be used now."""
        kept = self.processes.find(name)
        if kept.link is None:
            return kept.error or DeviceFailed(f"gadget {name} is just being started")
        return None if kept.link.plugged else Unavailable(f"gadget {name} was unplugged by a fault")

    def describe(self, name: str) -> str:
        """For a list of exports."""
        portrait = self.processes.find(name).portrait
        return str(portrait.get("product") or "a gadget that has not run yet")

    def changed(self, name: str) -> None:
        """`processes` saw it begin or end."""
        error = self.error(name)
        if error:
            self._events.tell("gadget.failed", gadget=name, message=str(error))
        else:
            self._events.tell("gadget.running", gadget=name)

    def told(self) -> list[Json]:
        """For the API (`appliance.api.facade`)."""
        return [self.tell(name) for name in self._defined]

    def tell(self, name: str) -> Json:
        defined, kept = self.find(name), self.processes.find(name)
        error = self.error(name)
        return {
            "name": name,
            "source": defined.source,
            "problem": str(error) if error else None,
            "pid": kept.link.pid if kept.link else None,
            "definition": defined.definition,
            "portrait": kept.portrait or None,
        }

    def _define(self, table: GadgetTable, definition: Json, source: Source) -> list[Defined]:
        taken = next((name for name in table.names if name in self._defined), None)
        if taken:
            raise UsageError(f"there is a gadget {taken!r} already; give this one another name")
        if len(self._defined) + len(table.names) > MOST:
            raise UsageError(f"there can be {MOST} gadgets; remove some")
        made = [self._number(name, definition, table.options, source) for name in table.names]
        for each in made:
            self._exports.add_gadget(each.name, partial(self._record, each), each.options)
        return made

    def _number(self, name: str, plain: Json, options: ExportOptions, source: Source) -> Defined:
        used = {each.number for each in self._defined.values()}
        number = next(n for n in count(1) if n not in used)
        made = self._defined[name] = Defined(name, number, plain, options, source)
        return made

    def _record(self, defined: Defined) -> DeviceRecord:
        kept = self.processes.find(defined.name)
        if not kept.portrait:
            raise DeviceFailed(f"gadget {defined.name} has not run yet: {kept.error}")
        return record_of(kept.portrait, defined.name, defined.number)

    async def _forget(self, name: str, reason: str) -> None:
        self._exports.remove_gadget(name)
        del self._defined[name]
        if name in self.processes:
            await self.processes.remove(name, reason)


def plain_of(table: GadgetTable) -> Json:
    """Its definition, as JSON carries it. Raises a TwinhubError for one that makes no sense."""
    from appliance.exports.definitions import plain, resolve  # all that gadgets are; many daemons have none

    return plain(resolve(table.definition))
