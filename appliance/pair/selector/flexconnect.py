"""The selector `flexconnect:BUSID,value=0x…`: a Microchip hub that swaps its upstream port.

BUSID is the hub feature controller, the hub's internal device (vendor 0424). What gives the hub away is a
vendor request to its interface: bmRequestType 0x41, bRequest 0x08, wIndex 0, no data. wValue is the product's
own; on USB253x and USB46x4 bit 15 is set and bit 6 is the new state of FlexConnect, so 0x8041. Sources:
Microchip AN1700 (tables of the SETUP command); `MchpUsbFlexConnect` of Microchip's hub SDK, and its example
FlexConnect.cpp. For USB47xx and USB49xx see "FlexConnect USB Command Details" in AN2341.
"""

from __future__ import annotations

import asyncio
from typing import Final

from appliance.errors import DeviceFailed, Unavailable
from appliance.pair.selector import usb
from appliance.pair.selector.emulated import Emulated
from appliance.pair.selector.spec import Spec

REQUEST_TYPE: Final = 0x41
SET_FLEXCONNECT: Final = 0x08
GONE_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.05


def open_spec(spec: Spec) -> FlexConnectSelector:
    if "value" not in spec.options:
        raise spec.wrong("say with value=0x… the wValue that gives this hub away, from its application note")
    bus, ports = usb.parse_busid(spec, spec.place)
    return FlexConnectSelector(bus, ports, spec.number("value", spec.options["value"], 0, 0xFFFF))


class FlexConnectSelector(Emulated):
    """The hub is ours while its feature controller is on our bus.

    Not atomic, cannot steal: only who has the hub can give it away. So it does for planned switchovers, and
    fences nobody: after a crash of its owner the hub stays there, and a claim is Unavailable.
    """

    def __init__(self, bus: int, ports: tuple[int, ...], value: int, seconds: float = GONE_SECONDS) -> None:
        super().__init__()
        self._bus, self._ports, self._value, self._seconds = bus, ports, value, seconds

    async def is_mine(self) -> bool:
        return await asyncio.to_thread(usb.find, self._bus, self._ports) is not None

    async def take(self) -> None:
        raise Unavailable(
            "the other appliance has the hub, and FlexConnect lets only its owner give it away: "
            "release it there, or move the plug"
        )

    async def leave(self) -> None:
        device = await asyncio.to_thread(usb.find, self._bus, self._ports)
        if device is None:
            return
        await asyncio.to_thread(usb.control, device, REQUEST_TYPE, SET_FLEXCONNECT, self._value, 0)
        try:
            async with asyncio.timeout(self._seconds):
                while await self.is_mine():  # noqa: ASYNC110 - the bus tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise DeviceFailed(
                f"the hub is still here {self._seconds:g} s after FlexConnect; is value= right for this hub?"
            ) from error

    async def close(self) -> None:
        """Nothing is held."""
