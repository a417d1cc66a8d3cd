"""How two appliances that do not know each other exchange certificates, by a short code read off a screen.

SPAKE2 (PyPI `spake2`) makes of the code a key that only those two have who know it. Who listens learns none,
who stands between them has one guess a run, and three wrong ones end the code. The key then proves that
certificate, name and port come from the other one.

    dialler                                 listener, who shows the code
      {share, oldest, newest, software} →
                                        ←   {share, …}
      {about, proof}                    →   a wrong proof counts
                                        ←   {about, proof}

The dialler proves first: a stranger who dials learns nothing before it has paid with a guess. Both proofs
cover everything said before. The listener pins first; if its last line is lost, only one of them is paired,
and 'twinhub unpair' there mends it. Sans-IO; `enrolling.py` is the shell.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from appliance import __version__
from appliance.errors import PeerError, ProtocolError, Refused, UsageError, revive
from appliance.pair.hello import NEWEST, OLDEST, Hello, agree
from appliance.security.sibling import Sibling, parse_sibling

Message = dict[str, Any]

DIGITS: Final = 8
TRIES: Final = 3
SECONDS: Final = 300.0
HOW: Final = "run 'twinhub pair' there for a new one"


@dataclass(frozen=True, slots=True)
class About:
    """What an appliance tells the other of itself; where it is, the other sees."""

    certificate: str
    name: str
    port: int

    def to_json(self) -> Message:
        return {"certificate": self.certificate, "name": self.name, "port": self.port}


def new_code() -> str:
    """As people read it: 1234-5678."""
    number = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
    return f"{number[:4]}-{number[4:]}"


def digits_of(code: str) -> bytes:
    """UsageError unless it could be one; how it is grouped does not matter."""
    digits = code.replace("-", "").replace(" ", "")
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        raise UsageError(
            f"a code has {DIGITS} digits, such as 1234-5678; 'twinhub pair' on the other appliance shows it"
        )
    return digits.encode()


@dataclass(slots=True)
class Code:
    """One that is shown: for one appliance, for five minutes, for three tries."""

    clock: Callable[[], float]
    text: str = field(default_factory=new_code)
    tries: int = TRIES
    used: bool = False
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = self.clock() + SECONDS

    def check(self) -> None:
        """Refused unless it still holds."""
        if self.used:
            raise Refused("the code has been used; it is for one appliance")
        if self.tries <= 0:
            raise Refused(f"the code was wrong {TRIES} times and holds no longer; {HOW}")
        if self.clock() >= self.until:
            raise Refused(f"the code is older than {SECONDS / 60:.0f} minutes and holds no longer; {HOW}")


class Run:
    """What both sides have in common: the transcript, the key and the proofs."""

    side: type[SPAKE2_A] | type[SPAKE2_B]

    def __init__(self, code: bytes, about: About) -> None:
        self._about = about
        self._pake = self.side(code, idA=b"twinhub pair dialler", idB=b"twinhub pair listener")
        self._said: list[Message] = []

    def _opening(self) -> Message:
        ours = {"oldest": OLDEST, "newest": NEWEST, "software": __version__}
        return self._note({"share": self._pake.start().hex(), **ours})

    def _finish(self, theirs: Message) -> None:
        """Makes the key of the other's opening, or nonsense if the codes differ."""
        check_versions(theirs)
        try:
            self._key = self._pake.finish(bytes.fromhex(field_of(theirs, "share", str)))
        except (SPAKEError, ValueError, AssertionError):
            raise ProtocolError("the other appliance's first word makes no sense") from None

    def _prove(self, whose: str) -> Message:
        about = self._about.to_json()
        return self._note({"about": about, "proof": self._proof(whose, about)})

    def _proof(self, whose: str, about: Message) -> str:
        said = json.dumps([whose, self._said, about], sort_keys=True).encode()
        return hmac.new(self._key, said, sha256).hexdigest()

    def _is_proven(self, whose: str, told: Message) -> bool:
        about, proof = field_of(told, "about", dict), field_of(told, "proof", str)
        return hmac.compare_digest(proof.encode(), self._proof(whose, about).encode())

    def _note(self, message: Message) -> Message:
        self._said.append(message)
        return message


class Dialler(Run):
    side = SPAKE2_A

    def open(self) -> Message:
        return self._opening()

    def prove(self, opening: Message) -> Message:
        """Raises what the listener refused with, if it did."""
        self._finish(self._note(accepted(opening)))
        return self._prove("dialler")

    def conclude(self, answer: Message, host: str, port: int) -> Sibling:
        """The listener, at `host` and `port`. Refused for one that does not know the code."""
        if not self._is_proven("listener", accepted(answer)):
            raise Refused(f"{host} does not know the code: somebody may stand between the two appliances")
        return sibling_of(answer["about"] | {"port": port}, host, self._about)


class Listener(Run):
    side = SPAKE2_B

    def __init__(self, code: Code, about: About) -> None:
        """Refused if the code holds no longer."""
        code.check()
        self._code = code
        super().__init__(digits_of(code.text), about)

    def open(self, opening: Message) -> Message:
        self._note(opening)
        answer = self._opening()
        self._finish(opening)
        return answer

    def conclude(self, told: Message, host: str) -> tuple[Message, Sibling]:
        """The last answer, and the dialler, who came from `host`. Refused, and counted, for a wrong code."""
        self._code.check()
        if not self._is_proven("dialler", told):
            self._code.tries -= 1
            left = self._code.tries
            again = f"{left} more {'try' if left == 1 else 'tries'}" if left else f"it holds no longer; {HOW}"
            raise Refused(f"the code is wrong: {again}")
        sibling = sibling_of(told["about"], host, self._about)
        self._note(told)
        self._code.used = True
        return self._prove("listener"), sibling


def sibling_of(about: Message, host: str, ours: About) -> Sibling:
    if about.get("certificate") == ours.certificate:
        raise UsageError(
            "both appliances have the same key: one is a copy of the other's disk, or they are one."
            " Stop the daemon of the copy, empty its state directory, and start it again"
        )
    try:
        return parse_sibling({**about, "host": host})
    except UsageError as error:
        raise ProtocolError(f"the other appliance says of itself what cannot be: {error}") from None


def accepted(answer: Message) -> Message:
    if "error" in answer:
        raise revive({key: str(value) for key, value in answer.items()})
    return answer


def check_versions(theirs: Message) -> None:
    """UsageError if the two do not understand each other."""
    spoken = [field_of(theirs, key, int) for key in ("oldest", "newest")]
    software = field_of(theirs, "software", str)
    try:
        agree(Hello("", "", "", __version__), Hello("", "the other appliance", "", software[:64], *spoken))
    except PeerError as error:
        raise UsageError(str(error)) from None


def field_of(said: Message, key: str, kind: type[Any]) -> Any:
    if type(said.get(key)) is not kind:
        raise ProtocolError(f"the other appliance left out a proper {key!r}")
    return said[key]
