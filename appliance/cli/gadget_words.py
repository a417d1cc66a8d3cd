"""Inputs as an operator writes them; gadgets, and what they tell, as people read them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from appliance.cli.text import safe
from appliance.errors import PeerError, UsageError

Json = dict[str, Any]

LIST, AS_IT_IS = "a list of: ", ("a text", "a path", "bytes")
"""How `gadgets.usb.records.wanted` begins."""


def input_of(words: list[str], portrait: Mapping[str, Any]) -> Json:
    """`type_text=hello layout=de`, or the JSON object that this is short for."""
    if words == ["-"]:
        words = [sys.stdin.read()]
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            return dict(json.loads(words[0]))
        except ValueError as error:
            raise UsageError(f"this is not JSON: {error}") from None
    given: Json = {}
    for word in words:
        key, equals, text = word.partition("=")
        given[key] = value_of(text, wanted_of(key, words[0], portrait)) if equals else True
    return given


def wanted_of(key: str, first: str, portrait: Mapping[str, Any]) -> str:
    """What the field `key` of the input that the `first` word names has to be, in words."""
    inputs = {each["name"]: each["fields"] for each in portrait.get("inputs", ())}
    name = first.partition("=")[0]
    fields = inputs.get(name, [])
    if key == name and fields:
        return str(fields[0]["wanted"])
    return next((str(field["wanted"]) for field in fields if field["name"] == key), "a text")


def value_of(text: str, wanted: str) -> Any:
    """A number, a switch or a table in JSON; "a,b" where a list is wanted; all else stays the text it is."""
    if wanted.startswith(LIST) and not text.startswith("["):
        return [value_of(item, wanted.removeprefix(LIST)) for item in text.split(",")]
    if wanted.startswith(AS_IT_IS):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def to_the_end(told: Iterable[Json]) -> Iterator[Json]:
    """PeerError if the gadget's end is not among the events: then it is the daemon that is gone."""
    for event in told:
        yield event
        if event["event"] == "end":
            return
    raise PeerError("the daemon has ended, or was restarted")


def event_text(event: Json) -> str:
    """12:00:01  keyboard  leds caps_lock=true."""
    if event["event"] == "end":
        return f"ended: {safe(str(event['reason']))}"
    if event["event"] == "lost":
        return f"(too fast to be told: {event['count']} events)"
    time = datetime.fromtimestamp(event["time"]).astimezone().strftime("%H:%M:%S")
    fields = " ".join(f"{key}={value_text(value)}" for key, value in event["fields"].items())
    return safe(f"{time}  {event['function'] or 'device'}  {event['kind']} {fields}".rstrip())


def value_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def ids_of(portrait: Mapping[str, Any] | None) -> str | None:
    return f"{portrait['vendor_id']:04x}:{portrait['product_id']:04x}" if portrait else None


def functions_text(definition: Mapping[str, Any]) -> str:
    return ", ".join(part["kind"] for part in definition["functions"])


def gadget_text(told: Json) -> str:
    portrait = told["portrait"]
    lines = [f"{told['name']}: {told['problem'] or 'runs'}, {told['source']}"]
    if told["session"]:
        lines.append(f"  in use by session {told['session']}")
    if portrait:
        said = (ids_of(portrait), *(portrait[key] for key in ("manufacturer", "product", "serial")))
        lines.append(f"  {' '.join(filter(None, said))}, {portrait['speed']} speed")
        lines += [f"  {each['label']}  {each['kind']}" for each in portrait["functions"]]
        for label, companions in told["companions"].items():
            lines += [f"  {label}  {facts(each)}" for each in companions]
        lines += [f"  fault  {facts(each)}" for each in told["faults"]]
        lines += ["  takes:", *(f"    {input_text(each)}" for each in portrait["inputs"])]
        lines += ["  descriptors:", f"    {portrait['descriptors']['device']}"]
        lines += [f"    {each}" for each in portrait["descriptors"]["configurations"]]
    return "".join(f"{safe(line)}\n" for line in lines)


def facts(stats: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value_text(value)}" for key, value in stats.items() if value != "")


def input_text(told: Mapping[str, Any]) -> str:
    """type_text=a text [layout=a text], or eject[=a whole number]."""
    first, *others = told["fields"] or [None]
    words = [told["name"]]
    if first:
        words[0] += f"[={first['wanted']}]" if first["optional"] else f"={first['wanted']}"
    words += (
        f"[{f['name']}={f['wanted']}]" if f["optional"] else f"{f['name']}={f['wanted']}" for f in others
    )
    return " ".join(words)
