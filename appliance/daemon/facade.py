"""The appliance as the API sees it: the shapes `appliance.api.facade` promises, of the hub's state."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from appliance import __version__
from appliance.api.facade import Collector
from appliance.api.metrics import Metrics
from appliance.daemon.hub import Hub
from appliance.errors import NotFound, TwinhubError, Unavailable, UsageError
from appliance.explain import did_you_mean
from appliance.exports import sharing
from appliance.exports.registry import Export
from appliance.exports.rules import Rule
from appliance.exports.words import shared_rule
from appliance.inventory.model import UsbDevice
from appliance.kernel import modules
from appliance.kernel.client import NoHelper
from appliance.kernel.paths import Kernel
from appliance.pair.messages import Wish
from appliance.pair.pairing import DEAF, Pair
from appliance.sessions.state import SessionSpec

Json = dict[str, Any]

NOWHERE = "255-255"
"""A busid at which there is nothing: a helper that answers, says so."""


class Facade:
    """Implements `appliance.api.facade.Appliance`."""

    def __init__(self, hub: Hub, listening: list[str]) -> None:
        self._hub = hub
        self.listening = listening
        self._started = time.monotonic()
        self.figures = Metrics(self)

    # What there is

    def devices(self) -> list[Json]:
        return [self._device(device) for device in self._hub.inventory.devices.values()]

    def exports(self) -> list[Json]:
        return [self._export(export) for export in self._hub.exports]

    def rules(self) -> list[Json]:
        return [rule_told(rule) for rule in self._hub.exports.rules]

    def audit(self, limit: int) -> list[Json]:
        return [entry._asdict() for entry in self._hub.store.audit(limit)]

    async def sessions(self) -> list[Json]:
        return [await self._session(spec) for spec in self._hub.sessions.all()]

    async def status(self) -> Json:
        hub = self._hub
        kernel = Kernel()
        return {
            "version": __version__,
            "uptime": time.monotonic() - self._started,
            "pid": os.getpid(),
            "listen": self.listening,
            "counts": {
                "devices": len(hub.inventory.devices),
                "exports": len(list(hub.exports)),
                "sessions": len(hub.sessions.all()),
                "rules": len(hub.exports.rules),
            },
            "helper": await self._helper_answers(),
            "modules": {
                name: modules.state(kernel, name) in (modules.ModuleState.LOADED, modules.ModuleState.BUILTIN)
                for name in (*modules.EXPORTING, *modules.IMPORTING)
            },
            "groups": hub.groups.told() if hub.groups else [],
            "guards": hub.groups.guards() if hub.groups else None,
        }

    def metrics(self) -> Collector:
        return self.figures

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Json]]:
        return self._hub.events.listen()

    # What is to be

    async def share(self, words: Json) -> Json:
        hub = self._hub
        devices = hub.inventory.devices
        table = sharing.pinned(words, devices)
        sharing.matched(shared_rule("share-0", table, hub.config.sessions), devices)
        rule = await hub.add_rule(table)
        await hub.settle()
        hub.note("share", rule.id, str(table))
        return {
            "rule": rule_told(rule),
            "exports": [self._export(export) for export in hub.exports if export.rule == rule.id],
        }

    async def unshare(self, target: str) -> list[Json]:
        hub = self._hub
        change = sharing.unshare(target, hub.exports, hub.inventory.devices)
        gone = [rule for rule in hub.exports.rules if rule.id in change.forget]
        for rule in gone:
            await hub.forget_rule(rule.id)
        added = [await hub.add_rule(change.add)] if change.add else []
        await hub.settle()
        hub.note("unshare", target)
        return [rule_told(rule) for rule in (*gone, *added)]

    def suggest(self, busid: str | None) -> str:
        hub = self._hub
        wanted = busid or hub.latest
        if wanted is None:
            raise NotFound(
                "nothing was plugged in since the daemon started; name a busid ('twinhub devices')"
            )
        device = hub.inventory.devices.get(wanted)
        if device is None:
            raise NotFound(f"nothing is plugged in at {wanted}; 'twinhub devices' prints what is")
        export = hub.exports.at(wanted)
        return sharing.suggest(device, export.name if export else None)

    async def kick(self, target: str, reason: str) -> list[Json]:
        hub = self._hub
        kicked = []
        for spec in hub.sessions_of(target):
            kicked.append(session_told(spec, None))
            await hub.sessions.kick(spec.id, reason)
            self.figures.kicks["operator"] += 1
            hub.note("kick", spec.name, f"{spec.peer}: {reason}")
        return kicked

    def capture(self, target: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._hub.sessions.capture(self._hub.sessions_of(target)[0].id)

    async def local(self, export: str, input: Json, folder: str | None = None) -> Json:
        await self._hub.gadgets.processes.ask(export, "local", input=input, folder=folder)
        return {"gadget": export}

    # Software gadgets

    def gadgets(self) -> list[Json]:
        return self._hub.gadgets.told()

    def catalogue(self) -> list[Json]:
        from appliance.exports.definitions import catalogue_told  # see daemon/gadgets.py

        return catalogue_told()

    async def gadget(self, name: str) -> Json:
        told = self._hub.gadgets.tell(name)
        running = await self._hub.gadgets.processes.ask(name, "stats") if told["pid"] else {}
        return {"session": None, "companions": {}, "faults": [], "recording": None, **told, **running}

    async def add_gadget(self, table: Json, keep: bool) -> list[Json]:
        hub = self._hub
        names = await hub.gadgets.add(table, keep)
        await hub.settle()
        for name in names:
            hub.note("gadget add", name)
        return [hub.gadgets.tell(name) for name in names]

    async def remove_gadget(self, name: str) -> None:
        await self._hub.gadgets.remove(name)
        await self._hub.settle()
        self._hub.note("gadget remove", name)

    def gadget_events(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[Json]]:
        return self._hub.gadgets.processes.events(name)

    def record_gadget(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._hub.gadgets.processes.record(name)

    async def end_recording(self, name: str) -> None:
        await self._hub.gadgets.processes.ask(name, "record_end")

    # The pair

    def pair(self) -> Json:
        return self._pair.status()

    def pair_code(self) -> Json:
        told = self._pair.show_code()
        self._hub.note("pair code", told["name"])
        return told

    async def pair_join(self, host: str, port: int, code: str) -> Json:
        told = await self._pair.join(host, port or None, code)
        self._hub.note("pair", told["sibling"]["name"], f"{host}: {told['sibling']['node']}")
        return told

    async def unpair(self) -> Json:
        gone = await self._pair.unpair()
        self._hub.note("unpair", gone["name"], gone["node"])
        return gone

    async def order(self, group: str, wish: str) -> Json:
        groups = self._hub.groups
        if groups is None:
            raise UsageError("this appliance carries no group; [[group]] in its configuration makes one")
        wishes = {each.value: each for each in Wish}
        if wish not in wishes:
            raise UsageError(f"no order {wish!r}{did_you_mean(wish, wishes)}")
        carried = groups.find(group)
        self._hub.note(wish, group)
        return await carried.order(wishes[wish])

    @property
    def _pair(self) -> Pair:
        if self._hub.pair is None:
            raise Unavailable(DEAF)
        return self._hub.pair

    # Shapes

    def _device(self, device: UsbDevice) -> Json:
        export = self._hub.exports.at(device.busid)
        share = export and {
            "export": export.name,
            "state": self._hub.state_of(export),
            "rule": export.rule,
        }
        why_not = self._hub.failures.get(device.busid) or self._hub.exports.why_not(device)
        return {**device.to_json(), "share": share, "why_not": why_not}

    def _export(self, export: Export) -> Json:
        session = self._hub.session_of(export)
        return {
            "name": export.name,
            "kind": export.kind,
            "state": self._hub.state_of(export),
            "mode": export.options.mode,
            "allow": [str(network) for network in export.options.allow],
            "take_over": export.options.take_over,
            "idle_seconds": export.options.idle_seconds,
            "busid": export.device.busid if export.device else None,
            "rule": export.rule if export.device else None,
            "session": session.id if session else None,
            "description": export.device.label if export.device else self._hub.gadgets.describe(export.name),
        }

    async def _session(self, spec: SessionSpec) -> Json:
        try:
            stats = await self._hub.sessions.stats(spec.id) or None
        except TwinhubError:
            stats = None  # it ended while we asked; a direct session has none
        return session_told(spec, stats)

    async def _helper_answers(self) -> bool:
        if isinstance(self._hub.helper, NoHelper):
            return False
        try:
            await self._hub.helper.status(NOWHERE)
        except NotFound:
            return True
        except TwinhubError:
            return False
        return True


def rule_told(rule: Rule) -> Json:
    return {"id": rule.id, "source": rule.source, **rule.table}


def session_told(spec: SessionSpec, stats: Json | None) -> Json:
    return {
        "id": spec.id,
        "export": spec.name,
        "mode": spec.kind,
        "client": spec.peer,
        "since": spec.started,
        "busid": spec.busid or None,
        "stats": stats,
    }
