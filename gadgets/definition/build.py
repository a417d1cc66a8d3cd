"""A definition becomes a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from appliance.errors import TwinhubError, UsageError
from appliance.explain import BadKey
from gadgets.definition.gadget import Gadget
from gadgets.definition.kinds import class_of, fault_from
from gadgets.definition.model import Definition, Part
from gadgets.definition.pinned import pinned_device
from gadgets.faults.faulty import Faulty
from gadgets.usb.compose import Identity, compose, label
from gadgets.usb.device import GadgetDevice
from gadgets.usb.function import Function
from gadgets.usb.records import read


def build(definition: Definition) -> Gadget:
    """A new device. Raises a TwinhubError that names the function or fault that cannot be made."""
    with functions_of(definition) as functions:
        faults = []
        for number, plain in enumerate(definition.faults, 1):
            with named(f"{definition.name}, fault {number}"):
                faults.append(fault_from(plain, definition.folder))
        with named(definition.name):
            bare = device_of(definition, functions)
            return Gadget(definition, Faulty(bare, faults, definition.seed), bare)


@contextmanager
def functions_of(definition: Definition) -> Iterator[tuple[Function, ...]]:
    """With labels. They are closed if what is done with them fails."""
    with ExitStack() as failed:
        functions = []
        for number, part in enumerate(definition.functions, 1):
            with named(f"{definition.name}, function {number} ({part.kind})"):
                functions.append(function_of(part, definition))
                failed.callback(functions[-1].close)
        with named(definition.name):
            label(functions, [name_of(part) for part in definition.functions])
        yield tuple(functions)
        failed.pop_all()


@contextmanager
def named(where: str) -> Iterator[None]:
    """What goes wrong is told with `where`."""
    try:
        yield
    except BadKey as error:
        raise UsageError(f"{where}: {error}") from None
    except TwinhubError as error:
        raise type(error)(f"{where}: {error}") from error


def function_of(part: Part, definition: Definition) -> Function:
    function = read(class_of(part.kind, definition.folder), part.options, definition.folder)
    function.label = part.label
    return function


def name_of(part: Part) -> str:
    """What a function without a label is called: "disk"; "meter" if its kind is "meter.py:Meter"."""
    return part.kind.rpartition(":")[2].lower()


def device_of(definition: Definition, functions: Sequence[Function]) -> GadgetDevice:
    """Without faults."""
    if definition.pinned:
        behind = [part.interfaces for part in definition.functions]
        return pinned_device(definition.pinned, definition.speed, list(zip(functions, behind, strict=True)))
    identity = Identity(
        definition.vendor_id,
        definition.product_id,
        definition.manufacturer,
        definition.product or definition.name,
        definition.serial,
        definition.bcd_device,
        definition.device_class,
    )
    return compose(
        identity,
        functions,
        speed=definition.speed,
        self_powered=definition.self_powered,
        remote_wakeup=definition.remote_wakeup,
        max_power_ma=definition.max_power_ma,
    )
