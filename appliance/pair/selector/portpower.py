"""The selector `portpower:BUSID:PORTS`: power of those ports of our hub behind which the shared hub hangs.

Requests: USB 2.0, 11.24.2 (ClearPortFeature, GetPortStatus, SetPortFeature); of SuperSpeed hubs USB 3.2,
10.16.2.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from appliance.errors import DeviceFailed, Unavailable
from appliance.pair.selector import usb
from appliance.pair.selector.emulated import Emulated
from appliance.pair.selector.spec import Spec

TO_PORT, FROM_PORT = 0x23, 0xA3
GET_STATUS, CLEAR_FEATURE, SET_FEATURE = 0x00, 0x01, 0x03
PORT_POWER: Final = 8
POWERED, POWERED_SUPERSPEED = 1 << 8, 1 << 9
SUPERSPEED_PROTOCOL: Final = 3
MOST_PORTS: Final = 255


def open_spec(spec: Spec) -> PortPowerSelector:
    busid, _, written = spec.place.partition(":")
    bus, place = usb.parse_busid(spec, busid)
    ports = tuple(spec.number("a port", port, 1, MOST_PORTS) for port in written.split(","))
    return PortPowerSelector(bus, place, ports)


class PortPowerSelector(Emulated):
    """The shared hub is ours while our ports towards it have power.

    Not atomic; cannot take the other appliance's power away, so it fences only ourselves. For a hub with two
    upstream ports that follows the power; many hubs have the request and no switch behind it.
    """

    def __init__(self, bus: int, place: tuple[int, ...], ports: tuple[int, ...]) -> None:
        super().__init__()
        self._bus, self._place, self._ports = bus, place, ports

    async def is_mine(self) -> bool:
        return await asyncio.to_thread(self._powered) == set(self._ports)

    async def take(self) -> None:
        await asyncio.to_thread(self._set, SET_FEATURE, set(self._ports))

    async def leave(self) -> None:
        await asyncio.to_thread(self._set, CLEAR_FEATURE, set())

    async def close(self) -> None:
        """Nothing is held."""

    def _set(self, request: int, wanted: set[int]) -> None:
        hub = self._hub()
        for port in self._ports:
            usb.control(hub, TO_PORT, request, PORT_POWER, port)
        if (found := self._powered()) != wanted:
            raise DeviceFailed(
                f"of the ports {self._ports} the hub says that {sorted(found) or 'none'} have power, not "
                f"{sorted(wanted) or 'none'}; it may not switch power by port"
            )

    def _powered(self) -> set[int]:
        hub = self._hub()
        bit = POWERED_SUPERSPEED if hub.bDeviceProtocol == SUPERSPEED_PROTOCOL else POWERED
        status = {port: usb.control(hub, FROM_PORT, GET_STATUS, 0, port, 4) for port in self._ports}
        return {port for port, data in status.items() if int.from_bytes(bytes(data)[:2], "little") & bit}

    def _hub(self) -> Any:
        hub = usb.find(self._bus, self._place)
        if hub is None:
            raise Unavailable(
                f"there is no hub at bus {self._bus} ports {self._place}; see `twinhub devices`"
            )
        return hub
