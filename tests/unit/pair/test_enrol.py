"""Two appliances that share but a short code end up with each other's certificate, or with nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError, Refused, TwinhubError, UsageError, describe
from appliance.pair.enrol import SECONDS, About, Code, Dialler, Listener, Message, digits_of, new_code
from appliance.security.identity import identity_in

Change = Callable[[Message], Message]


@pytest.fixture(scope="module")
def abouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[About, About]:
    place = tmp_path_factory.mktemp("identities")

    def about(name: str, port: int) -> About:
        return About(identity_in(place / name).certificate, name, port)

    return about("attic", 3242), about("cellar", 3999)


@pytest.fixture
def code() -> Code:
    return Code(lambda: 0.0)


def same(message: Message) -> Message:
    return message


def run(
    code: Code, typed: str, abouts: tuple[About, About], there: Change = same, back: Change = same
) -> tuple[Any, Any]:
    """What the dialler and the listener learn; `there` and `back` stand between them."""
    dialler, listener = Dialler(digits_of(typed), abouts[1]), Listener(code, abouts[0])

    def carried(message: Message, change: Change) -> Message:
        return change(dict(json.loads(json.dumps(message))))

    opening = listener.open(carried(dialler.open(), there))
    told = carried(dialler.prove(carried(opening, back)), there)
    try:
        last, of_listener = listener.conclude(told, "192.0.2.2")
    except TwinhubError as error:
        dialler.conclude(describe(error), "192.0.2.1", 3242)
        raise
    return dialler.conclude(carried(last, back), "192.0.2.1", 3242), of_listener


def test_who_knows_the_code_learns_who_the_other_is(code: Code, abouts: tuple[About, About]) -> None:
    attic, cellar = run(code, code.text, abouts)
    assert (attic.name, attic.certificate, attic.host, attic.port) == (
        "attic", abouts[0].certificate, "192.0.2.1", 3242,
    )  # fmt: skip
    assert (cellar.name, cellar.certificate, cellar.host, cellar.port) == (
        "cellar", abouts[1].certificate, "192.0.2.2", 3999,
    )  # fmt: skip


def test_three_wrong_codes_end_it(code: Code, abouts: tuple[About, About]) -> None:
    wrong = "0000-0000" if code.text != "0000-0000" else "0000-0001"
    for left in ("2 more tries", "1 more try", "holds no longer"):
        with pytest.raises(Refused, match=f"code is wrong: .*{left}"):
            run(code, wrong, abouts)
    with pytest.raises(Refused, match="wrong 3 times"):
        run(code, code.text, abouts)


def test_runs_side_by_side_have_no_more_tries(code: Code, abouts: tuple[About, About]) -> None:
    listeners = [Listener(code, abouts[0]) for _ in range(5)]
    for listener in listeners:
        listener.open(Dialler(b"00000000", abouts[1]).open())
    refusals = []
    for listener in listeners:
        with pytest.raises(Refused) as refusal:
            listener.conclude({"about": abouts[1].to_json(), "proof": "0"}, "192.0.2.2")
        refusals.append("the code is wrong: " in str(refusal.value))
    assert refusals == [True, True, True, False, False]


def test_a_code_is_for_one_appliance(code: Code, abouts: tuple[About, About]) -> None:
    run(code, code.text, abouts)
    with pytest.raises(Refused, match="has been used"):
        run(code, code.text, abouts)


def test_a_code_gets_old(abouts: tuple[About, About]) -> None:
    now = [0.0]
    code = Code(lambda: now[0])
    now[0] = SECONDS
    with pytest.raises(Refused, match="older than 5 minutes"):
        run(code, code.text, abouts)


@pytest.mark.parametrize("way", ["there", "back"])
def test_who_stands_between_cannot_put_a_certificate_in(
    code: Code, abouts: tuple[About, About], tmp_path: Path, way: str
) -> None:
    other = identity_in(tmp_path).certificate

    def change(message: Message) -> Message:
        return (
            {**message, "about": {**message["about"], "certificate": other}}
            if "about" in message
            else message
        )

    with pytest.raises(
        Refused, match="the code is wrong" if way == "there" else "somebody may stand between"
    ):
        run(code, code.text, abouts, **{way: change})


@pytest.mark.parametrize("key", ["name", "port"])
def test_nor_change_anything_else(code: Code, abouts: tuple[About, About], key: str) -> None:
    def change(message: Message) -> Message:
        return {**message, "about": {**message["about"], key: 1}} if "about" in message else message

    with pytest.raises(Refused):
        run(code, code.text, abouts, there=change)


def test_nor_make_them_speak_an_older_version(code: Code, abouts: tuple[About, About]) -> None:
    with pytest.raises(Refused, match="the code is wrong"):
        run(code, code.text, abouts, there=lambda said: {**said, "oldest": 0} if "share" in said else said)


def test_versions_that_do_not_understand_each_other_are_named(
    code: Code, abouts: tuple[About, About]
) -> None:
    newer = {"oldest": 7, "newest": 9, "software": "3.0"}
    with pytest.raises(UsageError, match=r"runs Twinhub 3\.0, which does not understand this one"):
        run(code, code.text, abouts, there=lambda said: said | newer if "share" in said else said)


def test_a_copy_of_an_appliance_is_told_apart(code: Code, abouts: tuple[About, About]) -> None:
    attic = abouts[0]
    with pytest.raises(UsageError, match="copy of the other's disk"):
        run(code, code.text, (attic, replace(attic, name="copy")))


def test_a_code_has_eight_digits_however_they_are_typed() -> None:
    assert len(digits_of(new_code())) == 8
    assert digits_of("1234 5678") == digits_of("12345678") == b"12345678"
    for wrong in ("", "1234", "1234-567x", "１２３４５６７８"):
        with pytest.raises(UsageError, match="8 digits"):
            digits_of(wrong)


words = st.dictionaries(
    st.sampled_from(["share", "oldest", "newest", "software", "about", "proof", "error"]),
    st.none() | st.text() | st.integers() | st.just({}) | st.just("42" + "00" * 32) | st.just({"name": 1}),
)


@settings(max_examples=30, deadline=None)
@given(words, words)
def test_strangers_get_an_answer_in_words_whatever_they_say(first: Message, second: Message) -> None:
    code = Code(lambda: 0.0)
    listener = Listener(code, About("-", "attic", 1))
    dialler = Dialler(b"12345678", About("-", "cellar", 1))
    dialler.open()
    for answer, conclude in (
        (listener.open, lambda: listener.conclude(second, "192.0.2.2")),
        (dialler.prove, lambda: dialler.conclude(second, "192.0.2.1", 1)),
    ):
        try:
            answer(first)
        except TwinhubError:
            continue
        with pytest.raises(TwinhubError):
            conclude()
    assert not code.used


def test_a_listener_is_not_fooled_by_its_own_words(code: Code, abouts: tuple[About, About]) -> None:
    listener = Listener(code, abouts[0])
    other = Listener(code, abouts[0])
    opening = other.open(Dialler(b"12345678", abouts[1]).open())
    with pytest.raises(ProtocolError, match="makes no sense"):
        listener.open(opening)
