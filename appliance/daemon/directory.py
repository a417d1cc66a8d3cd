"""What USB/IP clients see of the hub, and what an import sets off: policy, take-over, the session's start."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from appliance.daemon.groups import Carried
from appliance.daemon.hub import Hub
from appliance.errors import Busy, DeviceFailed, TwinhubError, Unavailable
from appliance.exports import policy
from appliance.exports.registry import Export
from appliance.inventory.descriptors import descriptors_of
from appliance.kernel.client import until_free
from appliance.sessions.state import SessionSpec
from appliance.usbip.server import Address
from appliance.usbip.wire import DeviceRecord

log = logging.getLogger(__name__)


class HubDirectory:
    """The `Directory` of `appliance.usbip.server`. `refusals` counts by the error's name."""

    def __init__(self, hub: Hub, refusals: Counter[str]) -> None:
        self._hub = hub
        self._refusals = refusals
        self._opening: set[str] = set()
        """Names of exports between a client's request and its session."""

    def admit(self, peer: Address) -> bool:
        welcome = policy.may_connect(peer, self._hub.config.listen.allow)
        if not welcome:
            self._refusals["NotAdmitted"] += 1
        return welcome

    def list(self, peer: Address) -> Sequence[DeviceRecord]:
        """Like usbipd's, this leaves out what is in use."""
        return [
            export.record()
            for export in self._hub.exports
            if policy.may_use(peer, export)
            and self._hub.state_of(export) == "available"
            and not self._elsewhere(export)
            and export.name not in self._opening
        ]

    async def open(self, name: str, peer: Address) -> HubGrant:
        try:
            return await self._open(name, peer)
        except TwinhubError as error:
            self._refusals[type(error).__name__] += 1
            self._hub.events.tell("import.refused", export=name, client=str(peer), message=str(error))
            raise

    async def _open(self, name: str, peer: Address) -> HubGrant:
        hub = self._hub
        export = hub.exports.find(name)
        policy.require_use(peer, export)
        if carried := self._elsewhere(export):
            raise Unavailable(
                f"{export.name} is on the other appliance at the moment; attach it at"
                f" {carried.table.address.ip}, which is where it always is"
            )
        if export.name in self._opening:
            raise Busy(f"{export.name} is just being given to another client")
        self._opening.add(export.name)
        try:
            await self._make_free(export, peer)
            if len(hub.sessions.all()) + len(self._opening) > hub.config.limits.sessions:
                raise Unavailable("as many devices are in use as [limits] sessions allows")
            return HubGrant(hub, export, export.record(name), self._opening)
        except BaseException:
            self._opening.discard(export.name)
            raise

    def _elsewhere(self, export: Export) -> Carried | None:
        """Its group, if that is the sibling's now."""
        carried = self._hub.group_of(export)
        return carried if carried and not carried.leads else None

    async def _make_free(self, export: Export, peer: Address) -> None:
        """Ends the session that holds it, if `peer` may take it; Busy if not."""
        hub = self._hub
        if holder := hub.session_of(export):
            policy.require_take_over(peer, address_of(holder), export)
            await hub.sessions.kick(holder.id, f"taken over by {peer}")
        if export.device is None:
            if error := hub.gadgets.error(export.name):
                raise error
            return
        busid = export.device.busid
        if why := hub.failures.get(busid):
            raise DeviceFailed(why)
        await until_free(hub.helper, busid)


class HubGrant:
    """The `Grant` of `appliance.usbip.server`: an export set apart for one client."""

    def __init__(self, hub: Hub, export: Export, record: DeviceRecord, opening: set[str]) -> None:
        self.record = record
        self._hub = hub
        self._export = export
        self._opening = opening

    def cancel(self) -> None:
        self._opening.discard(self._export.name)

    async def start(self, sock: socket.socket) -> None:
        hub, export = self._hub, self._export
        try:
            spec = spec_of(export, self.record, sock)
            carried = hub.group_of(export)
            guard = await carried.gateway.guard(sock) if carried else None
            if carried and spec.busid:
                spec = protectable(spec, guard, carried.table.address.ip)
            await hub.sessions.start(spec, sock, guard)
            if carried:
                carried.exports.began(spec)
        finally:
            self.cancel()
        log.info("session %s: %s (%s) with %s", spec.id, spec.name, spec.kind, spec.peer)
        hub.events.tell(
            "session.started", session=spec.id, export=spec.name, client=spec.peer, mode=spec.kind
        )
        hub.note("attach", spec.name, f"{spec.peer}, {spec.kind}")


def protectable(spec: SessionSpec, guard: object, address: Address) -> SessionSpec:
    """With a device of a group, by its address: nothing else can go on at the sibling. Unavailable."""
    if not guard:
        raise Unavailable(f"{spec.name} moves between two appliances; attach it at {address}")
    return replace(spec, kind="relayed")


def spec_of(export: Export, record: DeviceRecord, sock: socket.socket) -> SessionSpec:
    """The session that begins on `sock`, a client's connected TCP socket."""
    host, port = sock.getpeername()[:2]
    device = export.device
    common = SessionSpec(
        id=secrets.token_hex(4),
        name=export.name,
        kind="gadget",
        peer=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        started=time.time(),
        devid=record.devid,
        speed=record.speed,
        idle_seconds=export.options.idle_seconds,
    )
    if device is None:
        return replace(common, gadget=export.name)
    return replace(
        common,
        kind=export.options.mode,
        busid=device.busid,
        configuration=device.configuration_value,
        descriptors=descriptors_of(device.syspath),
        serial=device.serial or "",
    )


def address_of(spec: SessionSpec) -> Address:
    address = ip_address(spec.peer.rpartition(":")[0].strip("[]"))
    return getattr(address, "ipv4_mapped", None) or address
