"""What needs no daemon: repeating a recording, and writing down what an attached device is."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from appliance.errors import UsageError
from appliance.exports.definitions import resolve
from appliance.exports.names import is_busid
from gadgets.definition.clone import clone
from gadgets.definition.sysfs import read_captured
from gadgets.definition.writing import to_toml
from gadgets.replay.player import Report, replay
from gadgets.replay.recording import Recording
from gadgets.usb.records import to_plain

DEVICES: Final = Path("/sys/bus/usb/devices")


def replay_file(path: Path, definition: Mapping[str, Any] | None) -> Report:
    """Of the recording's own definition, or of another with the same descriptors."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is empty") from None
    recording = Recording(memoryview(data))
    given = definition or recording.definition
    if not given:
        raise UsageError("the recording does not say of which gadget it is; name it by --definition")
    with resolve(given).build() as gadget:
        return replay(recording, gadget.device)


def clone_of(busid: str, name: str) -> tuple[dict[str, Any], str]:
    """The definition of what is attached there, as plain values and as TOML."""
    if not is_busid(busid):
        raise UsageError(f"{busid!r} is no busid; `twinhub devices` prints them")
    definition = clone(read_captured(DEVICES / busid), name)
    return to_plain(definition), to_toml(definition)
