"""Frozen dataclasses and constructors ⇄ plain values: what TOML, JSON and a command line can say.

How a type is written, in the plain values that come in and go out:
    str, int, float, bool   as they are; an int also as "0x1209"
    bytes                   hex ("05 01"), or "text:hello" for the UTF-8 of a text; hex is what goes out
    Path                    a text; a relative one counts from `base`
    an Enum                 its name in lower case: Speed.SUPER_PLUS is "super_plus"
    tuple, list, Sequence   a list
    Mapping                 a table; int keys as "0x0409"
    a dataclass             a table of its fields; where it is one of several, tagged
    X | None                null, or X; a field with a default may be left out
    Annotated[int, Range(0, 255)]   a number within these bounds
    Annotated[str, Located(f)]      a text with a path in it, which `f` makes count from `base`

Tagged: the class's name in snake case is a key whose value is the first field, the other fields are keys
beside it: `TypeText("hello", "de")` is {"type_text": "hello", "layout": "de"}. The value `true` leaves
the first field at its default, or stands for no fields.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from appliance.errors import UsageError
from appliance.explain import BadKey, did_you_mean, shown

T = TypeVar("T")

REQUIRED: Any = inspect.Parameter.empty
TEXT = "text:"


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter of a constructor, one field of a dataclass. `default` REQUIRED: there is none."""

    name: str
    type: Any
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Range:
    """In `Annotated`: what a number may be."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Located:
    """In `Annotated`: how a value that may hold a relative path is made independent of the current folder."""

    locate: Callable[[Any, Path], Any]


Byte = Annotated[int, Range(0, 0xFF)]
Word = Annotated[int, Range(0, 0xFFFF)]


def from_plain(make: Callable[..., T], given: object, where: str = "", base: Path | None = None) -> T:
    """`make`, a dataclass or another class, called with the keys of `given` as its parameters. UsageError
    names `where`, the key, what is there and what may be."""
    try:
        return read(make, given, base)
    except BadKey as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def from_tagged(kinds: Iterable[type[T]], given: object, where: str = "", base: Path | None = None) -> T:
    """The one of the dataclasses `kinds` that is tagged in `given`. UsageError, like `from_plain`."""
    try:
        return read_tagged(tuple(kinds), given, base)
    except BadKey as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def to_plain(record: Any) -> dict[str, Any]:
    """The inverse of `from_plain` for a dataclass: a table of all its fields."""
    return {
        option.name: plain_value(option.type, getattr(record, option.name))
        for option in options(type(record))
    }


def to_tagged(record: Any) -> dict[str, Any]:
    """The inverse of `from_tagged`."""
    table = to_plain(record)
    first = next(iter(table), None)
    return {snake(type(record).__name__): True if first is None else table.pop(first), **table}


def snake(name: str) -> str:
    """TypeText → type_text, SetDTR → set_dtr."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def options(make: Callable[..., Any]) -> tuple[Option, ...]:
    """What `make` can be given: the fields of a dataclass, the named parameters of a constructor."""
    return _options(make)


@cache
def _options(make: Any) -> tuple[Option, ...]:
    if is_dataclass(make):
        hints = get_type_hints(make, include_extras=True)
        found = sorted(
            (field for field in fields(make) if field.init), key=lambda field: field.kw_only is True
        )
        return tuple(Option(field.name, hints[field.name], _default(field)) for field in found)
    hints = get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
    return tuple(
        Option(parameter.name, hints[parameter.name], parameter.default)
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    return REQUIRED if field.default_factory is MISSING else field.default_factory()


# Reading


def read(make: Callable[..., T], given: object, base: Path | None = None) -> T:
    """`from_plain` for who knows the place better: raises BadKey."""
    values = read_options(make, given, base)
    try:
        return make(**values)
    except UsageError as error:
        raise BadKey("", str(error)) from None


def read_options(make: Callable[..., object], given: object, base: Path | None = None) -> dict[str, Any]:
    """What `make` would be called with. Raises BadKey."""
    if not isinstance(given, Mapping):
        raise BadKey("", f"found {shown(given)}, wanted {_table(make)}")
    known = {option.name: option for option in options(make)}
    for name in given:
        if name not in known:
            raise BadKey(str(name), f"unknown key{did_you_mean(str(name), known)}")
    for name, option in known.items():
        if option.default is REQUIRED and name not in given:
            raise BadKey(name, f"is missing; wanted {wanted(option.type)}")
    return {name: _read_at(name, known[name].type, found, base) for name, found in given.items()}


def read_tagged(kinds: tuple[type[T], ...], given: object, base: Path | None = None) -> T:
    """`from_tagged`, raising BadKey."""
    known: dict[str, Any] = {snake(kind.__name__): kind for kind in kinds}
    if not isinstance(given, Mapping) or not given:
        raise BadKey("", f"found {shown(given)}, wanted a table with one of {', '.join(known)}")
    tag = next((name for name in given if name in known), None)
    if tag is None:
        name = str(next(iter(given)))
        raise BadKey(name, f"unknown{did_you_mean(name, known)}")
    table = {name: found for name, found in given.items() if name != tag}
    first = next(iter(options(known[tag])), None)
    if first is None and given[tag] is not True:
        raise BadKey(tag, f"found {shown(given[tag])}, wanted true")
    if first is not None and (given[tag] is not True or first.type is bool or first.default is REQUIRED):
        if first.name in table:
            raise BadKey(first.name, f"is what {tag} itself says; leave it out")
        table[first.name] = given[tag]
    found: T = read(known[tag], table, base)
    return found


def _read_at(name: str, kind: Any, found: object, base: Path | None) -> Any:
    try:
        return read_value(kind, found, base)
    except BadKey as error:
        if error.key:
            raise BadKey(f"{name}.{error.key}", error.problem) from None
        raise BadKey(name, error.problem) from None


def read_value(kind: Any, found: object, base: Path | None = None) -> Any:
    """`found` as a value of the type `kind`. Raises BadKey."""
    if kind in _SIMPLE:
        return _simple(kind, found)
    if kind in (Any, object):
        return _checked(found)
    if kind is Path:
        return (base or Path()) / _simple(str, found)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read_annotated(kind, found, base)
    if origin in (Union, UnionType):
        return _read_union(arguments, found, base)
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        words = _words(kind)
        if not isinstance(found, str | int) or found not in words:
            hint = did_you_mean(found, map(str, words)) if isinstance(found, str) else ""
            raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}{hint if 'mean' in hint else ''}")
        return words[found]
    if _is_record(kind):
        return read(kind, found, base)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _read_mapping(kind, found, base)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _read_list(kind, found, base)
    raise TypeError(f"{kind!r} is no type that plain values can say")


def _checked(found: Any) -> Any:
    """TOML has dates, which JSON has not."""
    inside = (
        found.values() if isinstance(found, Mapping) else found if isinstance(found, list | tuple) else ()
    )
    for each in inside:
        _checked(each)
    if not isinstance(found, Mapping | list | tuple | str | bytes | int | float | NoneType):
        raise BadKey("", f"found {shown(found)}, wanted a text, a number, true, false, a list or a table")
    return found


def _read_annotated(kind: Any, found: object, base: Path | None) -> Any:
    value = read_value(get_args(kind)[0], found, base)
    if not all(bounds.least <= value <= bounds.most for bounds in _bounds(kind)):
        raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}")
    for note in kind.__metadata__:
        if isinstance(note, Located) and base is not None:
            value = note.locate(value, base)
    return value


def _bounds(kind: Any) -> list[Range]:
    return [note for note in kind.__metadata__ if isinstance(note, Range)]


def _read_union(kinds: tuple[Any, ...], found: object, base: Path | None) -> Any:
    if found is None and NoneType in kinds:
        return None
    records = tuple(kind for kind in kinds if _is_record(kind))
    if records and isinstance(found, Mapping):
        return read(records[0], found, base) if len(records) == 1 else read_tagged(records, found, base)
    others = [kind for kind in kinds if kind is not NoneType and kind not in records]
    for kind in others:
        try:
            return read_value(kind, found, base)
        except BadKey as error:
            if len(others) == 1 and not records:
                raise
            if error.key:
                raise
    raise BadKey("", f"found {shown(found)}, wanted {wanted(Union[kinds])}")  # noqa: UP007


def _read_mapping(kind: Any, found: object, base: Path | None) -> Any:
    if not isinstance(found, Mapping):
        raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}")
    of_key, of_value = get_args(kind)
    return {
        _read_at(str(name), of_key, name, base): _read_at(str(name), of_value, value, base)
        for name, value in found.items()
    }


def _read_list(kind: Any, found: object, base: Path | None) -> Any:
    if not isinstance(found, list | tuple):
        raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}")
    arguments = get_args(kind)
    if get_origin(kind) is not tuple:
        return [read_value(arguments[0], item, base) for item in found]
    if arguments[-1] is Ellipsis:
        return tuple(read_value(arguments[0], item, base) for item in found)
    if len(found) != len(arguments):
        raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}")
    return tuple(read_value(of, item, base) for of, item in zip(arguments, found, strict=True))


def _bytes(found: str | bytes) -> bytes:
    if isinstance(found, bytes):
        return found
    return found.removeprefix(TEXT).encode() if found.startswith(TEXT) else bytes.fromhex(found)


def _simple(kind: type, found: Any) -> Any:
    accepts, convert, _ = _SIMPLE[kind]
    try:
        if type(found) in accepts:
            return convert(found)
    except ValueError:
        pass
    raise BadKey("", f"found {shown(found)}, wanted {wanted(kind)}")


def _whole(found: int | str) -> int:
    return int(found, 16) if isinstance(found, str) and found.lower().startswith("0x") else _no_text(found)


def _no_text(found: int | str) -> int:
    if isinstance(found, str):
        raise ValueError
    return found


def _finite(found: float) -> float:
    if not math.isfinite(found):
        raise ValueError
    return float(found)


_SIMPLE: dict[Any, tuple[tuple[type, ...], Callable[[Any], Any], str]] = {
    str: ((str,), str, "a text"),
    int: ((int, str), _whole, "a whole number"),
    float: ((int, float), _finite, "a number"),
    bool: ((bool,), bool, "true or false"),
    bytes: ((str, bytes), _bytes, 'bytes in hex ("05 01") or "text:…"'),
}  # fmt: skip


# Writing


def plain_value(kind: Any, value: Any) -> Any:
    """`value` of the type `kind` as a plain value."""
    if is_dataclass(value):
        among = [each for each in get_args(kind) if is_dataclass(each)]
        return to_tagged(value) if len(among) > 1 else to_plain(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        of_value = next((get_args(k)[1] for k in _alternatives(kind) if len(get_args(k)) == 2), object)
        return {hex(k) if isinstance(k, int) else k: plain_value(of_value, v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        of = next((get_args(k) for k in _alternatives(kind) if get_args(k)), (object, ...))
        kinds = of if len(of) == len(value) and of[-1] is not Ellipsis else (of[0],) * len(value)
        return [plain_value(each, item) for each, item in zip(kinds, value, strict=True)]
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


# Telling


def wanted(kind: Any) -> str:
    """What a value of this type looks like, for a sentence: "a whole number"."""
    if kind in _SIMPLE:
        return _SIMPLE[kind][2]
    if kind is Path:
        return "a path"
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        within = "".join(f" from {bounds.least} to {bounds.most}" for bounds in _bounds(kind))
        return wanted(arguments[0]) + within
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(wanted(each) for each in arguments if each is not NoneType))
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return "one of " + ", ".join(shown(word) for word in _words(kind))
    if _is_record(kind):
        return _table(kind)
    if not arguments:
        return "any value"
    if issubclass(get_origin(kind), Mapping):
        return f"a table of: {wanted(arguments[1])}"
    if get_origin(kind) is tuple and arguments[-1] is not Ellipsis:
        return "a list: " + ", ".join(wanted(each) for each in arguments)
    return f"a list of: {wanted(arguments[0])}"


def _table(make: Callable[..., Any]) -> str:
    names = ", ".join(option.name for option in options(make))
    return f"a table with {names}" if names else "an empty table"


def _is_record(kind: Any) -> bool:
    return is_dataclass(kind)


def _words(kind: Any) -> dict[Any, Any]:
    if get_origin(kind) is Literal:
        return {word: word for word in get_args(kind)}
    return {member.name.lower(): member for member in kind}
