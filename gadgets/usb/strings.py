"""String descriptors, in one or several languages. USB 2.0 §9.6.7."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.shape import DescriptorType, with_header

ENGLISH_US = 0x0409
GERMAN = 0x0407
FRENCH = 0x040C

Text = str | Mapping[int, str]
"""A string in English, or in several languages: LANGID → string."""


def emit_string(text: str) -> bytes:
    """Raises UsageError for more than 126 UTF-16 units."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) > 252:
        raise UsageError(f"the string {text[:20]!r}… has {len(encoded) // 2} characters; 126 is the most")
    return with_header(DescriptorType.STRING, encoded)


def parse_string(data: bytes) -> str:
    """Broken UTF-16 comes out as U+FFFD. Raises ProtocolError for what is no string descriptor."""
    if len(data) < 2 or data[1] != DescriptorType.STRING or not 2 <= data[0] <= len(data):
        raise ProtocolError(f"not a string descriptor: {data[:8].hex()}")
    return data[2 : data[0]].decode("utf-16-le", "replace")


def emit_languages(languages: list[int]) -> bytes:
    """String descriptor 0: the LANGIDs there are."""
    return with_header(DescriptorType.STRING, b"".join(code.to_bytes(2, "little") for code in languages))


def parse_languages(data: bytes) -> list[int]:
    """The inverse of `emit_languages`. Raises ProtocolError."""
    if len(data) < 2 or data[1] != DescriptorType.STRING or not 2 <= data[0] <= len(data):
        raise ProtocolError(f"not a string descriptor: {data[:8].hex()}")
    return [int.from_bytes(data[at : at + 2], "little") for at in range(2, data[0] - 1, 2)]


class Strings:
    """The strings of one device, numbered from 1 in the order they were added."""

    def __init__(self, *texts: Text) -> None:
        self._texts: list[Mapping[int, str]] = []
        for text in texts:
            self.add(text)

    @classmethod
    def numbered(cls, texts: Mapping[int, Text]) -> Strings:
        """With these indexes, from 1 on; what lies between them is no string."""
        strings = cls()
        for index in range(1, max(texts, default=0) + 1):
            text = texts.get(index, {})
            strings._texts.append({ENGLISH_US: text} if isinstance(text, str) else dict(text))
        return strings

    def add(self, text: Text) -> int:
        """Its index; 0 (no string) for an empty one. The same text again has the same index."""
        if not text:
            return 0
        entry = {ENGLISH_US: text} if isinstance(text, str) else dict(text)
        if entry not in self._texts:
            self._texts.append(entry)
        if len(self._texts) > 255:
            raise UsageError("a device has at most 255 strings")
        return self._texts.index(entry) + 1

    def text(self, index: int, language: int | None = None) -> str:
        """In `language`, or in the first one it has; empty where there is none."""
        if not 0 < index <= len(self._texts):
            return ""
        entry = self._texts[index - 1]
        return entry.get(language, "") if language is not None else next(iter(entry.values()), "")

    @property
    def languages(self) -> list[int]:
        return list(dict.fromkeys(code for entry in self._texts for code in entry))

    def descriptors(self) -> dict[tuple[int, int], bytes]:
        """(index, LANGID) → string descriptor; (0, 0) is the list of languages. Nothing when there are none.

        A language that lacks a string gives its first one, for a host that asks in its own language only.
        """
        if not self._texts:
            return {}
        found = {(0, 0): emit_languages(self.languages)}
        for index, entry in enumerate(self._texts, 1):
            for code in self.languages if entry else ():
                found[index, code] = emit_string(entry.get(code, next(iter(entry.values()))))
        return found
