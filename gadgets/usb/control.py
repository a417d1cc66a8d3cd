"""The control pipe of a device: chapter 9 of USB 2.0 and 3.2, as a state machine without I/O.

`ControlPipe.request` takes a setup packet with its OUT data and gives the data stage, never more than
wLength, or None: stall. What it knows is a table, (bmRequestType, bRequest) → method. What a request changes
beyond the pipe's own state happens through `Behind`, which the device implements.

Acted upon though a host controller would: SET_ADDRESS, and SET_PORT_FEATURE(RESET) `23 03 0004`, which
usbip-win2 and VirtualBox send through. Stalled on purpose: TEST_MODE (it asks for electrical signals) and
SET_DESCRIPTOR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gadgets.usb.configuration import AlternateSetting, Configuration
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.function import Answer
from gadgets.usb.shape import DescriptorType
from gadgets.usb.urb import Recipient, RequestKind, SetupPacket, Speed, TransferType

ENDPOINT_HALT = FUNCTION_SUSPEND = 0
REMOTE_WAKEUP = 1
U1_ENABLE, U2_ENABLE, LTM_ENABLE = 48, 49, 50
PORT_RESET = 4
_MAY_WAKE = 0x200


class Behind(Protocol):
    """What the control pipe acts on."""

    def configure(self, configuration: Configuration | None) -> None:
        """Drop all endpoints; open those of the configuration's settings 0."""

    def choose(self, old: AlternateSetting, new: AlternateSetting) -> None:
        """Drop the endpoints of one setting; open those of the other."""

    def halted(self, endpoint: int) -> bool | None:
        """None: there is no such endpoint now."""

    def set_halt(self, endpoint: int, halted: bool) -> None: ...

    def ask_function(self, setup: SetupPacket, data: bytes) -> Answer:
        """Of the function that owns the interface or endpoint in wIndex; to the device: of each in turn."""

    def port_reset(self) -> None: ...


class ControlPipe:
    """Endpoint 0. Its state: address, configuration, alternate settings, features."""

    def __init__(self, descriptors: DescriptorSet, behind: Behind) -> None:
        self.descriptors = descriptors
        self._table = descriptors.table
        self._behind = behind
        self.reset()

    def reset(self) -> None:
        """As after power-up: the default state. USB 2.0 §9.1.1."""
        self.address = 0
        self.configuration: Configuration | None = None
        self._alternates: dict[int, AlternateSetting] = {}
        self._features: set[int] = set()
        self._waking: set[int] = set()

    @property
    def remote_wakeup(self) -> bool:
        """The host allows the device to wake it: as a whole, or from SuperSpeed on by function."""
        return REMOTE_WAKEUP in self._features or bool(self._waking)

    @property
    def settings(self) -> list[AlternateSetting]:
        """The current alternate setting of each interface; empty when not configured."""
        return list(self._alternates.values())

    def request(self, setup: SetupPacket, data: bytes = b"") -> Answer:
        """The data stage of the answer, at most wLength bytes; None: stall."""
        handler = _STANDARD.get((setup.request_type, setup.request))
        answer = handler(self, setup, data) if handler else None
        if answer is None and self._reaches_a_function(setup):
            answer = self._behind.ask_function(setup, data)
        return answer if answer is None else answer[: setup.length]

    def _reaches_a_function(self, setup: SetupPacket) -> bool:
        if setup.kind is RequestKind.STANDARD:
            asks_for_own = setup.request in (_GET_DESCRIPTOR, _SET_DESCRIPTOR, _SYNCH_FRAME)
            return asks_for_own and setup.recipient in (Recipient.INTERFACE, Recipient.ENDPOINT)
        return setup.kind is not RequestKind.RESERVED

    # To the device

    def _get_device_status(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.value or setup.index:
            return None
        bits = self._self_powered() | (REMOTE_WAKEUP in self._features) << 1
        for bit, feature in ((2, U1_ENABLE), (3, U2_ENABLE), (4, LTM_ENABLE)):
            bits |= (feature in self._features) << bit
        return bits.to_bytes(2, "little")

    def _self_powered(self) -> bool:
        shown = self.configuration or next(iter(self.descriptors.configurations), None)
        return shown is not None and shown.attributes & Configuration.SELF_POWERED != 0

    def _clear_device_feature(self, setup: SetupPacket, data: bytes) -> Answer:
        if not self._has_feature(setup):
            return None
        self._features.discard(setup.value)
        return b""

    def _set_device_feature(self, setup: SetupPacket, data: bytes) -> Answer:
        if not self._has_feature(setup):
            return None
        self._features.add(setup.value)
        return b""

    def _has_feature(self, setup: SetupPacket) -> bool:
        if setup.index or self.configuration is None:
            return False
        if setup.value == REMOTE_WAKEUP:
            return self._can_wake()
        return setup.value in (U1_ENABLE, U2_ENABLE, LTM_ENABLE) and self.descriptors.speed >= Speed.SUPER

    def _can_wake(self) -> bool:
        configuration = self.configuration
        return configuration is not None and configuration.attributes & Configuration.REMOTE_WAKEUP != 0

    def _set_address(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.value > 127 or setup.index or setup.length or self.configuration:
            return None
        self.address = setup.value
        return b""

    def _get_descriptor(self, setup: SetupPacket, data: bytes) -> Answer:
        kind, index = setup.value >> 8, setup.value & 0xFF
        language = setup.index if kind == DescriptorType.STRING and index else 0
        return self._table.get((kind, index, language))

    def _get_configuration(self, setup: SetupPacket, data: bytes) -> Answer:
        return bytes((self.configuration.value if self.configuration else 0,))

    def _set_configuration(self, setup: SetupPacket, data: bytes) -> Answer:
        found = [c for c in self.descriptors.configurations if c.value == setup.value]
        if setup.value and not found:
            return None
        self._waking.clear()
        self._enter(found[0] if found and setup.value else None)
        self._behind.configure(self.configuration)
        return b""

    def _enter(self, configuration: Configuration | None) -> None:
        self.configuration = configuration
        settings = configuration.settings if configuration else ()
        self._alternates = {s.interface: s for s in settings if s.alternate == 0}

    def _accept_timing(self, setup: SetupPacket, data: bytes) -> Answer:
        """SET_SEL, SET_ISOCH_DELAY: link latencies, which a software device has no use for."""
        return b"" if self.descriptors.speed >= Speed.SUPER else None

    # To an interface

    def _get_interface_status(self, setup: SetupPacket, data: bytes) -> Answer:
        """From SuperSpeed on: may wake the host, is allowed to. USB 3.2 §9.4.5."""
        if setup.value or setup.index not in self._alternates:
            return None
        capable = self.descriptors.speed >= Speed.SUPER and self._can_wake()
        return bytes((capable | (setup.index in self._waking) << 1, 0))

    def _interface_feature(self, setup: SetupPacket, data: bytes) -> Answer:
        """FUNCTION_SUSPEND, from SuperSpeed on; bit 9 of wIndex allows to wake the host. USB 3.2 §9.4.9."""
        interface = setup.index & 0xFF
        known = setup.value == FUNCTION_SUSPEND and self.descriptors.speed >= Speed.SUPER
        if not known or interface not in self._alternates:
            return None
        self._waking.discard(interface)
        if setup.request == _SET_FEATURE and setup.index & _MAY_WAKE and self._can_wake():
            self._waking.add(interface)
        return b""

    def _get_interface(self, setup: SetupPacket, data: bytes) -> Answer:
        setting = self._alternates.get(setup.index)
        return bytes((setting.alternate,)) if setting and not setup.value else None

    def _set_interface(self, setup: SetupPacket, data: bytes) -> Answer:
        old = self._alternates.get(setup.index)
        new = self.configuration.setting(setup.index, setup.value) if self.configuration else None
        if old is None or new is None:
            return None
        self._alternates[setup.index] = new
        self._behind.choose(old, new)
        return b""

    # To an endpoint

    def _get_endpoint_status(self, setup: SetupPacket, data: bytes) -> Answer:
        halted = False if setup.index & 0x7F == 0 else self._behind.halted(setup.index)
        return None if halted is None or setup.value else bytes((halted, 0))

    def _endpoint_halt(self, setup: SetupPacket, data: bytes) -> Answer:
        """Endpoint 0 never halts: to clear it does nothing, to set it stalls."""
        halt = setup.request == _SET_FEATURE
        if setup.value != ENDPOINT_HALT:
            return None
        if setup.index & 0x7F == 0:
            return None if halt else b""
        if self._behind.halted(setup.index) is None:
            return None
        if halt and self._transfer_type(setup.index) is TransferType.ISOCHRONOUS:
            return None
        self._behind.set_halt(setup.index, halt)
        return b""

    def _transfer_type(self, address: int) -> TransferType | None:
        found = (setting.endpoint(address) for setting in self.settings)
        return next((endpoint.transfer_type for endpoint in found if endpoint), None)

    # To the hub's port

    def _port_reset(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.value != PORT_RESET:
            return None
        self._behind.port_reset()
        return b""

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "configuration": self.configuration.value if self.configuration else 0,
            "alternates": [[s.interface, s.alternate] for s in self.settings],
            "features": sorted(self._features),
            "waking": sorted(self._waking),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.address = state["address"]
        value = state["configuration"]
        self._enter(next((c for c in self.descriptors.configurations if value and c.value == value), None))
        for interface, alternate in state["alternates"]:
            setting = self.configuration.setting(interface, alternate) if self.configuration else None
            if setting:
                self._alternates[interface] = setting
        self._features = set(state["features"])
        self._waking = set(state["waking"])


_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _SET_ADDRESS = 0, 1, 3, 5
_GET_DESCRIPTOR, _SET_DESCRIPTOR, _GET_CONFIGURATION, _SET_CONFIGURATION = 6, 7, 8, 9
_GET_INTERFACE, _SET_INTERFACE, _SYNCH_FRAME, _SET_SEL, _SET_ISOCH_DELAY = 10, 11, 12, 48, 49

_Handler = Callable[[ControlPipe, SetupPacket, bytes], Answer]

_STANDARD: dict[tuple[int, int], _Handler] = {
    (0x80, _GET_STATUS): ControlPipe._get_device_status,
    (0x81, _GET_STATUS): ControlPipe._get_interface_status,
    (0x82, _GET_STATUS): ControlPipe._get_endpoint_status,
    (0x00, _CLEAR_FEATURE): ControlPipe._clear_device_feature,
    (0x01, _CLEAR_FEATURE): ControlPipe._interface_feature,
    (0x02, _CLEAR_FEATURE): ControlPipe._endpoint_halt,
    (0x00, _SET_FEATURE): ControlPipe._set_device_feature,
    (0x01, _SET_FEATURE): ControlPipe._interface_feature,
    (0x02, _SET_FEATURE): ControlPipe._endpoint_halt,
    (0x00, _SET_ADDRESS): ControlPipe._set_address,
    (0x80, _GET_DESCRIPTOR): ControlPipe._get_descriptor,
    (0x80, _GET_CONFIGURATION): ControlPipe._get_configuration,
    (0x00, _SET_CONFIGURATION): ControlPipe._set_configuration,
    (0x81, _GET_INTERFACE): ControlPipe._get_interface,
    (0x01, _SET_INTERFACE): ControlPipe._set_interface,
    (0x00, _SET_SEL): ControlPipe._accept_timing,
    (0x00, _SET_ISOCH_DELAY): ControlPipe._accept_timing,
    (0x23, _SET_FEATURE): ControlPipe._port_reset,
}
