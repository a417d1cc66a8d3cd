"""Hostile inputs: noise, or something valid with a few things done to it. All drawn from a `Random`."""

from __future__ import annotations

from random import Random

NUMBERS = tuple(
    value.to_bytes(4, "big")
    for value in (
        0, 1, 0x7F, 0x80, 0xFF, 0x3FF, 0x400, 0x401, 0xFFFF, 1 << 24, (1 << 24) + 1, 1 << 31, (1 << 32) - 1
    )
)  # fmt: skip
"""At the edges of what a field may hold."""
JSON_WORDS = (
    b"null", b"true", b"-1", b"0.5", b"1e999", b"NaN", b"9" * 5000, b'""', b"[]", b"{}", b"[" * 3000,
    b'"\\ud800"', b'"\\u0000"', b'{"op":', b'"', b",", b":", b"}", b"\n", b"\xff",
)  # fmt: skip


def invent(random: Random, valid: tuple[bytes, ...], words: tuple[bytes, ...] = ()) -> bytes:
    """`words`, if the input has any, are what a mutation may put in the place of something else."""
    if random.random() < 0.1:
        return random.randbytes(random.randrange(400))
    data = bytearray(random.choice(valid))
    for _ in range(random.randrange(5)):
        if words and random.random() < 0.5:
            replace(random, data, random.choice(words))
        else:
            random.choice(MUTATIONS)(random, data)
    return bytes(data)


def replace(random: Random, data: bytearray, word: bytes) -> None:
    at = random.randrange(len(data) + 1)
    data[at : at + random.randrange(12)] = word


def flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def number(random: Random, data: bytearray) -> None:
    at = random.randrange(0, len(data) + 1, 4)
    data[at : at + 4] = random.choice(NUMBERS)


def cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def drop(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data) + 1)
    del data[at : at + random.randrange(1, 9)]


def double(random: Random, data: bytearray) -> None:
    data += data[random.randrange(len(data) + 1) :]


MUTATIONS = (flip, number, cut, drop, double)
