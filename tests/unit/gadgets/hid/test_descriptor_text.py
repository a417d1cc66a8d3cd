"""Report descriptors as text and as bytes. HID 1.11 §6.2.2 and appendices B, E."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.errors import UsageError
from gadgets.hid.descriptor_text import to_bytes, to_text
from gadgets.hid.fido import Fido
from gadgets.hid.gamepad import Gamepad
from gadgets.hid.items import MAX_REPORT, Report, ReportKind, report_sizes
from gadgets.hid.keyboard import Keyboard
from gadgets.hid.media_keys import MediaKeys
from gadgets.hid.mouse import Mouse
from gadgets.hid.tablet import Tablet

BOOT_MOUSE = bytes.fromhex(
    "0501 0902 A101 0901 A100 0509 1901 2903 1500 2501 9503 7501 8102 9501 7505 8101"
    "0501 0930 0931 1581 257F 7508 9502 8106 C0 C0"
)
"""HID 1.11 appendix E.10."""
BOOT_MOUSE_TEXT = """\
Usage Page (Generic Desktop)
Usage (Mouse)
Collection (Application)
    Usage (Pointer)
    Collection (Physical)
        Usage Page (Button)
        Usage Minimum (0x01)
        Usage Maximum (0x03)
        Logical Minimum (0)
        Logical Maximum (1)
        Report Count (3)
        Report Size (1)
        Input (Data, Variable, Absolute)
        Report Count (1)
        Report Size (5)
        Input (Constant, Array, Absolute)
        Usage Page (Generic Desktop)
        Usage (X)
        Usage (Y)
        Logical Minimum (-127)
        Logical Maximum (127)
        Report Size (8)
        Report Count (2)
        Input (Data, Variable, Relative)
    End Collection
End Collection"""


def test_the_standards_example_reads_as_it_is_printed_there() -> None:
    assert to_text(BOOT_MOUSE) == BOOT_MOUSE_TEXT
    assert to_bytes(BOOT_MOUSE_TEXT) == BOOT_MOUSE


def test_plain_bytes_are_a_descriptor_too() -> None:
    assert to_bytes(BOOT_MOUSE.hex(" ")) == BOOT_MOUSE
    assert (
        to_bytes("0x05, 0x01,  // Usage Page (Generic Desktop)\n0x09,0x02 // Usage (Mouse)") == BOOT_MOUSE[:4]
    )


@pytest.mark.parametrize("kind", [Keyboard, Mouse, Tablet, Gamepad, MediaKeys, Fido])
def test_our_own_come_back(kind: type[Keyboard]) -> None:
    assert to_bytes(to_text(kind.report_descriptor)) == kind.report_descriptor


@given(st.binary(max_size=60))
@example(bytes.fromhex("16 00 00"))
@example(bytes.fromhex("fe 02 80 01 02"))
@example(bytes.fromhex("a4 05 01 b4 09 02"))
@example(bytes.fromhex("14 a1 c1 00 83 01 02 03 04"))
def test_every_descriptor_comes_back_byte_for_byte(descriptor: bytes) -> None:
    with contextlib.suppress(UsageError):
        assert to_bytes(to_text(descriptor)) == descriptor


@given(st.text(max_size=60) | st.lists(st.sampled_from(BOOT_MOUSE_TEXT.split()), max_size=9).map(" ".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        to_bytes(text)


@pytest.mark.parametrize(
    ("text", "descriptor"),
    [
        ("usage  page(generic desktop),usage ( mouse )", "0501 0902"),
        ("Usage Page (0xFF00)  # whose", "0600FF"),
        ("Logical Maximum (255), Logical Maximum (-1)", "26FF00 25FF"),
        ("Logical Minimum (0, 2 bytes)", "160000"),
        ("Unit Exponent (-2)", "550E"),
        ("Feature (Constant), Feature (0x1FF, 4 bytes)", "B101 B3FF010000"),
        ("Input (Cnst,Var,Abs), Input (Data,Arr,Rel)", "8103 8104"),
        ("Push, Usage Page (LED), Pop, Report ID (7)", "A4 0508 B4 8507"),
        ("Bytes (FC 01)", "FC01"),
    ],
)
def test_how_items_are_written(text: str, descriptor: str) -> None:
    assert to_bytes(text) == bytes.fromhex(descriptor)


def test_a_usage_is_looked_up_in_the_page_that_pop_brings_back() -> None:
    text = "Usage Page (Generic Desktop), Push, Usage Page (LED), Usage (Kana), Pop, Usage (X)"
    assert to_bytes(text) == bytes.fromhex("0501 A4 0508 0905 B4 0930")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Usge (1)", "no item 'Usge'; did you mean 'Usage'?"),
        ("Usage Page (Generic Desktop), Usage (Mose)", "did you mean 'Mouse'"),
        ("Input (Dta)", "there is no 'Dta'; did you mean 'Data'"),
        ("Collection (Aplication)", "did you mean 'Application'"),
        ("Usage", "a number always does"),
        ("Usage (1", "no item of a report descriptor"),
        ("Logical Maximum (300, 1 byte)", "300 does not fit"),
        ("Logical Maximum (99999999999)", "does not fit"),
        ("Bytes (1)", "no bytes in hexadecimal"),
        ("05 0", "no bytes in hexadecimal"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(").replace("?", r"\?")):
        to_bytes(text)


def test_a_descriptor_that_is_cut_off_has_no_text() -> None:
    with pytest.raises(UsageError, match="ends within the item at byte 2"):
        to_text(bytes.fromhex("0501 26FF"))


# Reports


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (BOOT_MOUSE_TEXT, {(1, 0): 3}),
        ("Report Size (1), Report Count (9), Input (Data)", {(1, 0): 2}),
        (
            "Report ID (1), Report Size (8), Report Count (2), Input (Data)"
            "\nReport ID (2), Input (Data), Feature (Data), Report ID (1), Input (Data)",
            {(1, 1): 5, (1, 2): 3, (3, 2): 3},
        ),
        ("Report Size (8), Report Count (1), Push, Report Count (5), Pop, Output (Data)", {(2, 0): 1}),
        ("Input (Data)", {}),
        ("", {}),
    ],
)
def test_the_sizes_of_reports_follow_from_the_descriptor(
    text: str, sizes: dict[tuple[int, int], int]
) -> None:
    expected = {Report(ReportKind(kind), number): size for (kind, number), size in sizes.items()}
    assert report_sizes(to_bytes(text)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Report ID (0)", "1 to 255, not 0"),
        ("Report ID (256)", "1 to 255, not 256"),
        ("Pop", "pops more"),
        ("Collection (Physical)", "does not end all"),
        ("End Collection", "has not begun"),
        ("Report Size (8), Report Count (1), Input (Data), Report ID (1), Input (Data)", "all need one"),
        (f"Report Size (8), Report Count ({MAX_REPORT + 1}), Input (Data)", "too large"),
        ("Report Size (0xFFFFFFFF), Report Count (0xFFFFFFFF), Input (Data)", "too large"),
    ],
)
def test_what_no_host_would_take_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        report_sizes(to_bytes(text))


@given(st.binary(max_size=60))
def test_any_bytes_have_sizes_or_are_refused(descriptor: bytes) -> None:
    with contextlib.suppress(UsageError):
        assert all(0 < size <= MAX_REPORT for size in report_sizes(descriptor).values())
