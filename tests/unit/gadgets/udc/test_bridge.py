"""The bridge: what the kernel tells becomes inputs of the device; what these complete goes to its files."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gadgets.faults.control import NoAnswer, Stall
from gadgets.faults.data import Delay
from gadgets.faults.faulty import Faulty
from gadgets.hid.keyboard import TypeText, keyboard
from gadgets.udc.bridge import BURST, LONGEST, READS, WINDOW, Bridge
from gadgets.usb.compose import compose
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.numbering import Numbering
from tests.unit.gadgets.host import IDENTITY, Bench, Say, Take, setup_of
from tests.unit.gadgets.udc.kernels import Kernel

IN, OUT = 0x81, 0x01


class Plain(Bench):
    """`Bench` without its second setting, which FunctionFS has not, and with words that halt IN."""

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        return super().describe(take)[:1]

    def out(self, endpoint: int, data: bytes) -> bool:
        if data in (b"stall IN", b"wedge IN"):
            self.halt(self.source, wedge=data == b"wedge IN")
        if data == b"release IN":
            self.release(self.source)
        return super().out(endpoint, data)


class World:
    """A device, the bridge, the kernel, and a host that has configured it."""

    def __init__(self, device: Device | None = None, link_packet: int = 512) -> None:
        self.function = Plain()
        self.device = device or compose(IDENTITY, [self.function])
        self.kernel = Kernel()
        self.coming = 0
        self.bridge = Bridge(self.device, self.kernel, lambda endpoint: self.coming)
        self.bridge.attach()
        self.configure(link_packet)

    def configure(self, link_packet: int = 512) -> None:
        settings = self.device.configurations[0].settings
        self.bridge.enable({e.address: link_packet for setting in settings for e in setting.endpoints})

    def say(self, data: bytes) -> None:
        self.bridge.finish(self.device.local(Say(data)))

    def host_sends(self, data: bytes) -> None:
        self.kernel.reads[OUT] -= 1
        self.bridge.received(OUT, data)

    def host_reads(self) -> bytes:
        endpoint, data = self.kernel.written.pop(0)
        self.bridge.written(endpoint)
        return data

    def request(self, words: str, data: bytes = b"") -> bytes | None:
        self.bridge.request(setup_of(words), data)
        return self.kernel.answers.pop()


# Events


def test_the_device_is_configured_although_the_kernel_answers_chapter_9() -> None:
    world = World()
    assert world.device.configuration_value == 1
    assert world.function.told[-1] == "configured"


def test_an_enable_while_enabled_is_a_choice_of_the_interfaces_setting() -> None:
    world = World()
    world.configure()
    assert world.function.told[-1] == "alternate 0.0"


def test_a_disable_is_a_reset_and_the_next_enable_configures_anew() -> None:
    world = World()
    world.bridge.disable()
    assert world.device.configuration_value == 0
    world.configure()
    assert world.function.told[-2:] == ["reset", "configured"]


def test_suspend_and_resume_reach_the_device() -> None:
    device = keyboard()
    world = World(device, link_packet=8)
    world.bridge.suspend()
    assert device.suspended
    world.bridge.resume()
    assert not device.suspended


def test_after_a_detach_nothing_is_written_any_more() -> None:
    world = World()
    world.bridge.detach()
    world.bridge.finish(world.device.bus(BusEvent.RESET))
    assert world.kernel.written == []


# Control requests


def test_class_and_vendor_requests_are_answered_by_the_device() -> None:
    world = World()
    assert world.request("c0 5c 0000 0000 0040") == b"answer"
    assert world.request("40 5b 0000 0000 0003", b"abc") == b""
    assert world.function.heard == [b"abc"]


def test_a_request_that_the_device_stalls_is_stalled() -> None:
    assert World().request("c0 77 0000 0000 0040") is None


def test_an_answer_may_come_later_or_never() -> None:
    late, silent = Faulty(keyboard(), [Delay(0.5, endpoint=0)]), Faulty(keyboard(), [NoAnswer(request=1)])
    for device in (late, silent):
        world = World(device, link_packet=8)
        world.bridge.request(setup_of("a1 01 0100 0000 0008"))
        assert world.kernel.answers == []
    world = World(late, link_packet=8)
    world.bridge.finish(late.tick(0))
    world.bridge.request(setup_of("a1 01 0100 0000 0008"))
    for now in (1, 10**9):
        world.bridge.finish(late.tick(now))
    assert world.kernel.answers == [bytes(8)]


def test_endpoint_halts_that_the_controller_passes_on_go_to_device_and_kernel() -> None:
    world = World()
    assert world.request("02 03 0000 0081 0000") == b""
    assert set(world.kernel.halted) == {IN}
    assert world.request("82 00 0000 0081 0002") is not None
    assert world.request("02 01 0000 0081 0000") == b""
    assert world.kernel.cleared == [IN]


# IN


def test_a_message_is_written_as_soon_as_it_is_there() -> None:
    world = World()
    world.say(b"hello")
    assert world.kernel.written == [(IN, b"hello")]


def test_no_more_than_the_window_waits_in_the_kernel() -> None:
    world = World()
    for number in range(5):
        world.say(bytes([number]))
    assert len(world.kernel.written) == WINDOW
    assert [world.host_reads() for _ in range(5)] == [bytes([number]) for number in range(5)]


def test_a_long_message_goes_in_parts_and_ends_as_it_would_over_usbip() -> None:
    world = World()
    message = bytes(range(256)) * 200
    world.say(message)
    world.say(b"")
    parts = []
    while world.kernel.written:
        parts.append(world.host_reads())
    assert b"".join(parts) == message
    assert [len(part) for part in parts] == [LONGEST] * 3 + [len(message) % LONGEST, 0]


def test_a_message_that_ends_short_ends_short_in_the_smaller_packets_of_a_slower_link() -> None:
    world = World(link_packet=64)
    world.say(bytes(128))
    assert world.kernel.written == [(IN, bytes(128)), (IN, b"")]


@given(st.lists(st.binary(max_size=3 * LONGEST), max_size=8), st.data())
def test_whatever_is_said_arrives_in_order_and_once(messages: list[bytes], data: st.DataObject) -> None:
    world, arrived, said = World(), b"", list(messages)
    while said or world.kernel.written:
        if said and (not world.kernel.written or data.draw(st.booleans())):
            world.say(said.pop(0))
        else:
            arrived += world.host_reads()
    assert arrived == b"".join(messages)


def test_a_keyboard_has_its_reports_fetched_one_by_one() -> None:
    world = World(keyboard(), link_packet=8)
    world.bridge.finish(world.device.local(TypeText("a")))
    assert [world.host_reads() for _ in range(2)] == [bytes([0, 0, 4, 0, 0, 0, 0, 0]), bytes(8)]
    assert world.kernel.written == []


# OUT


def test_data_from_the_host_reaches_the_function_and_is_read_again() -> None:
    world = World()
    assert world.kernel.reads[OUT] == READS
    world.host_sends(b"hello")
    assert world.function.heard == [b"hello"]
    assert world.kernel.reads[OUT] == READS


def test_what_the_device_does_not_take_stops_the_host_and_is_not_lost() -> None:
    world = World()
    world.bridge.finish(world.device.local(Take(False)))
    packets = [bytes([number]) for number in range(READS)]
    for packet in packets:
        world.host_sends(packet)
    assert world.kernel.reads[OUT] == 0
    assert world.function.heard == []
    world.bridge.finish(world.device.local(Take(True)))
    assert world.function.heard == packets
    assert world.kernel.reads[OUT] == READS


def test_what_is_known_to_come_is_read_at_once() -> None:
    world = World()
    world.kernel.lengths.clear()
    world.coming = 50 * 512 + 10
    for _ in range(READS):
        world.host_sends(bytes(512))
        world.coming -= 512
    known = 50 - READS
    assert world.kernel.lengths == [BURST * 512, (known - BURST + 2) * 512, 512, 512]


def test_packets_of_a_slower_link_are_put_together_while_more_is_known_to_come() -> None:
    world = World(link_packet=64)
    world.coming = 512
    for _ in range(8):
        assert world.function.heard == []
        world.host_sends(bytes(64))
    assert world.function.heard == [bytes(512)]
    world.coming = 0
    world.host_sends(bytes(64))
    assert world.function.heard == [bytes(512), bytes(64)]


def test_a_request_takes_back_the_long_reads_for_it_may_have_ended_them() -> None:
    world = World()
    world.request("c0 5c 0000 0000 0040")
    assert world.kernel.cancelled == []
    world.coming = 64 << 10
    world.host_sends(bytes(512))
    world.request("c0 5c 0000 0000 0040")
    assert world.kernel.cancelled == [OUT]


# Halts


def test_a_halted_in_endpoint_is_halted_in_the_kernel_once_what_was_written_is_fetched() -> None:
    world = World()
    world.say(b"data")
    world.host_sends(b"stall IN")
    assert world.kernel.halted == []
    assert world.host_reads() == b"data"
    assert world.kernel.halted == [IN]


def test_what_is_said_after_a_halt_waits_in_the_kernel_for_the_host_to_clear_it() -> None:
    world = World()
    world.host_sends(b"stall IN")
    world.say(b"status")
    assert world.kernel.halted == [IN]
    assert world.kernel.written == [(IN, b"status")]


def test_a_halted_out_endpoint_is_halted_when_its_reads_have_been_taken_back() -> None:
    world = World()
    world.host_sends(b"refuse")
    assert world.kernel.cancelled == [OUT]
    assert world.kernel.halted == []
    for _ in range(world.kernel.reads[OUT]):
        world.kernel.reads[OUT] -= 1
        world.bridge.cancelled(OUT)
    assert world.kernel.halted == [OUT]
    assert world.kernel.reads[OUT] == READS


def test_a_wedged_endpoint_is_halted_again_until_it_is_released() -> None:
    world = World()
    world.host_sends(b"wedge IN")
    world.say(b"status")
    before = len(world.kernel.halted)
    world.host_sends(b"anything")
    assert len(world.kernel.halted) > before
    assert set(world.kernel.halted) == {IN}
    assert world.kernel.written == []
    before = len(world.kernel.halted)
    world.host_sends(b"release IN")
    assert world.kernel.written == [(IN, b"status")]
    assert len(world.kernel.halted) == before


def test_a_device_that_stalls_every_transfer_does_not_run_in_circles() -> None:
    inner = compose(IDENTITY, [Plain()])
    world = World(Faulty(inner, [Stall(endpoint=IN)]))
    world.bridge.finish(world.device.local(Say(b"lost")))
    assert world.kernel.halted
    assert world.kernel.written == []
