"""The bytes of USB/IP, against samples written down by hand and against themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, UsageError
from appliance.usbip import wire
from appliance.usbip.wire import DeviceRecord, InterfaceRecord, RetSubmit, RetUnlink, Submit, Unlink
from gadgets.usb.urb import IsoPacket, Speed
from tests.unit.usbip.doubles import KEYBOARD

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
s32 = st.integers(-(2**31), 2**31 - 1)
ascii_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=31)
records = st.builds(
    DeviceRecord,
    path=ascii_text, busid=ascii_text, busnum=u32, devnum=u32,
    speed=st.sampled_from([s for s in Speed if s is not Speed.SUPER_PLUS]),
    vendor_id=u16, product_id=u16, bcd_device=u16, device_class=u8, subclass=u8, protocol=u8,
    configuration_value=u8, num_configurations=u8,
    interfaces=st.lists(st.builds(InterfaceRecord, u8, u8, u8), max_size=32).map(tuple),
)  # fmt: skip


def test_a_device_record_is_the_312_bytes_of_usbipd() -> None:
    packed = KEYBOARD.pack()
    assert len(packed) == 312
    assert packed[:256] == b"/sys/devices/pci0000:00/0000:00:01.0/usb1/1-1".ljust(256, b"\0")
    assert packed[256:288] == b"keyboard".ljust(32, b"\0")
    assert packed[288:] == bytes.fromhex("00000001 00000002 00000002 0627 0001 0100 00 00 00 01 01 01")


def test_an_interface_record_ends_in_a_zero_byte() -> None:
    assert InterfaceRecord(3, 1, 2).pack() == b"\x03\x01\x02\x00"


@given(records)
def test_a_device_record_survives_the_wire_save_its_interfaces(record: DeviceRecord) -> None:
    again, num_interfaces = wire.unpack_device(record.pack())
    assert again == replace(record, interfaces=())
    assert num_interfaces == len(record.interfaces)


@given(st.binary(min_size=312, max_size=312))
def test_any_312_bytes_are_a_record_safe_to_print_or_a_protocol_error(data: bytes) -> None:
    try:
        record, _ = wire.unpack_device(data)
    except ProtocolError:
        return
    assert (record.path + record.busid).isprintable()


def test_speed_0_of_an_old_usbipd_means_faster_than_it_knows() -> None:
    packed = bytearray(KEYBOARD.pack())
    packed[296:300] = bytes(4)
    assert wire.unpack_device(bytes(packed))[0].speed is Speed.SUPER


def test_devid_is_busnum_and_devnum() -> None:
    assert KEYBOARD.devid == 0x0001_0002


@pytest.mark.parametrize("name", ["", "a" * 32, "ä" * 16])
def test_a_name_that_does_not_fit_31_bytes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="1 to 31 bytes"):
        wire.pack_name(name)


def test_a_path_that_does_not_fit_is_cut_as_usbipd_does() -> None:
    assert replace(KEYBOARD, path="x" * 300).pack()[:256] == b"x" * 255 + b"\0"


def test_strings_of_strangers_cannot_steer_a_terminal() -> None:
    assert (
        wire.unpack_text(b"a\x1b[2Jb\xff\0secret")
        == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}"
    )


def test_cmd_submit_is_the_kernels_48_bytes() -> None:
    get_descriptor = bytes.fromhex("8006000100001200")
    submit = Submit(7, 0x10002, 1, 0, 0x200, 18, 0, -1, 0, get_descriptor)
    assert submit.pack() == bytes.fromhex(
        "00000001 00000007 00010002 00000001 00000000"
        "00000200 00000012 00000000 ffffffff 00000000 8006000100001200"
    )


def test_cmd_unlink_is_the_kernels_48_bytes() -> None:
    expected = bytes.fromhex("00000002 00000008 00010002 00000000 00000000 fffffffe") + bytes(24)
    assert Unlink(8, 0x10002, 0xFFFFFFFE).pack() == expected


def test_ret_submit_and_ret_unlink_are_the_kernels_48_bytes() -> None:
    assert RetSubmit(7, -32, 0, 0, -1, 0).pack() == bytes.fromhex(
        "00000003 00000007 00000000 00000000 00000000 ffffffe0 00000000 00000000 ffffffff 00000000"
    ) + bytes(8)
    assert RetUnlink(8, -104).pack() == bytes.fromhex(
        "00000004 00000008 00000000 00000000 00000000 ffffff98"
    ) + bytes(24)


submits = st.builds(
    Submit, u32, u32, st.integers(0, 1), st.integers(0, 15), u32, st.integers(0, wire.MAX_TRANSFER), s32,
    st.integers(-1, wire.MAX_ISO_PACKETS), s32, st.binary(min_size=8, max_size=8),
)  # fmt: skip
unlinks = st.builds(Unlink, u32, u32, u32)
replies = st.builds(RetUnlink, u32, s32) | st.builds(
    RetSubmit, u32, s32, st.integers(0, wire.MAX_TRANSFER), s32, st.integers(-1, wire.MAX_ISO_PACKETS), s32
)


@given(submits | unlinks)
def test_commands_survive_the_wire(command: Submit | Unlink) -> None:
    assert wire.unpack_command(command.pack()) == command


@given(replies)
def test_replies_survive_the_wire(reply: RetSubmit | RetUnlink) -> None:
    assert wire.unpack_reply(reply.pack()) == reply


@given(st.binary(min_size=48, max_size=48), st.integers(0, 5))
def test_any_48_bytes_are_a_message_within_the_bounds_or_a_protocol_error(data: bytes, command: int) -> None:
    data = command.to_bytes(4, "big") + data[4:]
    for unpack in (wire.unpack_command, wire.unpack_reply):
        try:
            message = unpack(data)
        except ProtocolError:
            continue
        assert max(getattr(message, "length", 0), getattr(message, "actual_length", 0)) <= wire.MAX_TRANSFER
        assert getattr(message, "packets", 0) <= wire.MAX_ISO_PACKETS


@given(st.lists(st.tuples(st.integers(0, 1000), s32), max_size=50))
def test_isochronous_packets_survive_the_wire(lengths_and_status: list[tuple[int, int]]) -> None:
    packets, offset = [], 0
    for length, status in lengths_and_status:
        packets.append(IsoPacket(offset, length, length // 2, status))
        offset += length
    assert list(wire.unpack_iso(wire.pack_iso(packets), offset)) == packets


@pytest.mark.parametrize(
    "packets",
    [(IsoPacket(90, 20),), (IsoPacket(0, 60), IsoPacket(0, 60)), (IsoPacket(0xFFFFFFFF, 0xFFFFFFFF),)],
    ids=["beyond the end", "overlapping", "wrapping around"],
)
def test_isochronous_packets_outside_their_transfer_are_a_protocol_error(
    packets: tuple[IsoPacket, ...],
) -> None:
    with pytest.raises(ProtocolError, match="outside its transfer of 100 bytes"):
        wire.unpack_iso(wire.pack_iso(packets), 100)
