"""The appliance's state, and how it follows what is plugged in, what is to be shared and who uses it.

One task, `Hub.follow`, makes what is the case into what should be (binds, unbinds, mends), woken by whatever
changes. Everything else here only changes what should be, and wakes it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from appliance import __version__
from appliance.config import Config
from appliance.daemon.events import Events
from appliance.daemon.gadgets import HubGadgets
from appliance.daemon.groups import Carried, Groups
from appliance.errors import DeviceFailed, NotFound, TwinhubError
from appliance.exports.registry import Export, Exports
from appliance.exports.rules import Rule
from appliance.exports.store import Store
from appliance.exports.words import shared_rule
from appliance.inventory.descriptors import descriptors_of
from appliance.inventory.model import UsbDevice
from appliance.inventory.monitor import Added, Changed, Inventory, Removed
from appliance.kernel.client import Helper, until_free
from appliance.kernel.stub import DRIVER, StubStatus
from appliance.pair.pairing import Pair
from appliance.sessions.gadgets import Gadgets
from appliance.sessions.manager import Sessions
from appliance.sessions.shadow.plan import Found
from appliance.sessions.state import SessionSpec

log = logging.getLogger(__name__)

MEND_SECONDS: Final = 5.0
"""Until what failed is tried again."""


class Hub:
    def __init__(self, config: Config, helper: Helper, inventory: Inventory, store: Store) -> None:
        self.config = config
        self.helper = helper
        self.inventory = inventory
        self.store = store
        self.events = Events()
        self.sessions = Sessions(config.paths.runtime, helper, self._session_ended)
        self.exports = Exports(remembered=store.names())
        self.failures: dict[str, str] = {}
        """busid → why it could not be shared"""
        self.latest: str | None = None
        """busid of what was plugged in last"""
        self._bound_file = config.paths.runtime / "bound.json"
        self._bound = read_bound(self._bound_file)
        self._freed: set[str] = set()
        """busids whose session has ended and whose state is to be looked at"""
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._notes: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        processes = Gadgets(config.paths.runtime, self.sessions.nursery, self._gadget_changed)
        self.gadgets = HubGadgets(config, store, processes, self.exports, self.events)
        self.pair: Pair | None = None
        self.groups: Groups | None = None
        self.reload_rules()

    # What should be

    def reload_rules(self) -> None:
        made = (self._rule(id, table) for id, table in self.store.rules())
        self.exports.rules = (*filter(None, made), *self.config.rules)

    def _rule(self, id: str, table: dict[str, Any]) -> Rule | None:
        """None for one that a newer Twinhub, the sibling's perhaps, made and this one does not understand."""
        try:
            return shared_rule(id, table, self.config.sessions)
        except TwinhubError as error:
            log.error("rule %s is left out: %s", id, error)
            return None

    async def add_rule(self, table: dict[str, Any]) -> Rule:
        """Remembers a rule that was checked; `settle` makes it true."""
        id = await asyncio.to_thread(self.store.add_rule, table)
        self.reload_rules()
        return next(rule for rule in self.exports.rules if rule.id == id)

    async def forget_rule(self, id: str) -> None:
        await asyncio.to_thread(self.store.forget_rule, id)
        self.reload_rules()

    def group_of(self, export: Export) -> Carried | None:
        busid = export.device.busid if export.device else ""
        return self.groups.of(export.name, busid) if self.groups else None

    def ready(self, name: str) -> Found | None:
        """The device behind this export, if a session could begin on it now."""
        export = next((each for each in self.exports if each.name == name), None)
        device = export.device if export else None
        if not export or not device or device.usbip_status != StubStatus.AVAILABLE:
            return None
        try:
            descriptors = descriptors_of(device.syspath)
        except DeviceFailed:
            return None
        return Found(export.record().devid, device.busid, device.speed, descriptors, device.serial or "")

    def session_of(self, export: Export) -> SessionSpec | None:
        return next((spec for spec in self.sessions.all() if is_of(spec, export)), None)

    def sessions_of(self, target: str) -> list[SessionSpec]:
        """Those of a session id, an export's name or a busid. NotFound if there are none."""
        found = [spec for spec in self.sessions.all() if target in (spec.id, spec.name, spec.busid)]
        if not found:
            raise NotFound(f"no session {target!r}; 'twinhub sessions' prints those there are")
        return found

    def state_of(self, export: Export) -> str:
        """One of `appliance.api.facade`'s states."""
        device = export.device
        if self.session_of(export):
            return "in use"
        if device is None:
            return "error" if self.gadgets.error(export.name) else "available"
        if device.busid in self.failures or device.usbip_status == StubStatus.ERROR:
            return "error"
        return "in use" if device.usbip_status == StubStatus.USED else "available"

    async def _upgrade_sessions(self) -> None:
        """Adopted sessions go on in our own version, save those of gadgets; one that cannot, as it is."""
        for spec in self.sessions.all():
            if spec.kind == "gadget":
                continue
            try:
                if (before := self.sessions.version(spec.id)) != __version__:
                    await self.sessions.upgrade(spec.id)
                    log.info("session %s went on from Twinhub %s to %s", spec.id, before, __version__)
            except TwinhubError as error:
                log.warning("session %s keeps the code it runs: %s", spec.id, error)

    # Making it so

    async def follow(self) -> None:
        """Runs until cancelled; what cannot be done is told, remembered and tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_devices())
            tasks.create_task(self._write_notes())
            tasks.create_task(self._upgrade_sessions())
            while True:
                await self._see_what_was_freed()
                await self.settle()
                try:
                    async with asyncio.timeout(MEND_SECONDS if self.failures else None):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()

    async def settle(self) -> None:
        """What the rules say is the case when this returns, save for `failures`."""
        async with self._turn:
            devices = self.inventory.devices
            # What was unplugged stays: usbip-host takes it by itself when it is plugged in again.
            self._bound -= {busid for busid, device in devices.items() if device.driver != DRIVER}
            plan = self.exports.update(devices, self._bound)
            await asyncio.to_thread(self.store.remember_names, dict(plan.names))
            self.failures = {busid: why for busid, why in self.failures.items() if busid in plan.to_bind}
            for busid in plan.to_unbind:
                await self._attempt(busid, "give back", self._give_back)
            for busid in plan.to_bind:
                await self._attempt(busid, "share", self._take)
            if plan.to_unbind or plan.to_bind:
                await self.inventory.refresh()

    async def _see_what_was_freed(self) -> None:
        """Nobody tells when the stub has reset a device after its session."""
        freed, self._freed = self._freed, set()
        for busid in sorted(freed):
            await self._attempt(busid, "free", self._is_free)
        if freed:
            await self.inventory.refresh()

    async def _is_free(self, busid: str) -> None:
        await until_free(self.helper, busid)

    async def give_all_back(self) -> None:
        """The clean end: every device to its own driver."""
        async with self._turn:
            for busid in sorted(self._bound & self.inventory.devices.keys()):
                await self._attempt(busid, "give back", self._give_back)

    async def free_what_nobody_uses(self) -> None:
        """Frees devices that a dead worker's session still occupies. Sessions must have been adopted."""
        used = {spec.busid for spec in self.sessions.all()}
        for busid in sorted(self._bound - used):
            device = self.inventory.devices.get(busid)
            if device and device.usbip_status == StubStatus.USED:
                await self._attempt(busid, "free", self.helper.end)

    async def _take(self, busid: str) -> None:
        await self.helper.bind(busid)
        self._remember_bound(self._bound | {busid})
        export = self.exports.at(busid)
        self.events.tell("export.added", export=export.name if export else busid, busid=busid)
        log.info("sharing %s as %s", busid, export.name if export else "?")

    async def _give_back(self, busid: str) -> None:
        for spec in self.sessions.all():
            if spec.busid == busid:
                await self.sessions.kick(spec.id, "unshared")
        await self.helper.unbind(busid)
        self._remember_bound(self._bound - {busid})
        self.events.tell("export.removed", busid=busid)
        log.info("gave %s back to its own driver", busid)

    async def _attempt(self, busid: str, what: str, action: Callable[[str], Awaitable[None]]) -> None:
        try:
            await action(busid)
        except TwinhubError as error:
            if self.failures.get(busid) != str(error):
                log.error("cannot %s %s: %s", what, busid, error)
                self.events.tell("export.failed", busid=busid, message=str(error))
            self.failures[busid] = str(error)
        else:
            self.failures.pop(busid, None)

    def _remember_bound(self, busids: set[str]) -> None:
        self._bound = busids
        write_bound(self._bound_file, busids)

    def note(self, action: str, target: str, detail: str = "") -> None:
        """For the audit trail; written soon, by a task, since the disk is slow."""
        self._notes.put_nowait((action, target, detail))

    async def _write_notes(self) -> None:
        while True:
            await asyncio.to_thread(self.store.note, *await self._notes.get())

    def close(self) -> None:
        """Writes what is still to be noted."""
        while not self._notes.empty():
            self.store.note(*self._notes.get_nowait())

    async def _watch_devices(self) -> None:
        async for change in self.inventory.changes():
            match change:
                case Added(device):
                    self.latest = device.busid
                    self.events.tell("device.added", device=told(device))
                case Removed(device):
                    self.events.tell("device.removed", device=told(device))
                case Changed(device, _):
                    self.events.tell("device.changed", device=told(device))
            self._wake.set()

    def _gadget_changed(self, name: str) -> None:
        self.gadgets.changed(name)
        self._wake.set()

    def _session_ended(self, spec: SessionSpec, reason: str) -> None:
        log.info("session %s of %s with %s ended: %s", spec.id, spec.name, spec.peer, reason)
        self.events.tell("session.ended", session=spec.id, export=spec.name, client=spec.peer, reason=reason)
        self.note("detach", spec.name, f"{spec.peer}: {reason}")
        if spec.busid:
            self._freed.add(spec.busid)
        self._wake.set()


def is_of(spec: SessionSpec, export: Export) -> bool:
    """By the device for one that is plugged in: its export may have been renamed meanwhile."""
    return spec.busid == export.device.busid if export.device else spec.name == export.name


def told(device: UsbDevice) -> dict[str, Any]:
    return {"busid": device.busid, "ids": device.ids, "label": device.label, "identity": device.identity}


def read_bound(file: Path) -> set[str]:
    """Busids that an earlier daemon gave to usbip-host and did not give back."""
    try:
        return set(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return set()


def write_bound(file: Path, busids: set[str]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(sorted(busids)))
    fresh.replace(file)
