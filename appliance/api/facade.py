"""What the API needs of the appliance: one protocol, that `appliance.daemon` implements and the tests fake.

Everything crosses as JSON-able values. Shapes (a key is always there; `None` where there is nothing to say;
times are seconds since the epoch, durations seconds):

device   the inventory's `UsbDevice` as JSON, and
         share: {"export": name, "state": State, "rule": rule id} | None, why_not: str | None
export   name, kind: "device" | "gadget", state: State, mode: "relayed" | "direct", allow: [network],
         take_over: "never" | "same-host" | "anyone", idle_seconds: float | None,
         busid: str | None, rule: str | None, session: session id | None, description: str
rule     id, source: "config" | "share", and the keys of its TOML table
session  id, export, mode: "relayed" | "direct" | "gadget", client: "address:port", since: time,
         busid: str | None, stats: the worker's live counters (`appliance.sessions.telemetry`) | None
event    event: kind, time, and what it is about:
         "device.added", "device.changed", "device.removed": device: {"busid", "ids", "label", "identity"}
         "export.added": export, busid; "export.removed": busid; "export.failed": busid, message
         "session.started": session (its id), export, client; "session.ended": these and reason
         "import.refused": export (as asked for), client, message
         "gadget.running": gadget; "gadget.failed": gadget, message; "gadget.removed": gadget
         "group.takeover": group, and what a takeover has; of a group's node: group, epoch, detail:
         "group." and its new role; "group.stopped", "group.protected", "group.sole": what its outputs do;
         "group.healthy", "group.unhealthy" (detail: why); "group.not_in_sync": an order was refused;
         "group.selector_silent", "group.selector_answers", "group.selector_forgot"
audit    time, action, target, detail; newest last
gadget   name, source: "config" | "added" | "for now" (gone with the daemon), pid: int | None,
         problem: why it does not run | None, definition: as `gadgets.definition` writes it,
         portrait: `appliance.sessions.portrait` of it as it ran last | None;
         one alone also: session: the id of the one it has | None,
         companions: {function: [what its pty, port or script say of themselves]},
         faults: [as `gadgets.faults.Faulty` tells them],
         recording: {"inputs", "bytes", "ended": why | None} | None
told     event: "told", time, gadget, function ("": the device itself), kind, fields; or
         event: "lost", count: for so many the reader was too slow; the last may be event: "end", reason
ready    of the catalogue: name, definition
status   version, uptime, pid, listen: ["address:port"], helper: bool (reachable),
         counts: {"devices", "exports", "sessions", "rules"}, modules: {module name: loaded},
         groups: [group], empty while there is no sibling,
         guards: {"gate": bool, "keeper": bool} (whether they answer) | None where no [[group]] is configured
pair     node, name, listen: [address], port: of this appliance;
         sibling: {"node", "name", "host", "port"} | None,
         link: {"up": bool, "since": time | None, "problem": str | None, "software": version | None} | None,
         groups: [group]
group    name, role here: "out" | "backup" | "joining" | "standby" | "promoting" | "master" | "yielding",
         gate: "stop" | "wait" (for the sibling) | "flow", epoch, owner: node | None, owner_name: str | None,
         address, exports: [name], hub: busid | None, priority, in_sync: bool, protected: bool,
         healthy: bool, unfit: ["hub" | "errors" | "network"], silent_targets: [target],
         lease, selector: {"spec", "atomic": bool, "answers": bool,
         "lease": seconds (0: not heard yet) | None: it has none},
         takeovers: the latest 16 to here: takeover,
         counts: since the daemon's start, {"whole", "lossy": takeovers without and with a lost session,
         "kept", "lost": sessions, "steps": {step: {"count", "seconds": all together}}}
takeover what, epoch, at: time, steps_ms: {step: since its beginning}, kept: [export], lost: ["export: why"]
code     code, seconds: how long it holds; name, listen, port: where the other appliance finds this one
State    "available" | "in use" | "error" | "absent"

All methods may raise a TwinhubError; the API turns it into its HTTP status and `describe()`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from prometheus_client import Metric

Json = dict[str, Any]


class Collector(Protocol):
    """Fits `prometheus_client.CollectorRegistry.register`; `appliance.api.metrics.Metrics` is one."""

    async def refresh(self) -> None:
        """Take fresh figures; `collect` then tells these."""

    def collect(self) -> Iterable[Metric]: ...


class Appliance(Protocol):
    def devices(self) -> list[Json]:
        """Everything plugged in, hubs too, in the order of the tree."""
        ...

    def exports(self) -> list[Json]: ...

    def rules(self) -> list[Json]: ...

    async def share(self, words: Json) -> Json:
        """Adds and remembers a rule, given as its TOML table: {"rule", "exports": [those it matched now]}."""
        ...

    async def unshare(self, target: str) -> list[Json]:
        """Ends what a rule id, export name or busid shares; the rules this removed or added. NotFound."""
        ...

    def suggest(self, busid: str | None) -> str:
        """The rule, as TOML text, that pins a device; `None` is the one plugged in last."""
        ...

    async def sessions(self) -> list[Json]: ...

    async def kick(self, target: str, reason: str) -> list[Json]:
        """Ends the sessions of a session id, export name or busid, and returns them; NotFound if none."""
        ...

    def capture(self, target: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A pcapng file of a running session, from its header on, growing until the session ends."""
        ...

    async def local(self, export: str, input: Json, folder: str | None = None) -> Json:
        """A local input to a gadget, e.g. {"type_text": "hi", "layout": "us"}; its answer. Relative paths in
        it count from `folder`, by default from the definition's."""
        ...

    def gadgets(self) -> list[Json]: ...

    def catalogue(self) -> list[Json]:
        """The gadgets that are ready to be added by name."""
        ...

    async def gadget(self, name: str) -> Json:
        """One, and how it is doing. NotFound."""
        ...

    async def add_gadget(self, table: Json, keep: bool) -> list[Json]:
        """As `[[gadget]]` in the configuration; those it made, which run. `keep`: over a restart."""
        ...

    async def remove_gadget(self, name: str) -> None:
        """NotFound; UsageError for one of the configuration."""
        ...

    def record_gadget(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A recording (`gadgets.replay`) from now on, growing until `end_recording` or the gadget's end."""
        ...

    async def end_recording(self, name: str) -> None: ...

    def gadget_events(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[Json]]:
        """What it tells from now on."""
        ...

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Json]]:
        """What happens from now on. A reader too slow for its bounded queue is cut off."""
        ...

    def pair(self) -> Json: ...

    def pair_code(self) -> Json:
        """A code for the other appliance. Unavailable if none could come, Refused if there is a sibling."""
        ...

    async def pair_join(self, host: str, port: int, code: str) -> Json:
        """Pairs with the appliance there, which shows `code`; `port` 0: ours. As `pair`."""
        ...

    async def unpair(self) -> Json:
        """The sibling that is none any more. UsageError if there is none."""
        ...

    async def order(self, group: str, wish: str) -> Json:
        """The group when it is as wanted: "switchover", "fail_back", "maintenance", "resume" or "take"."""
        ...

    async def status(self) -> Json: ...

    def metrics(self) -> Collector: ...

    def audit(self, limit: int) -> list[Json]:
        """The last `limit` entries of the audit trail."""
        ...
