"""usb.ids: vendors, products, classes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from appliance.inventory.names import MAX_LINE, Names, load, parse

SAMPLE = """\
# List of USB ID's
0403  Future Technology Devices International, Ltd
\t6001  FT232 Serial (UART) IC
\t\t00  an interface, which we do not need
0627  Adomax Technology Co., Ltd
\t0001  QEMU Tablet

C 03  Human Interface Device
\t01  Boot Interface Subclass
\t\t01  Keyboard
C 08  Mass Storage
AT 0100  USB Undefined
HID 21  HID
L 0001  Arabic
\t01  Saudi Arabia
"""


def test_vendors_products_and_classes_have_names() -> None:
    names = parse(SAMPLE.splitlines(keepends=True))
    assert names == Names(
        vendors={
            0x0403: "Future Technology Devices International, Ltd",
            0x0627: "Adomax Technology Co., Ltd",
        },
        products={(0x0403, 0x6001): "FT232 Serial (UART) IC", (0x0627, 0x0001): "QEMU Tablet"},
        classes={0x03: "Human Interface Device", 0x08: "Mass Storage"},
    )


def test_what_is_below_a_class_or_another_section_is_no_product() -> None:
    assert set(parse(SAMPLE.splitlines()).products) == {(0x0403, 0x6001), (0x0627, 0x0001)}


def test_a_name_is_bounded() -> None:
    assert len(parse(["0001  " + "x" * 10_000]).vendors[1]) < MAX_LINE


def test_without_the_database_there_are_just_no_names(tmp_path: Path) -> None:
    assert load(str(tmp_path)) == Names()


def test_the_database_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    place = tmp_path / "usr/share/misc/usb.ids"
    place.parent.mkdir(parents=True)
    place.write_bytes(SAMPLE.encode() + b"fff0  bad \xff utf-8\n")
    names = load(str(tmp_path))
    assert names.vendors[0x0627] == "Adomax Technology Co., Ltd"
    assert names.vendors[0xFFF0] == "bad � utf-8"


LINES = st.from_regex(r"(\t{0,3}|C |AT )[0-9a-fg]{0,5} {0,3}[^\n]{0,5}\n?", fullmatch=True) | st.text()


@given(st.lists(LINES))
def test_any_text_is_read_without_a_crash(lines: list[str]) -> None:
    names = parse(lines)
    assert all(0 <= vendor <= 0xFFFF for vendor in names.vendors)
    assert {vendor for vendor, _ in names.products} <= set(names.vendors)
