"""Which endpoints exist, by descriptors and what the host selected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sessions.endpoints import Selection, active, scan, urb_interval
from gadgets.usb.urb import Speed, TransferType
from tests.unit.sessions.pdus import DESCRIPTORS


def addresses(selection: Selection) -> list[int]:
    return [endpoint.address for endpoint in active(scan(DESCRIPTORS), selection)]


@pytest.mark.parametrize(
    ("selection", "exist"),
    [
        (Selection(), []),
        (Selection(1), [0x81, 0x02, 0x83, 0x04]),
        (Selection(1, ((1, 1),)), [0x81, 0x02, 0x83, 0x04, 0x85, 0x06]),
        (Selection(1, ((0, 3),)), []),
        (Selection(2), []),
    ],
)
def test_the_endpoints_of_the_selected_settings_exist(selection: Selection, exist: list[int]) -> None:
    assert addresses(selection) == exist


def test_an_endpoint_has_the_type_of_its_descriptor() -> None:
    kinds = {endpoint.address: endpoint.type for endpoint in scan(DESCRIPTORS)}
    assert kinds[0x81] == TransferType.BULK
    assert kinds[0x83] == TransferType.INTERRUPT
    assert kinds[0x85] == TransferType.ISOCHRONOUS


@given(st.binary(max_size=200), st.integers(0, len(DESCRIPTORS)))
def test_broken_descriptors_never_fail(noise: bytes, cut: int) -> None:
    found = scan(DESCRIPTORS[:cut] + noise)
    assert found[: len(scan(DESCRIPTORS[:cut]))] == scan(DESCRIPTORS[:cut])


@pytest.mark.parametrize(
    ("setup", "then"),
    [
        ("0009010000000000", Selection(1)),
        ("0009000000000000", Selection(0)),
        ("010b020004000000", Selection(3, ((1, 1), (4, 2)))),
        ("010b050001000000", Selection(3, ((1, 5),))),
        ("010b000001000000", Selection(3)),
        ("8006000100001200", Selection(3, ((1, 1),))),
        ("2109010000000000", Selection(3, ((1, 1),))),
    ],
    ids=["configure", "unconfigure", "another interface", "another setting", "setting 0", "a read", "class"],
)
def test_a_request_selects(setup: str, then: Selection) -> None:
    assert Selection(3, ((1, 1),)).after(bytes.fromhex(setup)) == then


@pytest.mark.parametrize(
    ("kind", "interval", "speed", "expected"),
    [
        (TransferType.INTERRUPT, 10, Speed.FULL, 10),
        (TransferType.INTERRUPT, 0, Speed.LOW, 1),
        (TransferType.INTERRUPT, 4, Speed.HIGH, 8),
        (TransferType.INTERRUPT, 255, Speed.SUPER, 1 << 15),
        (TransferType.ISOCHRONOUS, 1, Speed.FULL, 1),
        (TransferType.ISOCHRONOUS, 4, Speed.FULL, 8),
    ],
)
def test_an_urbs_interval_is_in_frames_or_microframes(
    kind: TransferType, interval: int, speed: Speed, expected: int
) -> None:
    assert urb_interval(kind, interval, speed) == expected
