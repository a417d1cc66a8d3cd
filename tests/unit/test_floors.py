"""The floors of the house (docs/architecture.md) are a law: a module imports from its own floor or below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS: dict[str, int] = {
    "appliance": 0,
    "appliance.errors": 0,
    "appliance.explain": 0,
    "appliance.loop": 0,
    "gadgets": 0,
    "gadgets.usb": 1,
    "appliance.usbip": 1,
    "gadgets.hid": 2,
    "gadgets.storage": 2,
    "gadgets.serial": 2,
    "gadgets.testdevice": 2,
    "gadgets.faults": 2,
    "gadgets.replay": 2,
    "gadgets.definition": 3,
    "gadgets.udc": 4,
    "gadgets.testing": 5,
    "appliance.inventory": 2,
    "appliance.kernel": 2,
    "appliance.exports": 3,
    "appliance.security": 3,
    "appliance.sessions": 4,
    "appliance.testing": 5,
    "appliance.pair": 5,
    "appliance.api": 6,
    "appliance.config": 7,
    "appliance.daemon": 7,
    "appliance.cli": 7,
}

SANS_IO = ("asyncio", "socket", "select", "selectors", "time", "random", "os", "threading")
"""What a gadget may not touch: it is a deterministic state machine."""

SHELLS = (
    "gadgets.serial.companions",
    "gadgets.storage.media",
    "gadgets.udc",
    "gadgets.definition",
    "gadgets.testing",
)
"""The places beside the state machines, where gadgets meet the outside."""


def place_of(module: str) -> str | None:
    """The longest known place that `module` lies in."""
    parts = module.split(".")
    places = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((place for place in places if place in FLOORS), None)


def sources() -> list[Path]:
    return sorted(p for top in ("appliance", "gadgets") for p in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_a_module_imports_only_from_its_own_floor_or_below(path: Path) -> None:
    here = place_of(module_of(path))
    assert here, f"{path} stands on no floor: add its place to FLOORS and to docs/architecture.md"
    for name in imports(path):
        there = place_of(name)
        if there is None:
            continue
        assert FLOORS[there] <= FLOORS[here], f"{module_of(path)} (floor {FLOORS[here]}) imports {name}"
        if here.startswith("gadgets") and there.startswith("appliance"):
            assert there in ("appliance", "appliance.errors", "appliance.explain", "appliance.loop"), (
                f"{module_of(path)} imports {name}"
            )


@pytest.mark.parametrize(
    "path",
    [p for p in sources() if module_of(p).startswith("gadgets") and not module_of(p).startswith(SHELLS)],
    ids=module_of,
)
def test_gadgets_are_deterministic_and_sans_io(path: Path) -> None:
    touched = {name.split(".")[0] for name in imports(path)} & set(SANS_IO)
    assert not touched, f"{module_of(path)} imports {sorted(touched)}, which no gadget may"
