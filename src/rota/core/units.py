"""Durations and sizes as people write them: `30s`, `1h30m`, `10MiB`, `20%`, and back.

Durations are seconds (float, whole milliseconds), sizes are bytes (int), percentages are fractions. A bare number
is refused, because nobody can tell whether 30 means seconds or minutes; the error says what to write instead.
"""

import re
from typing import Final

from rota.core.errors import Invalid

MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
BYTES: Final = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
LONGEST_TEXT: Final = 64

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_PART: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([A-Za-z]+)", re.ASCII)
_PERCENT: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?%", re.ASCII)

_OTHER_NAMES: Final = {
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
    "k": "KiB",
    "kb": "KiB",
    "kib": "KiB",
    "m": "MiB",
    "mb": "MiB",
    "mib": "MiB",
    "g": "GiB",
    "gb": "GiB",
    "gib": "GiB",
    "b": "B",
}


class BadUnit(Invalid):
    """A duration, size or percentage that cannot be read."""

    code = "BAD_UNIT"


def parse_duration(text: str) -> float:
    """Return the seconds of `30s`, `1h30m`, `1.5h`, `500ms`; raise BadUnit."""
    return _parts(text, MILLISECONDS, "duration", "30s, 5m, 2h or 1d") / 1000


def parse_size(text: str) -> int:
    """Return the bytes of `64KiB`, `10MiB`, `1.5GiB`, `2MB`; raise BadUnit."""
    return _parts(text, BYTES, "size", "64KiB, 10MiB or 2GiB")


def parse_percent(text: str) -> float:
    """Return the fraction of `20%`, at most 1.0; raise BadUnit."""
    text = text.strip()
    match = _PERCENT.fullmatch(text)
    if match is None:
        fix = f"write {text}%" if _NUMBER.fullmatch(text) else "write a percentage such as 20%"
        raise BadUnit(f'"{_short(text)}" is not a percentage', hint=fix)
    fraction = float(match[1]) / 100
    if fraction > 1:
        raise BadUnit(f'"{_short(text)}" is more than 100%', hint="write 0% to 100%")
    return fraction


def format_duration(seconds: float) -> str:
    """Write `seconds` in the shortest exact form that `parse_duration` reads: 5400 → `90m`."""
    total = round(seconds * 1000)
    for unit in ("w", "d", "h", "m", "s", "ms"):
        whole, rest = divmod(total, MILLISECONDS[unit])
        if rest == 0 and whole and (unit != "w" or whole > 3):
            return f"{whole}{unit}"
    return "0s"


def format_rough(seconds: float) -> str:
    """Write `seconds` with its two leading units, for reading only: 5025 → `1h 23m`."""
    total = round(seconds * 1000)
    if total < 1000:
        return f"{total}ms"
    words: list[str] = []
    for unit in ("d", "h", "m", "s"):
        whole, total = divmod(total, MILLISECONDS[unit])
        if whole:
            words.append(f"{whole}{unit}")
        elif words:
            break
    return " ".join(words[:2])


def format_size(size: int) -> str:
    """Write `size` bytes exactly, with the largest unit that divides it: 10485760 → `10MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return f"{size}B"


def format_percent(fraction: float) -> str:
    """Write a fraction as `20%`; exact for what `parse_percent` returns."""
    for digits in range(10):
        text = f"{fraction * 100:.{digits}f}%"
        if parse_percent(text) == fraction:
            return text
    return f"{fraction * 100:.9f}%"


def _parts(text: str, units: dict[str, int], what: str, examples: str) -> int:
    """Add up the parts of `text`, each a number with a unit, every unit at most once."""
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        raise BadUnit(f'"{_short(text)}" is too long for a {what}', hint=f"write for example {examples}")
    if _NUMBER.fullmatch(text):
        _refuse_bare(text, units, what)
    total = 0
    seen: set[str] = set()
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise BadUnit(f'"{_short(text)}" is not a {what}', hint=f"write for example {examples}")
        unit = _unit(match[3], units, what, text)
        if unit in seen:
            raise BadUnit(f'"{text}" names the unit {unit} twice', hint=f"write for example {examples}")
        seen.add(unit)
        total += _amount(match[1], match[2], units[unit])
        position = match.end()
        while position < len(text) and text[position] == " ":
            position += 1
    if not seen:
        raise BadUnit(f"a {what} is missing", hint=f"write for example {examples}")
    return total


def _amount(whole: str, fraction: str | None, factor: int) -> int:
    """Integer arithmetic, so that 0.3s is 300 ms and not 299."""
    amount = int(whole) * factor
    if fraction:
        scale = 10 ** len(fraction)
        amount += (int(fraction) * factor + scale // 2) // scale
    return amount


def _unit(name: str, units: dict[str, int], what: str, text: str) -> str:
    if name in units:
        return name
    nearest = _OTHER_NAMES.get(name.lower())
    known = ", ".join(unit for unit in units if unit != "KB")
    if nearest in units:
        hint = f'write "{text.replace(name, nearest)}"; the units are {known}'
    else:
        hint = f"the units are {known}"
    raise BadUnit(f'"{_short(text)}" is not a {what}: there is no unit "{_short(name)}"', hint=hint)


def _refuse_bare(text: str, units: dict[str, int], what: str) -> None:
    if text.startswith("-"):
        raise BadUnit(f'"{_short(text)}" is negative', hint=f"a {what} is positive")
    number = text.lstrip("+")
    choices = ("s", "m", "h") if "s" in units else ("KiB", "MiB", "GiB")
    first, second, third = (f"{number}{unit}" for unit in choices)
    raise BadUnit(f'"{_short(text)}" has no unit', hint=f"write {first}, {second} or {third}")


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
