"""The reference for users is what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.errors import UsageError
from gadgets.definition import load, parse
from gadgets.definition.reference import ABOUT, gadget_keys, page

DOCS = Path(__file__).parents[4] / "docs"


def test_the_reference_is_up_to_date() -> None:
    assert (DOCS / "gadget-reference.md").read_text() == page(), (
        "run `python -m gadgets.definition.reference > docs/gadget-reference.md`"
    )


def test_every_key_of_a_gadget_has_its_line() -> None:
    assert list(ABOUT) == [option.name for option in gadget_keys()]


@pytest.mark.parametrize(
    "source", re.findall(r"```toml\n(.*?)```", (DOCS / "gadgets.md").read_text(), re.DOTALL)
)
def test_what_the_guide_shows_is_valid(source: str) -> None:
    parse(source, str(DOCS / "examples" / "guide.toml"))


def test_the_thermometer_is_a_gadget() -> None:
    with load(DOCS / "examples" / "thermometer.toml").build() as gadget:
        assert [function.label for function in gadget.functions] == ["thermometer", "winusb"]
        assert gadget.inputs()[0].name == "set_temperature"
        gadget.device.local(gadget.input({"set_temperature": 20}))
        before = gadget.device.snapshot()
        with pytest.raises(UsageError, match="not 400"):
            gadget.device.local(gadget.input({"set_temperature": 400}))
        assert gadget.device.snapshot() == before
