"""The pytest plugin's half that needs no kernel: the fixture `gadget`.

def test_it(gadget):
    thermometer = gadget("thermometer.toml")
    thermometer.send(set_temperature=21.5)
    assert read_temperature(thermometer.usb) == 21.5
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:  # pytest loads every plugin there is; what a test does not use should cost it nothing
    from gadgets.testing.making import Makeable
    from gadgets.testing.rig import InProcess


class MakeGadget(Protocol):
    def __call__(self, *what: Makeable, **changes: object) -> InProcess: ...


@pytest.fixture
def gadget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeGadget]:
    """`gadget("keyboard")`: a new gadget, attached to a host in this process.

    What can be said is a name of the catalogue, a .toml or .py file beside the test, TOML text, a Definition,
    or functions. Fields of the definition may be changed: `gadget("disk.toml", seed=3, faults=[{…}])`. From
    the first gadget on, and until the test ends, `usb.core.find()` finds the gadgets and nothing else.
    """
    from gadgets.testing.making import make
    from gadgets.testing.rig import InProcess

    with ExitStack() as stack:
        rigs: list[InProcess] = []

        def made(*what: Makeable, **changes: object) -> InProcess:
            rig = InProcess(stack.enter_context(make(what, changes, request.path.parent)))
            rigs.append(rig)
            if len(rigs) == 1:
                found_by_pyusb(rigs, monkeypatch)
            return rig

        yield made


def found_by_pyusb(rigs: list[InProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    from usb.backend import libusb1

    from gadgets.testing.pyusb import Backend

    monkeypatch.setattr(libusb1, "get_backend", lambda *_, **__: Backend([rig.host for rig in rigs]))
