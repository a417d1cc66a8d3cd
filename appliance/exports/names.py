"""Export names: what clients ask for and store, so they outlive replugs, restarts and a change of port.

1. A name has at most 31 bytes of [A-Za-z0-9._:-], begins with a letter or digit, and is unique.
2. It never looks like a kernel busid, which clients may use as an alias.
3. Gadgets have their names first, then what the operator chose, then what is made of a device's own strings.
4. A device keeps its name while it is plugged in, and finds it again by its identity; only an operator's
   choice may take the name of a device that is absent.
5. Of two that want one name the first by identity gets it, the other gets it with a digest of its own
   identity behind it: the same devices have the same names, in whatever order they were found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

LONGEST = 31
"""The wire's busid[32] less its NUL."""
DIGITS = 8
"""Of a digest in a name."""
WANTED = (
    f"a name of at most {LONGEST} characters of A-Z a-z 0-9 . _ : - that begins with a letter or digit"
    " and does not look like a busid"
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)
_BUSID = re.compile(r"usb[0-9]{1,3}|[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}", re.ASCII)
_FOREIGN = re.compile(r"[^a-z0-9]+", re.ASCII)
_LONGEST_SERIAL = 16


@dataclass(frozen=True)
class Claim:
    """One device that needs a name."""

    identity: str
    """Unique among the claims."""
    proposed: str
    chosen: str | None = None
    """By the operator."""
    held: str | None = None
    """The name it has now."""


def is_name(text: str) -> bool:
    return len(text) <= LONGEST and bool(_NAME.fullmatch(text)) and not is_busid(text)


def is_busid(text: str) -> bool:
    """A device ("1-1.2") or a root hub ("usb1"), as the kernel names it."""
    return bool(_BUSID.fullmatch(text))


def propose(product: str | None, ids: str, serial: str | None) -> str:
    """A readable name: the product, else its `ids` ("0403:6001"), and the serial number if there is one."""
    slug = _FOREIGN.sub("-", (product or "").lower()).strip("-")
    base = slug if re.search("[a-z]", slug) and not is_busid(slug) else ids
    if not serial:
        return base[:LONGEST].rstrip("-")
    plain = len(serial) <= _LONGEST_SERIAL and _NAME.fullmatch(serial)
    return _joined(base, serial if plain else _digest(serial))


def assign(
    claims: Iterable[Claim], remembered: Mapping[str, str], taken: Iterable[str] = ()
) -> dict[str, str]:
    """Identity → name for every claim, to be `remembered` the next time; `taken`: the names of gadgets."""
    used, reserved = set(taken), set(remembered.values())
    names: dict[str, str] = {}

    def rank(claim: Claim) -> tuple[bool, bool, bool, str]:
        return not claim.chosen, not claim.held, claim.identity not in remembered, claim.identity

    for claim in sorted(claims, key=rank):
        old = claim.held or remembered.get(claim.identity)
        keeps = old and (not claim.chosen or old in (claim.chosen, _joined(claim.chosen, old[-DIGITS:])))
        wanted = old if old and keeps else claim.chosen or claim.proposed
        avoided = used if keeps or claim.chosen else used | reserved
        names[claim.identity] = next(name for name in _variants(claim, wanted) if name not in avoided)
        used.add(names[claim.identity])
    return names


def _variants(claim: Claim, wanted: str) -> Iterator[str]:
    yield wanted
    yield _joined(wanted, _digest(claim.identity))
    yield from (_joined(wanted, _digest(f"{claim.identity}#{n}")) for n in count())


def _joined(base: str, tail: str) -> str:
    """`base-tail`, with `base` cut so that it fits."""
    return f"{base[: LONGEST - 1 - len(tail)].rstrip('-.:_')}-{tail}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
