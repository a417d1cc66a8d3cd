"""The pytest plugin's half for real kernels: the fixture `attached`.

def test_it(attached):
    keyboard = attached("keyboard")
    keyboard.send(type_text="hello")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from appliance.testing.attached import Attached
    from gadgets.testing.making import Makeable


class AttachGadget(Protocol):
    def __call__(self, *what: Makeable, **changes: object) -> Attached: ...


@pytest.fixture
def attached(request: pytest.FixtureRequest) -> Iterator[AttachGadget]:
    """`attached("keyboard")`: like `gadget`, but the host is this machine's own kernel, and its drivers are.

    Skips the test, and says why, where that cannot be: it takes root, and the module vhci_hcd.
    """
    from appliance.errors import NotPermitted, Unavailable
    from appliance.testing.attached import Attached
    from gadgets.testing.making import make

    with ExitStack() as stack:

        def made(*what: Makeable, **changes: object) -> Attached:
            gadget = stack.enter_context(make(what, changes, request.path.parent))
            try:
                rig = Attached(gadget)
            except (NotPermitted, Unavailable) as error:
                pytest.skip(f"cannot attach a gadget to this machine's kernel: {error}")
            stack.callback(rig.host.close)
            return rig

        yield made
