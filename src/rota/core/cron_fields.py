"""One field of a cron expression: lists of values, ranges, steps, hashed places and the special days."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from rota.core.schedule_errors import ScheduleError, shown
from rota.core.stable_hash import stable_hash


class Token(NamedTuple):
    """A piece of the user's text and where it begins."""

    text: str
    position: int


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a field may hold. There are six of them, compared by identity."""

    name: str
    low: int
    high: int
    star_high: int | None = None  # where `*` ends, if not at `high` (Sunday is 0 and 7)
    hash_high: int | None = None  # where `H` ends, if not at `high`
    names: dict[str, int] = {}

    @property
    def size(self) -> int:
        """How many different values there are."""
        return self.top - self.low + 1

    @property
    def top(self) -> int:
        """The last value of `*`."""
        return self.high if self.star_high is None else self.star_high


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed field: bit n of `mask` is value n; the rest are the special days of two fields."""

    name: str
    text: str
    mask: int = 0
    starred: bool = False  # Vixie's star flag: the field begins with `*`
    steps: tuple[tuple[int, int], ...] = ()  # (start, step) of the steps that run to the end of the field
    from_end: tuple[int, ...] = ()
    nearest: tuple[int, ...] = ()
    nth: tuple[tuple[int, int], ...] = ()
    last: int = 0

    @property
    def is_special(self) -> bool:
        """Whether it holds more than plain values."""
        return bool(self.from_end or self.nearest or self.nth or self.last)


_WORD: Final = "[A-Za-z0-9]+"
_ITEM: Final = re.compile(
    rf"(?:(?P<star>\*)|(?P<hash>H)(?:\((?P<from>{_WORD})-(?P<to>{_WORD})\))?|(?P<low>{_WORD})(?:-(?P<high>{_WORD}))?)"
    r"(?:/(?P<step>[0-9]+))?",
    re.IGNORECASE | re.ASCII,
)
_DAY_ITEM: Final = re.compile(r"(?P<last>L)(?:-(?P<back>[0-9]+))?|LW|(?P<near>[0-9]+)W", re.IGNORECASE | re.ASCII)
_WEEKDAY_ITEM: Final = re.compile(rf"(?P<nth>{_WORD})#(?P<number>[0-9]+)|(?P<last>[0-9]|[A-Z]{{3}})L", re.I | re.A)


class _Builder:
    """Collects the items of one field."""

    def __init__(self, spec: FieldSpec, name: str) -> None:
        self._spec = spec
        self._job = name
        self.mask = 0
        self.steps: list[tuple[int, int]] = []
        self.from_end: list[int] = []
        self.nearest: list[int] = []
        self.nth: list[tuple[int, int]] = []
        self.last = 0

    def add(self, item: Token) -> None:
        if not item.text:
            raise self.error(item, f"an empty item in the {self._spec.name} field", "remove the comma")
        special = {"day of month": self._add_day, "day of week": self._add_weekday}.get(self._spec.name)
        if special is not None and special(item):
            return
        match = _ITEM.fullmatch(item.text)
        if match is None:
            message = f"{shown(item.text)} is not a value of the {self._spec.name} field"
            raise self.error(item, message, f"values are {self._spec.low} to {self._spec.high}")
        self._add_plain(item, match)

    def _add_plain(self, item: Token, match: re.Match[str]) -> None:
        spec = self._spec
        step = self._step(item, match["step"])
        if match["star"]:
            low, high = spec.low, spec.top
        elif match["hash"]:
            low, high = self._hashed(item, match, step)
        else:
            low = self._value(match["low"], item)
            high = self._range_end(match["high"], item) if match["high"] else low
            if match["step"] and not match["high"]:
                high = spec.top
        if high < low:
            message = f"the range {shown(item.text)} in the {spec.name} field runs backwards"
            raise self.error(item, message, "write it as two items, for example 22-23,0-5")
        if match["step"] and high == spec.top and not match["high"] and not match["from"]:
            self.steps.append((low, step))
        for value in range(low, high + 1, step):
            self.mask |= 1 << value

    def _step(self, item: Token, text: str | None) -> int:
        if text is None:
            return 1
        step = int(text)
        if not 1 <= step <= self._spec.size:
            name = self._spec.name
            message = f"the step of {shown(item.text)} in the {name} field must lie between 1 and {self._spec.size}"
            hint = 'for longer intervals write "every 90m"' if step else "a step of 0 never moves on"
            raise self.error(item, message, hint)
        return step

    def _hashed(self, item: Token, match: re.Match[str], step: int) -> tuple[int, int]:
        """The range of `H`: one stable value, or a stable start when there is a step."""
        spec = self._spec
        top = spec.top if spec.hash_high is None else spec.hash_high
        low, high = spec.low, top
        if match["from"]:
            low, high = self._value(match["from"], item), self._value(match["to"], item)
            if high < low:
                raise self.error(item, f"the range of {shown(item.text)} runs backwards", "put the lower value first")
        room = min(step, high - low + 1) if match["step"] else high - low + 1
        start = low + stable_hash("H", spec.name, self._job) % room
        if not match["step"]:
            return start, start
        return start, high if match["from"] else spec.top

    def _value(self, text: str, item: Token) -> int:
        spec = self._spec
        if text.lower() in spec.names:
            return spec.names[text.lower()]
        if not text.isdigit():
            known = f" or {', '.join(spec.names)}" if spec.names else ""
            message = f"{shown(text)} is not a value of the {spec.name} field"
            raise self.error(item, message, f"values are {spec.low} to {spec.high}{known}")
        value = int(text)
        if not spec.low <= value <= spec.high:
            message = f"{shown(text)} in the {spec.name} field is outside {spec.low} to {spec.high}"
            raise self.error(item, message, f"values are {spec.low} to {spec.high}")
        return value

    def _range_end(self, text: str, item: Token) -> int:
        # `fri-sun` is meant: at the end of a range Sunday is day 7.
        return 7 if text.lower() == "sun" else self._value(text, item)

    def _add_day(self, item: Token) -> bool:
        match = _DAY_ITEM.fullmatch(item.text)
        if match is None:
            return False
        if match["last"]:
            back = int(match["back"] or 0)
            if back > 27:
                raise self.error(item, f"{shown(item.text)}: no month has that many days", "L-27 is the most")
            self.from_end.append(back)
        else:
            self.nearest.append(self._value(match["near"], item) if match["near"] else 0)
        return True

    def _add_weekday(self, item: Token) -> bool:
        match = _WEEKDAY_ITEM.fullmatch(item.text)
        if match is None:
            return False
        if match["last"]:
            self.last |= 1 << self._value(match["last"], item) % 7
            return True
        number = int(match["number"])
        if not 1 <= number <= 5:
            message = f"{shown(item.text)}: a month has a first to a fifth weekday, no {shown(match['number'])}"
            raise self.error(item, message, "the number after # lies between 1 and 5")
        self.nth.append((self._value(match["nth"], item) % 7, number))
        return True

    def error(self, item: Token, message: str, hint: str) -> ScheduleError:
        return ScheduleError(message, position=item.position, field=self._spec.name, hint=hint)


def parse_field(token: Token, spec: FieldSpec, name: str) -> Field:
    """One field; `name` is the job's and decides where `H` falls."""
    return _parse_field(token, spec, name if "h" in token.text.lower() else "")


# Thousands of jobs are written with the same few fields: they share them.
@lru_cache(maxsize=8192)
def _parse_field(token: Token, spec: FieldSpec, name: str) -> Field:
    text = token.text
    is_time = spec.low == 0 and not spec.names
    if text == "?":
        if not spec.name.startswith("day "):
            message = f"'?' has no meaning in the {spec.name} field"
            raise ScheduleError(message, position=token.position, field=spec.name, hint="write *")
        text = "*"
    builder = _Builder(spec, name)
    position = token.position
    for part in text.split(","):
        builder.add(Token(part, position))
        position += len(part) + 1
    return Field(
        name=spec.name,
        text=text,
        mask=builder.mask,
        starred=text.startswith("*") or (is_time and text.upper().startswith("H/")),
        steps=tuple(builder.steps),
        from_end=tuple(builder.from_end),
        nearest=tuple(builder.nearest),
        nth=tuple(builder.nth),
        last=builder.last,
    )
