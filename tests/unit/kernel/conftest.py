from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.kernel.fakekernel import FakeKernel


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """A machine with usbip-host loaded and one device, 1-1, with its own driver."""
    fake = FakeKernel(tmp_path)
    fake.load("usbip-host")
    fake.plug("1-1")
    return fake
