"""Which gadget a test means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from appliance.errors import UsageError
from gadgets.definition import Definition, Gadget, load, parse
from gadgets.definition.catalogue import ready
from gadgets.faults.faulty import Faulty
from gadgets.usb.compose import Identity, compose
from gadgets.usb.function import Function

Makeable = str | Path | Definition | Function


def make(what: Sequence[Makeable], changes: Mapping[str, object], folder: Path) -> Gadget:
    """A gadget of what was said; files are looked for in `folder`. Raises a TwinhubError."""
    functions = [each for each in what if isinstance(each, Function)]
    if functions and len(functions) == len(what):
        bare = compose(Identity(0x1209, 0x0001, "Twinhub", "Gadget"), functions)
        return Gadget(Definition("gadget"), Faulty(bare), bare)
    if len(what) != 1 or functions:
        raise UsageError("say one definition, by name, file, text or value; or one or several functions")
    definition = meant(what[0], folder)
    try:
        return replace(definition, **changes).build()  # type: ignore[arg-type]  # a test may say what it likes
    except TypeError as error:
        raise UsageError(f"{definition.name}: {error}") from None


def meant(what: object, folder: Path) -> Definition:
    if isinstance(what, Definition):
        return what
    if isinstance(what, Path) or (isinstance(what, str) and what.endswith((".toml", ".py"))):
        return load(folder / what)
    if isinstance(what, str):
        return parse(what, str(folder / "gadget.toml")) if "[[" in what else ready(what)
    raise UsageError(f"cannot make a gadget of {what!r}")
