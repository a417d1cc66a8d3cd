"""A small appliance: a hub with a dongle and a disk behind it, and a software keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from appliance.api.facade import Json
from appliance.api.metrics import Metrics
from appliance.errors import NotFound, Refused, TwinhubError, UsageError
from appliance.inventory.model import HUB_CLASS, UsbDevice
from gadgets.usb.urb import Speed

ROOT = UsbDevice(
    "usb1", 1, 1, Speed.HIGH, 0x1D6B, 0x0002, device_class=HUB_CLASS, product="xHCI Host Controller", ports=4
)
HUB = UsbDevice(
    "1-1", 1, 2, Speed.FULL, 0x0409, 0x55AA, device_class=HUB_CLASS, product="QEMU USB Hub",
    parent_busid="usb1", port=1, ports=8, driver="hub",
)  # fmt: skip
DONGLE = UsbDevice(
    "1-1.1", 1, 3, Speed.FULL, 0x0529, 0x0001, manufacturer="Aladdin", product="HASP HL 3.25",
    serial="A7B3", parent_busid="1-1", port=1, identity="0529:0001:A7B3",
)  # fmt: skip
DISK = UsbDevice(
    "1-1.2", 1, 4, Speed.HIGH, 0x46F4, 0x0001, manufacturer="QEMU", product="QEMU USB HARDDRIVE",
    serial="1-0000:00:04.0-1", parent_busid="1-1", port=2, driver="usb",
    identity="46f4:0001:1-0000:00:04.0-1",
)  # fmt: skip

STATS = {
    "urbs": 6, "bytes_in": 2048, "bytes_out": 96, "errors": 1, "unlinked": 2, "refused": 0, "in_flight": 1,
    "endpoints": {
        "0x00": {
            "urbs": 2, "bytes": 96, "errors": 1, "unlinked": 0, "refused": 0, "in_flight": 0,
            "latency_us": {"p50": 120.0, "p90": 250.0, "p99": 250.0},
        },
        "0x81": {
            "urbs": 4, "bytes": 2048, "errors": 0, "unlinked": 2, "refused": 0, "in_flight": 1,
            "latency_us": {"p50": None, "p90": None, "p99": None},
        },
    },
}  # fmt: skip
"""As `appliance.sessions.telemetry.Telemetry.report` tells it."""


TEXT = {"name": "text", "wanted": "a text", "optional": False}
GADGET: Json = {
    "name": "keyboard", "source": "added", "problem": None, "pid": 4712,
    "definition": {"functions": [{"kind": "keyboard"}]},
    "portrait": {
        "speed": "full", "vendor_id": 0x1209, "product_id": 1, "manufacturer": "Twinhub",
        "product": "Twinhub Keyboard", "serial": "",
        "descriptors": {"device": "1201", "configurations": ["0902"]},
        "functions": [{"label": "keys", "kind": "Keyboard"}],
        "inputs": [
            {"name": "type_text", "functions": ["keys"], "help": "", "fields": [
                TEXT, {"name": "layout", "wanted": "a text", "optional": True},
            ]},
            {"name": "press", "functions": ["keys"], "help": "", "fields": [
                {"name": "keys", "wanted": "a list of: a text", "optional": False},
            ]},
            {"name": "move", "functions": [], "help": "", "fields": [
                {"name": "dx", "wanted": "a whole number", "optional": False},
                {"name": "speed", "wanted": "a number", "optional": True},
            ]},
            {"name": "replug", "functions": [], "help": "", "fields": []},
        ],
    },
}  # fmt: skip


PAIR: Json = {
    "node": "a1b2c3d4e5f6", "name": "attic", "listen": ["192.168.7.2"], "port": 3242,
    "sibling": {"node": "0f1e2d3c4b5a", "name": "cellar", "host": "192.168.7.3", "port": 3242},
    "link": {"up": True, "since": 0.0, "problem": None, "software": "0.1.0"},
    "groups": [
        {
            "name": "bench", "role": "master", "gate": "wait", "epoch": 7, "owner": "a1b2c3d4e5f6",
            "owner_name": "attic", "address": "192.168.7.100/24", "exports": ["disk", "keyboard"],
            "hub": None, "priority": 150, "in_sync": True, "protected": True, "healthy": True, "unfit": [],
            "silent_targets": [], "lease": 2.0,
            "selector": {"spec": "witness:192.168.7.9", "atomic": True, "answers": True, "lease": 5.0},
            "takeovers": [{
                "what": "takeover", "epoch": 6, "at": 3540.0,
                "steps_ms": {"executed": 6.2, "answering": 41.7},
                "kept": ["disk"], "lost": ["keyboard: the client is gone"],
            }],
            "counts": {
                "whole": 2, "lossy": 1, "kept": 3, "lost": 1,
                "steps": {"answering": {"count": 3, "seconds": 0.2}},
            },
        },
        {
            "name": "keys", "role": "backup", "gate": "stop", "epoch": 3, "owner": "0f1e2d3c4b5a",
            "owner_name": "cellar", "address": "192.168.7.101/24", "exports": ["keys"],
            "hub": None, "priority": 100, "in_sync": False, "protected": False, "healthy": False,
            "unfit": ["network"], "silent_targets": ["192.168.7.1"], "lease": 2.0,
            "selector": {"spec": "witness:192.168.7.9", "atomic": True, "answers": False, "lease": 0.0},
            "takeovers": [], "counts": {"whole": 0, "lossy": 0, "kept": 0, "lost": 0, "steps": {}},
        },
    ],
}  # fmt: skip


class FakeAppliance:
    """Tells what it is given, and remembers what it was asked to do in `asked`."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.happening: asyncio.Queue[Json | TwinhubError | None] = asyncio.Queue()
        self.captured: asyncio.Queue[bytes | TwinhubError | None] = asyncio.Queue()
        self.collector = Metrics(self)
        self.paired = PAIR
        self.entered = 0
        self.left = asyncio.Event()

    def devices(self) -> list[Json]:
        shared = {"export": "hasp", "state": "in use", "rule": "share-1"}
        hub = "a hub cannot be shared; share what is plugged into it"
        return [
            ROOT.to_json() | {"share": None, "why_not": hub},
            HUB.to_json() | {"share": None, "why_not": hub},
            DONGLE.to_json() | {"share": shared, "why_not": None},
            DISK.to_json() | {"share": None, "why_not": None},
        ]

    def exports(self) -> list[Json]:
        shared = {"mode": "relayed", "allow": [], "take_over": "never", "idle_seconds": 0.0}
        return [
            shared
            | {"name": "hasp", "kind": "device", "state": "in use", "busid": "1-1.1", "rule": "share-1"}
            | {"session": "s-1", "description": "Aladdin HASP HL 3.25"},
            shared
            | {"name": "keyboard", "kind": "gadget", "state": "available", "busid": None, "rule": None}
            | {"session": None, "description": "Twinhub keyboard"},
        ]

    def rules(self) -> list[Json]:
        return [
            {"id": "share-1", "source": "share", "serial": "A7B3", "name": "hasp"},
            {"id": "config-1", "source": "config", "hub": "2-1", "allow": ["10.0.0.0/8"]},
        ]

    async def share(self, words: Json) -> Json:
        self.asked.append(("share", words))
        if "colour" in words:
            raise UsageError("unknown key 'colour'")
        return {"rule": {"id": "share-2", "source": "share", **words}, "exports": self.exports()[:1]}

    async def unshare(self, target: str) -> list[Json]:
        self.asked.append(("unshare", target))
        if target == "nothing":
            raise NotFound("nothing is shared as 'nothing'; `twinhub rules` lists what there is")
        return self.rules()[:1]

    def suggest(self, busid: str | None) -> str:
        self.asked.append(("suggest", busid))
        return '[[share]]\nserial = "A7B3"\n'

    async def sessions(self) -> list[Json]:
        return [
            {"id": "s-1", "export": "hasp", "mode": "relayed", "client": "10.0.0.7:51234", "since": 0.0}
            | {"busid": "1-1.1", "stats": STATS},
            {"id": "s-2", "export": "disk", "mode": "direct", "client": "[fe80::7]:1024", "since": 60.0}
            | {"busid": "1-1.2", "stats": None},
        ]

    async def kick(self, target: str, reason: str) -> list[Json]:
        self.asked.append(("kick", target, reason))
        if target == "guarded":
            raise Refused("rule config-1 forbids it")
        return (await self.sessions())[:1]

    @asynccontextmanager
    async def capture(self, target: str) -> AsyncIterator[AsyncIterator[bytes]]:
        if target != "s-1":
            raise NotFound(f"there is no session '{target}'")
        self.entered += 1
        try:
            yield drained(self.captured)
        finally:
            self.entered -= 1
            self.left.set()

    async def local(self, export: str, input: Json, folder: str | None = None) -> Json:
        self.asked.append(("local", export, input, *([folder] if folder else [])))
        return {"typed": len(input.get("type_text", ""))}

    def gadgets(self) -> list[Json]:
        stopped = {"name": "disk", "source": "config", "problem": "disk.img is not there", "pid": None}
        return [
            GADGET,
            {**stopped, "definition": {"functions": [{"kind": "disk"}]}, "portrait": None},
        ]

    def catalogue(self) -> list[Json]:
        return [{"name": "keyboard", "definition": GADGET["definition"]}]

    async def gadget(self, name: str) -> Json:
        if name != "keyboard":
            raise NotFound(f"no gadget {name!r}")
        return GADGET | {"session": "s-3", "companions": {"port": [{"pty": "/dev/pts/3"}]}} | {
            "faults": [{"stall": 1, "name": "stall", "fired": 2, "over": False}], "recording": None,
        }  # fmt: skip

    async def add_gadget(self, table: Json, keep: bool) -> list[Json]:
        self.asked.append(("add_gadget", table, keep))
        return [GADGET]

    async def remove_gadget(self, name: str) -> None:
        self.asked.append(("remove_gadget", name))

    @asynccontextmanager
    async def gadget_events(self, name: str) -> AsyncIterator[AsyncIterator[Json]]:
        self.asked.append(("gadget_events", name))
        yield drained(self.happening)

    @asynccontextmanager
    async def record_gadget(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        await self.gadget(name)
        yield drained(self.captured)

    async def end_recording(self, name: str) -> None:
        self.asked.append(("end_recording", name))
        self.captured.put_nowait(b"end")
        self.captured.put_nowait(None)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Json]]:
        self.entered += 1
        try:
            yield drained(self.happening)
        finally:
            self.entered -= 1
            self.left.set()

    def pair(self) -> Json:
        return self.paired

    def pair_code(self) -> Json:
        self.asked.append(("pair_code",))
        where = {key: self.paired[key] for key in ("name", "listen", "port")}
        return {"code": "1234-5678", "seconds": 300.0, **where}

    async def pair_join(self, host: str, port: int, code: str) -> Json:
        self.asked.append(("pair_join", host, port, code))
        if code == "0000-0000":
            raise Refused("the code is wrong: 2 more tries")
        return self.paired

    async def unpair(self) -> Json:
        self.asked.append(("unpair",))
        return dict(self.paired["sibling"])

    async def order(self, group: str, wish: str) -> Json:
        self.asked.append(("order", group, wish))
        return dict(self.paired["groups"][0])

    async def status(self) -> Json:
        return {
            "version": "0.1.0", "uptime": 93_784.0, "pid": 4711, "listen": ["127.0.0.1:3240"], "helper": True,
            "counts": {"devices": 4, "exports": 2, "sessions": 2, "rules": 2},
            "modules": {"usbip-host": True, "vhci-hcd": False},
            "groups": self.paired["groups"], "guards": {"gate": True, "keeper": False},
        }  # fmt: skip

    def metrics(self) -> Metrics:
        return self.collector

    def audit(self, limit: int) -> list[Json]:
        self.asked.append(("audit", limit))
        return [{"time": 0.0, "action": "share", "target": "share-1", "detail": "uid 0"}]


async def drained(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    """What is put into `queue`, until None; a TwinhubError is raised."""
    while (item := await queue.get()) is not None:
        if isinstance(item, TwinhubError):
            raise item
        yield item
