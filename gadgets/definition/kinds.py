"""Which class is behind a `kind`: those of the house by name, one's own by "file.py:Class"."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from appliance.errors import UsageError
from appliance.explain import BadKey, did_you_mean, shown
from gadgets.faults.catalogue import FAULTS, AnyFault
from gadgets.usb.function import Function
from gadgets.usb.records import read, snake

KINDS: dict[str, str] = {
    "keyboard": "gadgets.hid.keyboard:Keyboard",
    "mouse": "gadgets.hid.mouse:Mouse",
    "tablet": "gadgets.hid.tablet:Tablet",
    "gamepad": "gadgets.hid.gamepad:Gamepad",
    "media-keys": "gadgets.hid.media_keys:MediaKeys",
    "hid": "gadgets.hid.custom:Custom",
    "fido": "gadgets.hid.fido:Fido",
    "disk": "gadgets.storage.function:Disk",
    "serial": "gadgets.serial.acm:Serial",
    "source-sink": "gadgets.testdevice.sourcesink:SourceSink",
    "loopback": "gadgets.testdevice.loopback:Loopback",
    "raw": "gadgets.usb.raw:Raw",
    "winusb": "gadgets.usb.microsoft:WinUsb",
    "webusb": "gadgets.usb.webusb:WebUsb",
    "kernel:ncm": "gadgets.udc.kernel:Ncm",
    "kernel:ecm": "gadgets.udc.kernel:Ecm",
    "kernel:rndis": "gadgets.udc.kernel:Rndis",
    "kernel:acm": "gadgets.udc.kernel:Acm",
    "kernel:mass_storage": "gadgets.udc.kernel:MassStorage",
    "kernel:midi": "gadgets.udc.kernel:Midi",
    "kernel:uac1": "gadgets.udc.kernel:Uac1",
    "kernel:uac2": "gadgets.udc.kernel:Uac2",
    "kernel:uvc": "gadgets.udc.kernel:Uvc",
}


def class_of(kind: str, folder: Path = Path()) -> type[Function]:
    """The class; a file's name is relative to `folder`. Its code is run. Raises UsageError."""
    where, colon, name = KINDS.get(kind, kind).rpartition(":")
    if not colon or where == "kernel":
        raise UsageError(f'no such kind{did_you_mean(kind, KINDS)} (one of your own is "file.py:Class")')
    module = load_file(folder / where) if where.endswith(".py") else import_module(where)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, Function):
        classes = [each for each, value in vars(module).items() if _is_own(value, module)]
        raise UsageError(f"{where} has no Function class {name}{did_you_mean(name, classes)}")
    return found


def fault_from(table: Mapping[str, Any], folder: Path = Path()) -> AnyFault:
    """The fault that {"kind": "stall", "endpoint": 0x81} says. Raises BadKey."""
    kinds: dict[str, Any] = {snake(kind.__name__): kind for kind in FAULTS}
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadKey("kind", f"found {shown(kind)}{did_you_mean(str(kind), kinds)}")
    found: AnyFault = read(kinds[kind], {key: value for key, value in table.items() if key != "kind"}, folder)
    return found


def _is_own(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Function) and value.__module__ == module.__name__


def import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's module does when it is imported
        raise UsageError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def load_file(path: Path) -> ModuleType:
    """The module in this file; a changed file is another module. Raises UsageError, with the line."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    digest = sha256(source + str(path.resolve()).encode()).hexdigest()[:16]
    name = f"{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise UsageError(f"cannot load {path}")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with running(path):
            spec.loader.exec_module(module)
    except UsageError:
        del sys.modules[name]
        raise
    return module


@contextmanager
def running(path: Path) -> Iterator[None]:
    """Whatever the user's file does wrong when it is run is told with its line."""
    try:
        yield
    except Exception as error:
        raise UsageError(f"{path}, line {_line(error, path)}: {type(error).__name__}: {error}") from error


def _line(error: Exception, path: Path) -> int:
    """Where in the file it happened, or went on to where it happened."""
    if isinstance(error, SyntaxError):
        return error.lineno or 1
    line, frame = 1, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == str(path):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
