"""The pytest plugin's `attached`: a test on a machine drives a gadget that the machine's own kernel uses."""

from __future__ import annotations

import sys

from tests.lab.machine import Machine

PYTEST = f"{sys.executable} -m pytest -c /dev/null -p no:cacheprovider -rs"


def test_a_test_types_and_sees_the_lights_of_this_machines_kernel(pair: tuple[Machine, Machine]) -> None:
    _, client = pair
    done = client.run(f"{PYTEST} docs/examples/test_typing.py", timeout=120)
    assert "1 passed" in done.stdout
    assert client.run("cat /sys/devices/platform/vhci_hcd.0/status").stdout.count(" 006 ") == 0


def test_where_there_is_no_vhci_hcd_it_is_skipped_and_says_why(pair: tuple[Machine, Machine]) -> None:
    _, client = pair
    done = client.run(
        f"rmmod vhci_hcd || true; mount -t tmpfs none /lib/modules; {PYTEST} docs/examples/test_typing.py;"
        " umount /lib/modules",
        timeout=120,
    )
    assert (
        "cannot attach a gadget to this machine's kernel: this kernel has no module vhci-hcd" in done.stdout
    )
