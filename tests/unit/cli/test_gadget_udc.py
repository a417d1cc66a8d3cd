"""`gadget run --udc`: lines of standard input are local inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.cli.gadget_udc import LONGEST_LINE, InputLines
from appliance.errors import UsageError
from appliance.loop import Loop
from gadgets.definition import Definition, Gadget, Part


class Presented:
    """Hears inputs."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.gadget: Gadget = Definition("desk", functions=(Part("keyboard"),)).build()
        self.heard: list[Any] = []

    def local_plain(self, given: Any) -> None:
        self.heard.append(given)
        self.gadget.input(given)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, self.writer = os.pipe()
        self.stdin = os.fdopen(reader)
        monkeypatch.setattr("sys.stdin", self.stdin)
        self.presented = Presented()
        self.lines = InputLines(self.presented)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)
        self.lines.on_ready(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    os.close(world.writer)
    world.stdin.close()
    world.presented.loop.close()


def test_a_line_is_an_input_in_words_or_in_json(world: World) -> None:
    world.write(b'type_text=\'Hello you\' layout=de\n\n{"press": ["a"]}\n')
    assert world.presented.heard == [{"type_text": "Hello you", "layout": "de"}, {"press": ["a"]}]


def test_a_line_may_come_in_pieces(world: World) -> None:
    world.write(b"type_text=")
    assert world.presented.heard == []
    world.write(b"a\n")
    assert world.presented.heard == [{"type_text": "a"}]


def test_a_wrong_line_is_told_and_the_next_one_counts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(b"typetext=a\ntype_text='a\ntype_text=b\n")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "typetext" in told[0]
    assert world.presented.heard[-1] == {"type_text": "b"}


def test_a_line_without_end_is_refused(world: World) -> None:
    for _ in range(LONGEST_LINE // 4096):
        world.write(b"x" * 4096)
    with pytest.raises(UsageError, match="a line of input has at most"):
        world.write(b"x")
