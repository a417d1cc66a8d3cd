"""Local inputs as plain values."""

from __future__ import annotations

import pytest

from appliance.errors import UsageError
from gadgets.hid.keyboard import Press, TypeText, keyboard
from gadgets.usb.device import To
from gadgets.usb.inputs import plain_input, read_input

KINDS = keyboard().inputs


@pytest.mark.parametrize(
    ("input", "plain"),
    [
        (Press(("a", "b")), {"press": ["a", "b"]}),
        (TypeText("hi", "de"), {"type_text": "hi", "layout": "de"}),
        (To("keyboard-2", Press(())), {"press": [], "function": "keyboard-2"}),
    ],
)
def test_an_input_becomes_plain_and_comes_back(input: object, plain: dict[str, object]) -> None:
    assert plain_input(input) == plain
    assert read_input(KINDS, plain) == input
    assert plain_input(plain) == plain
    assert read_input(KINDS, input) is input


@pytest.mark.parametrize("given", [None, {}, {"jump": 1}, {"press": 1}, {"press": [], "function": 2}])
def test_what_is_no_input_is_refused(given: object) -> None:
    with pytest.raises(UsageError):
        read_input(KINDS, given, "here")
