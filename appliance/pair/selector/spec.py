"""How a selector is written: KIND:PLACE[,OPTION=VALUE…]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import UsageError
from appliance.explain import did_you_mean
from appliance.pair.selector import keys


@dataclass(frozen=True, slots=True)
class Kind:
    """What may follow `KIND:`, and the module whose `open_spec` makes a selector of it."""

    module: str
    example: str
    options: tuple[str, ...] = ()


KINDS: Final[dict[str, Kind]] = {
    "witness": Kind("witness.client", "witness:10.0.0.9:3243", ("key", "group")),
    "arbiter": Kind("arbiter.driver", "arbiter:/dev/ttyACM0", ("key",)),
    "gpio": Kind("gpio", "gpio:/dev/gpiochip0:17,side=1,oe=27", ("side", "oe", "sense", "pause")),
    "flexconnect": Kind("flexconnect", "flexconnect:1-1.5,value=0x8041", ("value",)),
    "portpower": Kind("portpower", "portpower:1-1:1,2", ()),
    "command": Kind("command", "command:/usr/local/bin/select-hub", ("timeout", "group")),
}


@dataclass(frozen=True, slots=True)
class Spec:
    text: str
    kind: str
    place: str
    options: Mapping[str, str]
    group: str
    """the group whose register is meant, where a selector holds several"""

    def wrong(self, why: str) -> UsageError:
        return UsageError(f"selector {self.text!r}: {why}; an example is {KINDS[self.kind].example}")

    def number(self, option: str, text: str | None, least: int, most: int) -> int:
        """The whole number that `text` says, decimal or 0x…. Raises UsageError."""
        try:
            number = int(text or "", 0)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise self.wrong(f"wanted {option} to be a number from {least} to {most}, found {text!r}")
        return number

    def optional_number(self, option: str, least: int, most: int) -> int | None:
        text = self.options.get(option)
        return None if text is None else self.number(option, text, least, most)

    def key(self) -> bytes:
        return keys.read_key(Path(self.options.get("key", keys.DEFAULT)))


def parse_spec(text: str, group: str = "default") -> Spec:
    """Raises UsageError."""
    kind, colon, rest = text.partition(":")
    if kind not in KINDS:
        raise UsageError(f"selector {text!r}: there is no {kind!r}{did_you_mean(kind, KINDS)}")
    place, *written = re.split(r",(?=[a-z]+=)", rest)
    options = dict(word.split("=", 1) for word in written)
    spec = Spec(text, kind, place, options, options.get("group", group))
    if not (colon and place):
        raise spec.wrong("it does not say where")
    for option in options:
        if option not in KINDS[kind].options:
            raise spec.wrong(f"there is no option {option!r}{did_you_mean(option, KINDS[kind].options)}")
    return spec


ADDRESS: Final = re.compile(r"(\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s:\[\]]+))(:(?P<port>[0-9]{1,5}))?")


def host_and_port(text: str, default: int) -> tuple[str, int]:
    """Of HOST, HOST:PORT or [V6]:PORT. Raises UsageError."""
    found = ADDRESS.fullmatch(text)
    port = int(found["port"] or default) if found else -1
    if not found or not 0 <= port < 65536:
        raise UsageError(f"{text!r} is no HOST:PORT, such as 10.0.0.9:{default} or [fe80::1]:{default}")
    return found["v6"] or found["host"], port
