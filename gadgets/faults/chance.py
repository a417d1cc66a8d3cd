"""Numbers that look random and are a function: the n-th of a stream of a seed is always the same.

The finaliser is splitmix64's (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

_MASK: Final = (1 << 64) - 1
_GAMMA: Final = 0x9E3779B97F4A7C15
SCALE: Final = 1 << 64
"""All draws are below this."""


def draw(seed: int, stream: str, n: int) -> int:
    """Number `n` of 64 bits. Streams are independent of each other: what one draws moves no other."""
    return _mix(_mix(_mix(seed & _MASK) + crc32(stream.encode(errors="surrogatepass")) * _GAMMA) + n * _GAMMA)


def _mix(x: int) -> int:
    x &= _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31
