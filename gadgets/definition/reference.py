"""docs/gadget-reference.md: all kinds, options, inputs and faults, from the code that reads them.

python -m gadgets.definition.reference > docs/gadget-reference.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from typing import Any, get_args

from gadgets.definition.catalogue import FOLDER
from gadgets.definition.kinds import KINDS, class_of
from gadgets.definition.model import Definition, Pinned
from gadgets.definition.toml import APART
from gadgets.definition.writing import toml_of
from gadgets.faults.cable import Replug
from gadgets.faults.catalogue import FAULTS, AddFault, RemoveFault
from gadgets.faults.fault import Deed, Fault
from gadgets.usb.records import REQUIRED, Option, options, plain_value, snake, wanted

HEAD = """# Gadget reference

<!-- Written by `python -m gadgets.definition.reference > docs/gadget-reference.md`; do not edit. -->

What can be said in a gadget's TOML file, and what can be sent to it. How it hangs together is in
[gadgets.md](gadgets.md). A number may be written in hex, bytes are hex ("05 01") or `"text:hello"`, relative
paths count from the folder of the file.
"""

ABOUT = {
    "name": "What it is called, and exported as; without it, as its file is.",
    "vendor_id": "1209:0001 to 1209:0010 are for private tests (pid.codes).",
    "product_id": "",
    "manufacturer": 'A text, or one for each language: `{ 0x0409 = "Desk", 0x0407 = "Tisch" }`.',
    "product": "Likewise; without it, the gadget's name.",
    "serial": "Likewise.",
    "bcd_device": "Its release: 0x0123 is 1.23.",
    "device_class": "Class, subclass and protocol; without it, what the functions need.",
    "speed": "",
    "max_power_ma": "What it says it draws.",
    "self_powered": "",
    "remote_wakeup": "Whether it says it can wake its host.",
    "seed": "Of all chance in its faults: the same seed, the same faults.",
}
"""The keys of [gadget]."""


def page() -> str:
    parts = [HEAD, "## [gadget]\n", rows(gadget_keys(), ABOUT)]
    parts += ["## [[function]]\n", FUNCTION]
    for kind in KINDS:
        parts.append(of_kind(kind))
    parts += ["## [[fault]]\n", FAULT, listed(Fault.__doc__), "\n", rows(options(Fault))]
    parts.append(
        f"A fault that needs no transfer has one more key. {prose(Deed)}\n\n{rows(own(Deed, Fault))}"
    )
    for fault in FAULTS:
        parts.append(f"### {snake(fault.__name__)}\n\n{prose(fault)}\n")
        parts.append(rows(own(fault, Deed if issubclass(fault, Deed) else Fault)))
    parts += ["## Inputs of every gadget\n", *map(of_input, (AddFault, RemoveFault, Replug))]
    parts += ["## [pinned]\n", f"{prose(Pinned)} `twinhub gadget clone` writes it.\n", rows(options(Pinned))]
    parts += ["## The catalogue\n", catalogued()]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


LONGEST_DEFAULT = 60

FUNCTION = """One table for each, in the order of their interfaces. `kind` is one of these, or a class of your
own, `"file.py:Class"`. `label` is its name in the gadget, by which inputs reach it; without one, its kind's,
with a number from the second on. All other keys are the kind's options.
"""

FAULT = """`kind` is one of those below. All conditions that are given must hold; what fits them is a hit.
"""


def gadget_keys() -> list[Option]:
    return [option for option in options(Definition) if option.name not in APART]


def own(record: type, base: type) -> list[Option]:
    """The fields that the record does not share with its base."""
    shared = {option.name for option in options(base)}
    return [option for option in options(record) if option.name not in shared]


def of_kind(kind: str) -> str:
    found = class_of(kind)
    parts = [f'### "{kind}"\n', f"{prose(found)}\n", rows(options(found))]
    inside = [(option.name, record) for option in options(found) for record in records_in(option.type)]
    parts += [f"Of `{name}`: {prose(record)}\n\n{rows(options(record))}" for name, record in inside]
    parts += map(of_input, found.inputs)
    return "\n".join(part for part in parts if part)


def records_in(kind: Any) -> list[type]:
    """The dataclasses in a type such as tuple[Lun, ...]."""
    if is_dataclass(kind) and isinstance(kind, type):
        return [kind]
    return [record for argument in get_args(kind) for record in records_in(argument)]


def of_input(record: type) -> str:
    """`send NAME` and what may be beside it."""
    said = ", ".join(f"`{each.name}`{_mark(each)}" for each in options(record))
    return f"- input `{snake(record.__name__)}`{f' ({said})' if said else ''}: {prose(record)}"


def _mark(option: Option) -> str:
    return "" if option.default is REQUIRED else "?"


def rows(found: Iterable[Option], help_of: dict[str, str] | None = None) -> str:
    """A table of keys; empty without any."""
    lines = [f"| `{o.name}` | {_cell(wanted(o.type))} | {_default(o)} |" for o in found]
    if help_of is not None:
        lines = [f"{line} {help_of[o.name]} |" for line, o in zip(lines, gadget_keys(), strict=True)]
    if not lines:
        return ""
    more = help_of is not None
    head = ["| key | value | default |" + " meaning |" * more, "|---|---|---|" + "---|" * more]
    return "\n".join([*head, *lines]) + "\n"


def _default(option: Option) -> str:
    if option.default is REQUIRED:
        return "must be given"
    plain = plain_value(option.type, option.default)
    if plain in (None, "", [], {}):
        return ""
    said = toml_of(option.name, plain)
    return f"`{_cell(said)}`" if len(said) <= LONGEST_DEFAULT else "as below"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def prose(described: Callable[..., Any]) -> str:
    """Its docstring as one paragraph."""
    text = " ".join((inspect.getdoc(described) or "").split())
    for prefix in ("Input: ", "Event: "):
        text = text.removeprefix(prefix)
    return text[:1].upper() + text[1:]


def listed(docstring: str | None) -> str:
    """A docstring as it is laid out."""
    return f"```\n{inspect.cleandoc(docstring or '')}\n```"


def catalogued() -> str:
    """Each ready gadget with the comment that its file begins with."""
    return "\n".join(
        f"- `{path.stem}`: {path.read_text().splitlines()[0].removeprefix('# ')}"
        for path in sorted(FOLDER.glob("*.toml"))
    )


if __name__ == "__main__":
    sys.stdout.write(page())
