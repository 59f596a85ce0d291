"""Secrets are taken out of output before it leaves the worker: `•••(NAME)` stands in their place.

Known forms are the value itself, base64 of it (at each of the three alignments), URL-encoded and JSON-escaped, and
each line of a value of several lines. What a program makes of a secret otherwise (reversed, hashed, cut up) is not
found: masking lowers the damage of an accident, it is no barrier against intent.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # a shorter value would blank out innocent text
_SHORTEST_LINE = 8


def forms(value: str) -> Iterator[bytes]:
    """The byte strings under which `value` is recognised."""
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) < _SHORTEST:
        return
    yield raw
    stripped = raw.strip(b"\r\n")
    if len(stripped) >= _SHORTEST:
        yield stripped
    for line in raw.splitlines():
        if len(line.strip()) >= _SHORTEST_LINE:
            yield line.strip()
    yield quote(raw, safe="").encode()
    yield quote(raw).encode()
    yield quote(raw, safe="/:@,-._~").encode()  # as `core.template.fill_url` does
    yield quote_plus(raw).encode()
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogateescape")
    if len(raw) >= 6:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield from _aligned(raw, encode)


def _aligned(raw: bytes, encode: "type[bytes] | object") -> Iterator[bytes]:
    """The part of base64 text that is the same whatever stands around `raw`, for each alignment."""
    assert callable(encode)
    for before in range(3):
        text = encode(b"\0" * before + raw)
        start = (0, 2, 3)[before]
        end = len(text.rstrip(b"=")) - (1 if (before + len(raw)) % 3 else 0)
        if end - start >= _SHORTEST:
            yield text[start:end]


class Masker:
    """Replaces the secrets in one stream, also where a secret is split between two reads."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {form: name for name, value in secrets.items() for form in forms(value)}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self._starts = longest_first
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of all data so far; the beginning of a possible secret is held back."""
        if self._pattern is None:
            return data
        data = self._held + data
        cut = self._safe_end(data)
        self._held = data[cut:]
        return self._mask(data[:cut])

    def finish(self) -> bytes:
        """What was held back, masked."""
        held, self._held = self._held, b""
        return self._mask(held)

    def whole(self, data: bytes) -> bytes:
        """`data` masked on its own, outside the stream."""
        return self._mask(data)

    def _mask(self, data: bytes) -> bytes:
        if self._pattern is None or not data:
            return data
        return self._pattern.sub(lambda match: f"•••({self._names[match[0]]})".encode(), data)

    def _safe_end(self, data: bytes) -> int:
        """The first position from which a form may begin that is not yet complete, never inside a complete one."""
        earliest = len(data)
        for form in self._starts:
            first = form[:1]
            position = data.find(first, max(0, len(data) - len(form) + 1), earliest)
            while position != -1:
                if form.startswith(data[position:]):
                    earliest = position
                    break
                position = data.find(first, position + 1, earliest)
        if earliest == len(data) or self._pattern is None:
            return earliest
        for match in self._pattern.finditer(data):  # from where the masking begins: a form may overlap itself
            if match.end() > earliest:
                return min(match.start(), earliest)
        return earliest
