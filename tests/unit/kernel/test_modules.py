from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from appliance.errors import TwinhubError, Unavailable
from appliance.kernel import modules
from appliance.kernel.modules import ModuleState
from tests.unit.kernel.fakekernel import FakeKernel


def release_lists(kernel: FakeKernel, name: str, *lines: str) -> None:
    path = kernel.module_list(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def test_a_module_is_loaded_built_in_available_or_missing(kernel: FakeKernel) -> None:
    release_lists(kernel, "modules.builtin", "kernel/drivers/usb/core/usbcore.ko")
    release_lists(
        kernel,
        "modules.dep",
        "kernel/drivers/usb/usbip/vhci-hcd.ko.xz: kernel/drivers/usb/usbip/usbip-core.ko.xz",
    )
    assert modules.state(kernel, "usbip-host") is ModuleState.LOADED
    assert modules.state(kernel, "usbcore") is ModuleState.BUILTIN
    assert modules.state(kernel, "vhci-hcd") is ModuleState.AVAILABLE
    assert modules.state(kernel, "usbip-core") is ModuleState.MISSING


def test_what_is_loaded_is_not_loaded_again(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: pytest.fail("looked for modprobe"))
    modules.load_all(kernel, ["usbip-host"])


@pytest.mark.parametrize(
    ("os_release", "advice"),
    [
        ("ID=debian\n", "linux-image-amd64"),
        ('NAME="Ubuntu"\nID="ubuntu"\n', f"linux-modules-extra-{os.uname().release}"),
        ("ID=plan9\n", "CONFIG_USBIP_HOST"),
        ("", "CONFIG_USBIP_HOST"),
    ],
)
def test_a_missing_module_comes_with_advice_for_the_distribution(
    kernel: FakeKernel, os_release: str, advice: str
) -> None:
    (kernel.root / "etc").mkdir()
    (kernel.root / "etc/os-release").write_text(os_release)
    with pytest.raises(Unavailable, match=advice):
        modules.load(kernel, "vhci-hcd")


@pytest.mark.parametrize("script", ["echo 'no such device' >&2; exit 1", "exit 0"])
def test_modprobe_is_asked_and_its_complaint_passed_on(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    release_lists(kernel, "modules.dep", "kernel/drivers/usb/usbip/vhci-hcd.ko:")
    modprobe = tmp_path / "bin/modprobe"
    modprobe.parent.mkdir()
    modprobe.write_text(f'#!/bin/sh\n[ "$1" = vhci-hcd ] || exit 9\n{script}\n')
    modprobe.chmod(0o755)
    monkeypatch.setattr(modules, "MODPROBE_PATH", str(modprobe.parent))
    if script == "exit 0":
        modules.load(kernel, "vhci-hcd")
    else:
        with pytest.raises(TwinhubError, match="cannot load vhci-hcd: no such device"):
            modules.load(kernel, "vhci-hcd")


def test_without_modprobe_the_package_is_named(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    release_lists(kernel, "modules.dep", "kernel/drivers/usb/usbip/vhci-hcd.ko:")
    monkeypatch.setattr(modules, "MODPROBE_PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="kmod"):
        modules.load(kernel, "vhci-hcd")
