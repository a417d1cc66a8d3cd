"""Switches without memory, against fakes where their libraries begin, and the operator's own command."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import usb.core

from appliance.cli.arbiter import gpio_switch
from appliance.errors import (
    DeviceFailed,
    NotPermitted,
    TwinhubError,
    Unavailable,
    UsageError,
)
from appliance.pair.model import Standing
from appliance.pair.selector import open_selector
from appliance.pair.selector.arbiter.frames import Position
from appliance.pair.selector.emulated import OTHER, Emulated
from appliance.pair.selector.flexconnect import FlexConnectSelector
from appliance.pair.selector.gpio import Multiplexer
from appliance.pair.selector.register import Refused
from appliance.pair.selector.spec import parse_spec


class Switch(Emulated):
    """One that obeys, and that somebody else can turn."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = False

    async def is_mine(self) -> bool:
        return self.mine

    async def take(self) -> None:
        self.mine = True

    async def leave(self) -> None:
        self.mine = False

    async def close(self) -> None: ...


async def test_the_register_is_what_the_appliances_know() -> None:
    switch = Switch()
    assert await switch.look() == Standing(None, 0, None)
    switch.know(Standing("a", 7, "b"))
    assert await switch.look() == Standing("a", 7, "b")
    switch.know(Standing("a", 6, None))
    assert await switch.claim("b", 7, None) == Standing("b", 8, None)


async def test_a_claim_steals_and_the_epoch_is_that_of_the_appliances() -> None:
    switch = Switch()
    assert await switch.claim("a", 41, "b") == Standing("a", 42, "b")
    assert switch.mine
    await switch.renew("a", 42)


async def test_who_was_stolen_from_is_refused_and_has_lost_its_epoch() -> None:
    switch = Switch()
    await switch.claim("a", 0, "b")
    switch.mine = False
    with pytest.raises(Refused) as refused:
        await switch.renew("a", 1)
    assert refused.value.standing == Standing(OTHER, 2, None)
    with pytest.raises(Refused):
        await switch.claim("a", 1, None)
    switch.know(Standing("b", 2, None))
    assert await switch.look() == Standing("b", 2, None), "the sibling knows who took it"


async def test_release_leaves_nobody() -> None:
    switch = Switch()
    await switch.claim("a", 0, "b")
    assert await switch.release("a", 1) == Standing(None, 2, None)
    assert not switch.mine
    assert await switch.look() == Standing(None, 2, None)


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1


class Direction(Enum):
    AS_IS = 1
    INPUT = 2
    OUTPUT = 3


@dataclass
class LineSettings:
    direction: Direction = Direction.AS_IS
    active_low: bool = False
    output_value: Value = Value.INACTIVE


@dataclass
class Chip:
    """A GPIO chip as gpiod shows it; `wires` computes lines that others drive."""

    levels: dict[int, bool] = field(default_factory=dict)
    settings: dict[int, LineSettings] = field(default_factory=dict)
    stuck: set[int] = field(default_factory=set)
    history: list[tuple[int, bool]] = field(default_factory=list)
    sense: int | None = None
    peer: bool = False

    def request_lines(self, chip: str, consumer: str, config: dict[int, LineSettings]) -> Chip:
        if chip != "/dev/gpiochip0":
            raise OSError(2, "No such file or directory")
        self.settings = dict(config)
        return self

    def reconfigure_lines(self, config: dict[int, LineSettings]) -> None:
        assert set(config) == set(self.settings), "a line that is left out loses its settings"
        for line, settings in config.items():
            self.settings[line] = settings
            if settings.direction is Direction.OUTPUT and line not in self.stuck:
                level = (settings.output_value is Value.ACTIVE) != settings.active_low
                if self.levels.get(line, False) != level:
                    self.history.append((line, level))
                self.levels[line] = level

    def get_value(self, line: int) -> Value:
        level = self.levels.get(line, False)
        if line == self.sense:
            level = self.levels.get(SELECT, False) ^ self.peer
        return Value(level != self.settings[line].active_low)

    def release(self) -> None:
        self.settings = {}


SELECT, ENABLE, SENSE = 17, 27, 22


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    made = Chip()
    gpiod: Any = ModuleType("gpiod")
    gpiod.line = SimpleNamespace(Value=Value, Direction=Direction)
    gpiod.LineSettings, gpiod.request_lines = LineSettings, made.request_lines
    monkeypatch.setitem(sys.modules, "gpiod", gpiod)
    return made


async def test_a_multiplexer_breaks_before_it_makes(chip: Chip) -> None:
    selector = open_selector("gpio:/dev/gpiochip0:17,side=1,oe=27,pause=50")
    assert await selector.look() == Standing(None, 0, None)
    assert chip.history == [], "looking turns nothing"
    assert await selector.claim("b", 0, None) == Standing("b", 1, None)
    assert chip.history == [(ENABLE, True), (SELECT, True), (ENABLE, False)]
    await selector.release("b", 1)
    assert chip.levels[ENABLE] is True
    await selector.close()


async def test_a_multiplexer_without_an_enable_line_stays_where_it_is(chip: Chip) -> None:
    selector = open_selector("gpio:/dev/gpiochip0:17,side=1")
    await selector.claim("b", 0, None)
    await selector.release("b", 1)
    assert chip.history == [(SELECT, True)]


@pytest.mark.parametrize("peer", [False, True])
@pytest.mark.parametrize("side", [0, 1])
async def test_behind_an_exclusive_or_either_can_turn_it(chip: Chip, peer: bool, side: int) -> None:
    chip.sense, chip.peer = SENSE, peer
    selector = open_selector(f"gpio:/dev/gpiochip0:17,side={side},oe=27,sense=22,pause=50")
    await selector.claim("a", 0, None)
    await selector.renew("a", 1)
    chip.peer = not peer
    with pytest.raises(Refused):
        await selector.renew("a", 1)


async def test_a_line_that_does_not_obey_is_no_grant(chip: Chip) -> None:
    chip.stuck = {SELECT}
    selector = open_selector("gpio:/dev/gpiochip0:17,side=1,oe=27,pause=50")
    with pytest.raises(DeviceFailed, match="at side 0, not at side 1"):
        await selector.claim("b", 0, None)
    assert await selector.look() == Standing(None, 0, None)


def test_an_arbiter_needs_the_enable_line(chip: Chip) -> None:
    with pytest.raises(UsageError, match="oe=LINE"):
        Multiplexer.of(parse_spec("gpio:/dev/gpiochip0:17")).isolate()


def test_an_arbiter_turns_it_by_position(chip: Chip) -> None:
    multiplexer = Multiplexer.of(parse_spec("gpio:/dev/gpiochip0:17,oe=27"))
    for position in (Position.NONE, Position.B, Position.NONE, Position.A):
        assert gpio_switch(multiplexer, position, Standing()) is position
    off, on = (ENABLE, True), (ENABLE, False)
    assert chip.history == [off, (SELECT, True), on, off, (SELECT, False), on]


def test_a_missing_chip_and_a_missing_library_say_what_to_do(
    chip: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="who else uses them"):
        open_selector("gpio:/dev/gpiochip7:17,side=1")
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(Unavailable, match=r"pip install 'twinhub\[gpio\]'"):
        open_selector("gpio:/dev/gpiochip0:17,side=1")


@dataclass
class Hub:
    """What pyusb shows of a hub: `bus`, where it hangs, and its control pipe."""

    bus: int = 1
    port_numbers: tuple[int, ...] = (1, 5)
    bDeviceProtocol: int = 1
    asked: list[tuple[int, ...]] = field(default_factory=list)
    powered: set[int] = field(default_factory=lambda: {1, 2, 3})
    gives_itself_away: bool = True
    ganged: bool = False
    error: int = 0

    def ctrl_transfer(
        self, request_type: int, request: int, value: int, index: int, data: Any, timeout: int
    ) -> Any:
        if self.error:
            raise usb.core.USBError("refused", errno=self.error)
        self.asked.append((request_type, request, value, index))
        if (request_type, request) == (0x41, 0x08) and self.gives_itself_away:
            self.bus = 0
        if (request_type, value) == (0x23, 8) and not self.ganged:
            (self.powered.add if request == 3 else self.powered.discard)(index)
        bit = 9 if self.bDeviceProtocol == 3 else 8
        return ((index in self.powered) << bit).to_bytes(4, "little") if request_type == 0xA3 else 0


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr("usb.core.find", lambda custom_match: made if custom_match(made) else None)
    monkeypatch.setattr("usb.util.dispose_resources", lambda device: None)
    return made


async def test_flexconnect_gives_the_hub_away_by_its_vendor_request(hub: Hub) -> None:
    selector = open_selector("flexconnect:1-1.5,value=0x8041")
    await selector.claim("a", 0, None)
    assert await selector.release("a", 1) == Standing(None, 2, None)
    assert hub.asked == [(0x41, 0x08, 0x8041, 0)]


async def test_flexconnect_cannot_take_the_hub_from_the_other(hub: Hub) -> None:
    hub.bus = 0
    selector = open_selector("flexconnect:1-1.5,value=0x8041")
    with pytest.raises(Unavailable, match="lets only its owner give it away"):
        await selector.claim("b", 0, None)


async def test_a_hub_that_stays_was_told_the_wrong_value(hub: Hub) -> None:
    hub.gives_itself_away = False
    selector = FlexConnectSelector(1, (1, 5), 0x1234, seconds=0.01)
    await selector.claim("a", 0, None)
    with pytest.raises(DeviceFailed, match="is value= right"):
        await selector.release("a", 1)


@pytest.mark.parametrize("protocol", [1, 3])
async def test_port_power_is_switched_and_read_back(hub: Hub, protocol: int) -> None:
    hub.bDeviceProtocol = protocol
    selector = open_selector("portpower:1-1.5:1,2")
    await selector.claim("a", 0, None)
    await selector.release("a", 1)
    assert hub.powered == {3}
    await selector.claim("a", 2, None)
    assert hub.powered == {1, 2, 3}


async def test_a_hub_that_does_not_switch_power_is_found_out(hub: Hub) -> None:
    hub.ganged = True
    selector = open_selector("portpower:1-1.5:1,2")
    await selector.claim("a", 0, None)
    with pytest.raises(DeviceFailed, match="may not switch power by port"):
        await selector.release("a", 1)


@pytest.mark.parametrize(("error", "raised"), [(13, NotPermitted), (5, DeviceFailed)])
async def test_a_hub_that_refuses_is_told_apart_from_one_that_may_not_be_asked(
    hub: Hub, error: int, raised: type[TwinhubError]
) -> None:
    hub.error = error
    with pytest.raises(raised):
        await open_selector("portpower:1-1.5:1").claim("a", 0, None)


async def test_no_hub_there_says_how_to_find_it(hub: Hub) -> None:
    with pytest.raises(Unavailable, match="twinhub devices"):
        await open_selector("portpower:2-1:1").claim("a", 0, None)
