"""FunctionFS through python-functionfs 0.9.2: the `Wire` of a `Bridge`, and its source of events.

Of the package only `Function` and its endpoint classes are used. What is different from its ways:
- its OUT blocks are read again at once and whole; ours when and how long the bridge says;
- endpoint files do not block: the kernel would let io_submit wait for an endpoint that is not enabled;
- a transfer that began before the last ENABLE is reported late, and known by its generation.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import functionfs
from functionfs.common import USBDescriptorHeader, u8

from gadgets.udc.bridge import BURST, READS, WINDOW, Bridge
from gadgets.udc.descriptors import Shown
from gadgets.usb.device import Device
from gadgets.usb.microsoft import REG_SZ
from gadgets.usb.shape import DescriptorType
from gadgets.usb.urb import ENDPOINT_IN, Direction, Recipient, SetupPacket

STRINGS_HEAD: Final = struct.Struct("<IIII")
STRINGS_MAGIC: Final = 2
PACKET_SIZE: Final = 0x7FF
GONE: Final = {errno.ESHUTDOWN, errno.ENODEV, errno.EAGAIN, errno.EIDRM}
"""The host, or the endpoint, went away meanwhile; an event tells of it."""
HALTED: Final = errno.EBADMSG


class InFile(functionfs.EndpointINFile):  # type: ignore[misc]
    """`written(generation, status)` hears of each transfer's end."""

    def __init__(self, written: Callable[[int, int], None], **more: Any) -> None:
        super().__init__(**more)
        self.written = written

    def onComplete(self, buffer_list: object, user_data: int, status: int) -> None:
        self.written(user_data, status)


class OutFile(functionfs.EndpointOUTFile):  # type: ignore[misc]
    """`ended(generation, data or negative errno)` hears of each read's end. `wanted`: lengths of the
    reads that wait for a buffer."""

    def __init__(self, ended: Callable[[int, bytes | int], None], **more: Any) -> None:
        super().__init__(**more)
        self.ended = ended
        self.buffers = {id(block): block.buffer_list[0] for block in more["aio_block_list"]}
        self.idle: list[Any] = list(more["aio_block_list"])
        self.reading: list[tuple[Any, int]] = []
        self.wanted: deque[int] = deque()
        self.generation = 0

    def start(self, generation: int) -> None:
        self.generation = generation
        self.wanted.clear()

    def read_more(self, length: int) -> None:
        self.wanted.append(length)
        self.submit_wanted()

    def submit_wanted(self) -> None:
        while self.wanted and self.idle:
            length = self.wanted.popleft()
            block = self.idle.pop(0)
            block.buffer_list = (memoryview(self.buffers[id(block)])[:length],)
            self.reading.append((block, self.generation))
            self._submit((block,))

    def _onComplete(self, aio_block: Any, res: int, res2: int) -> None:
        at = next(n for n, (block, _) in enumerate(self.reading) if block is aio_block)
        _, generation = self.reading.pop(at)
        outcome = res if res < 0 else bytes(aio_block.buffer_list[0][:res])
        self.idle.append(aio_block)
        if generation != self.generation:
            self.submit_wanted()
        self.ended(generation, outcome)


class FunctionFs(functionfs.Function):  # type: ignore[misc]
    """A context manager: entering it makes the function ready to be bound. `process` is to be called when
    `eventfd` is readable; it never blocks."""

    def __init__(
        self, mount: Path, device: Device, shown: Shown, coming: Callable[[int], int] = lambda endpoint: 0
    ) -> None:
        endpoints = [e for setting in device.configurations[0].settings for e in setting.endpoints]
        self.addresses = [endpoint.address for endpoint in endpoints]
        lists = [[structure(each) for each in speed] for speed in (shown.full, shown.high, shown.super)]
        super().__init__(
            str(mount),
            *lists,
            os_list=[each for number in shown.winusb for each in winusb(number, shown.guid)],
            all_ctrl_recip=True,
            config0_setup=True,
            # Transfers of two generations, each with an empty packet behind it.
            in_aio_blocks_max=4 * WINDOW * max(1, len(endpoints)),
            out_aio_blocks_per_endpoint=READS,
            out_aio_blocks_max_packet_count=BURST,
        )
        # The package's own has only the first string: ctypes ends what it copies into c_char[] at a zero.
        self._function_strings = _bytes(strings_block(shown.strings))
        self.generation = 0
        self.bridge = Bridge(device, self, coming)

    def __exit__(self, *raised: Any) -> None:
        """What the package leaves open is closed, too."""
        super().__exit__(*raised)
        for context in (self._in_aio_context, self._out_aio_context):
            if context is not None:
                context.close()
        self.eventfd.close()

    def getEndpointClass(self, is_in: bool, descriptor: Any) -> Callable[..., Any]:
        return partial(self.open, descriptor.bEndpointAddress)

    def open(self, address: int, **more: Any) -> InFile | OutFile:
        if address & ENDPOINT_IN:
            file = InFile(partial(self.on_written, address), **more)
        else:
            file = OutFile(partial(self.on_read, address), **more)
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_NONBLOCK)
        return file

    def process(self) -> None:
        try:
            self.processEvents()
        except OSError as error:
            if error.errno not in GONE:
                raise

    # Events

    def onBind(self) -> None:
        self.bridge.attach()

    def onUnbind(self) -> None:
        self.generation += 1
        self.bridge.detach()

    def onEnable(self) -> None:
        self.generation += 1
        files = {address: self.getEndpointByAddress(address) for address in self.addresses}
        try:
            packets = {a: file.getDescriptor().wMaxPacketSize & PACKET_SIZE for a, file in files.items()}
        except OSError as error:
            if error.errno in GONE:
                return
            raise
        for file in files.values():
            if isinstance(file, OutFile):
                file.start(self.generation)
        self.bridge.enable(packets)

    def onDisable(self) -> None:
        self.generation += 1
        self.bridge.disable()

    def onSuspend(self) -> None:
        self.bridge.suspend()

    def onResume(self) -> None:
        self.bridge.resume()

    def onSetup(self, request_type: int, request: int, value: int, index: int, length: int) -> None:
        setup = SetupPacket(request_type, request, value, index, length)
        if setup.recipient is Recipient.ENDPOINT:
            # The kernel made the host's address the number of our file.
            setup = SetupPacket(request_type, request, value, self.addresses[index - 1], length)
        try:
            # Data from the host is acknowledged when it is read: what it asks can then not be refused.
            data = self.ep0.read(length) if length and setup.direction is Direction.OUT else b""
        except OSError as error:
            if error.errno not in GONE:
                raise
        else:
            self.bridge.request(setup, data or b"")

    def on_written(self, address: int, generation: int, status: int) -> None:
        if generation == self.generation and -status not in GONE:
            self.bridge.written(address)

    def on_read(self, address: int, generation: int, outcome: bytes | int) -> None:
        if generation != self.generation:
            return
        if isinstance(outcome, bytes):
            self.bridge.received(address, outcome)
        elif -outcome not in GONE:
            self.bridge.cancelled(address)

    # Wire

    def write(self, endpoint: int, data: bytes) -> None:
        self.getEndpointByAddress(endpoint).submit([bytearray(data)] if data else [], self.generation)

    def read(self, endpoint: int, length: int) -> None:
        self.getEndpointByAddress(endpoint).read_more(length)

    def cancel(self, endpoint: int) -> None:
        for block, _ in list(self.getEndpointByAddress(endpoint).reading):
            try:
                self._out_aio_context.cancel(block)
            except OSError as error:
                if error.errno != errno.EINVAL:  # it has ended, and its event waits
                    raise

    def halt(self, endpoint: int) -> None:
        """An access against the endpoint's direction halts it (f_fs.c: ffs_epfile_io)."""
        file = self.getEndpointByAddress(endpoint).fileno()
        try:
            os.read(file, 0) if endpoint & ENDPOINT_IN else os.write(file, b"")
        except OSError as error:
            if error.errno != HALTED and error.errno not in GONE:
                raise

    def clear_halt(self, endpoint: int) -> None:
        self.getEndpointByAddress(endpoint).clearHalt()

    def answer(self, setup: SetupPacket, data: bytes | None) -> None:
        if setup.direction is Direction.OUT and setup.length:
            return
        try:
            if data is None:
                self.ep0.halt(setup.request_type)
            elif setup.direction is Direction.IN:
                self.ep0.write(data)
            else:
                self.ep0.read(0)
        except OSError as error:
            if error.errno not in GONE:
                raise


def winusb(interface: int, guid: str) -> Iterator[Any]:
    """Microsoft OS 1.0: the compatible id, and the property by which programs find the interface."""
    compatible = functionfs.OSExtCompatDesc(
        bFirstInterfaceNumber=interface, Reserved1=1, CompatibleID=tuple(b"WINUSB\0\0")
    )
    yield functionfs.getOSDesc(interface, [compatible])
    name, value = b"DeviceInterfaceGUID\0", guid.encode() + b"\0"
    yield functionfs.getOSDesc(interface, [functionfs.getOSExtPropDesc(REG_SZ, name, value)])


def strings_block(strings: Mapping[int, Sequence[str]]) -> bytes:
    """struct usb_functionfs_strings_head and what follows it (include/uapi/linux/usb/functionfs.h)."""
    count = len(next(iter(strings.values()), ()))
    tables = b"".join(
        language.to_bytes(2, "little") + b"".join(zero_ended(text) for text in texts)
        for language, texts in strings.items()
    )
    return STRINGS_HEAD.pack(STRINGS_MAGIC, STRINGS_HEAD.size + len(tables), count, len(strings)) + tables


def zero_ended(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", "replace") + b"\0"


def _bytes(data: bytes) -> Any:
    return (u8 * len(data)).from_buffer_copy(data)


def structure(descriptor: bytes) -> Any:
    """As python-functionfs wants it: an endpoint with its fields, others as bytes behind the header."""
    if descriptor[1] == DescriptorType.ENDPOINT:
        plain, audio = functionfs.USBEndpointDescriptorNoAudio, functionfs.USBEndpointDescriptor
        kind = plain if len(descriptor) == ctypes.sizeof(plain) else audio
    else:
        fields = {"_pack_": 1, "_fields_": [("body", u8 * (len(descriptor) - 2))]}
        kind = type("Descriptor", (USBDescriptorHeader,), fields)
    return kind.from_buffer_copy(descriptor)
