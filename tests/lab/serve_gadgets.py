"""Gadgets on port 3240, without a daemon: a test of a device class needs no more than its state machine.

python -c "from tests.lab.serve_gadgets import serve; serve(zero=gadget_zero())"
"""

from __future__ import annotations

import socket
import time

from appliance.loop import IN, OUT, Loop
from appliance.usbip.handshake import Import, complete, import_reply, request
from appliance.usbip.stream import Stream
from appliance.usbip.tcp import prepare
from appliance.usbip.wire import PORT, DeviceRecord, Unlink
from gadgets.usb.companion import Companion
from gadgets.usb.device import BusEvent, GadgetDevice, To
from gadgets.usb.urb import Completion

DEVID = 1 << 16 | 2
CHUNK = 256 << 10


class Served:
    """One gadget, from now on; the last one to import it has it."""

    def __init__(self, loop: Loop, name: str, device: GadgetDevice) -> None:
        self.loop, self.name, self.device = loop, name, device
        self.client: socket.socket | None = None
        self.stream = Stream(DEVID, device.transfer_type)
        self.outgoing = bytearray()
        self.companions: list[tuple[str, Companion]] = []
        for function in device.functions:
            for companion in function.companions:
                label = function.label
                companion.start(loop, lambda given, label=label: self.local(To(label, given)))
                self.companions.append((label, companion))

    @property
    def record(self) -> DeviceRecord:
        d = self.device.device_descriptor
        return DeviceRecord(
            f"/{self.name}", self.name, DEVID >> 16, DEVID & 0xFFFF, self.device.speed,
            d.vendor_id, d.product_id, d.bcd_device, d.device_class, d.subclass, d.protocol, 0, 1,
        )  # fmt: skip

    def begin(self, client: socket.socket) -> None:
        self.end()
        self.client, self.stream = client, Stream(DEVID, self.device.transfer_type)
        self.outgoing.clear()
        client.setblocking(False)
        self.loop.watch(client.fileno(), IN, self.on_client)
        self.finish(self.device.bus(BusEvent.ATTACH))

    def end(self) -> None:
        if self.client:
            self.loop.forget(self.client.fileno())
            self.client.close()
            self.client = None
            self.finish(self.device.bus(BusEvent.DETACH))

    def on_client(self, events: int) -> None:
        assert self.client
        try:
            if events & ~OUT:
                data = self.client.recv(CHUNK)
                if not data:
                    return self.end()
                for event in self.stream.feed(data):
                    if isinstance(event, Unlink):
                        self.outgoing += self.stream.unlinked(event, self.device.unlink(event.number))
                    else:
                        self.answer(self.device.submit(event))
            self.finish([])
        except BlockingIOError:
            pass
        except OSError:
            self.end()

    def local(self, given: object) -> None:
        self.finish(self.device.local(given))

    def on_time(self) -> None:
        self.finish(self.device.tick(time.monotonic_ns()))

    def answer(self, completions: list[Completion]) -> None:
        for done in completions:
            self.outgoing += b"".join(self.stream.answer(done))

    def finish(self, completions: list[Completion]) -> None:
        self.answer(completions)
        for told in self.device.take_events():
            print(self.name, told, flush=True)
            for label, companion in self.companions:
                if label == told.function:
                    companion.hear(told.event)
        if self.client:
            if self.outgoing:
                try:
                    del self.outgoing[: self.client.send(self.outgoing)]
                except BlockingIOError:
                    pass
            self.loop.want(self.client.fileno(), OUT if self.outgoing else IN)
        wake = self.device.wake_at
        self.loop.at(wake or 0, None if wake is None else self.on_time)


def serve(**devices: GadgetDevice) -> None:
    loop = Loop()
    served = {name: Served(loop, name, device) for name, device in devices.items()}
    listener = socket.create_server(("", PORT))

    def on_connection(events: int) -> None:
        client, _ = listener.accept()
        prepare(client)
        asked = complete(request(), lambda count: client.recv(count, socket.MSG_WAITALL))
        assert isinstance(asked, Import)
        client.sendall(import_reply(served[asked.busid].record))
        served[asked.busid].begin(client)

    loop.watch(listener.fileno(), IN, on_connection)
    loop.run()
