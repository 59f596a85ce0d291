"""Schedules in words: "every day at 03:00", "every 5m", "first workday of month at 06:00", "hourly at :15".

A small strict grammar (docs/reference/schedules.md has it whole). What it does not know is refused with the
place in the text and the nearest word that it does know.
"""

import re
from difflib import get_close_matches
from typing import Final

import msgspec

from rota.core.cron import ClockRule, ordinal
from rota.core.cron_dates import ALL_DAYS, ALL_MONTHS, EVERY_DAY, WORKDAYS, DateRule, date_table
from rota.core.cron_fields import Token
from rota.core.schedule_errors import ScheduleError, shown
from rota.core.schedule_times import clock_text, parse_clock, parse_duration

DAY_NAMES: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
LONGEST_INTERVAL: Final = 3660 * 86_400
_WEEKDAYS: Final = {name[:length].lower(): n for n, name in enumerate(DAY_NAMES) for length in (3, len(name))}
_NTH: Final = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}
_PERIODS: Final = {"month": ALL_MONTHS, "quarter": 0b001001001001, "year": 1}
_LAST_MONTHS: Final = {"month": ALL_MONTHS, "quarter": 0b100100100100, "year": 1 << 11}
_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600}
# A unit as a word of its own, behind a number: people write it, and it is answered with how it is written here.
_UNIT_WORDS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}
_GROUPS: Final = {"day": EVERY_DAY, "weekday": DateRule(weekdays=WORKDAYS), "weekend": DateRule(weekdays=0b1000001)}
_INSTEAD: Final = {
    "week": '"every monday at 00:00"',
    "month": '"first day of month at 00:00"',
    "quarter": '"first day of quarter at 00:00"',
    "year": '"first day of year at 00:00"',
}
FIRST_WORDS: Final = frozenset({"every", "hourly", "at", *_NTH})


class IntervalRule(msgspec.Struct, frozen=True, kw_only=True):
    """Every so many seconds of elapsed time."""

    seconds: int
    words: str


class StartRule(msgspec.Struct, frozen=True):
    """Once whenever the scheduler starts."""

    words: str = "once at every start of the scheduler"


class _Reader:
    """The words of a phrase, read one at a time."""

    def __init__(self, text: str, offset: int) -> None:
        self._tokens = [Token(m.group(), m.start() + offset) for m in re.finditer(r"[^\s,]+|,", text)]
        self._end = Token("", offset + len(text))
        self._next = 0

    def peek(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def take(self) -> Token:
        token = self.peek()
        self._next += 1
        return token

    def accept(self, word: str) -> bool:
        found = self.peek().text.lower() == word
        self._next += found
        return found

    def expect(self, word: str, hint: str) -> None:
        if not self.accept(word):
            raise unknown_word(self.peek(), [word], hint)

    def expect_end(self) -> None:
        token = self.peek()
        if token.text:
            message = f"{shown(token.text)} is one word too many"
            raise ScheduleError(message, position=token.position, hint="the schedule is complete before it")


def unknown_word(token: Token, known: list[str], hint: str | None = None) -> ScheduleError:
    """Say which words were possible here, the nearest one first."""
    near = get_close_matches(token.text.lower()[:20], known, n=1, cutoff=0.6)
    what = f"{shown(token.text)} is not known here" if token.text else "the schedule ends too early"
    suggestion = f"did you mean {near[0]}?" if near else hint or f"expected {', '.join(known)}"
    return ScheduleError(what, position=token.position, hint=suggestion)


def parse_phrase(text: str, *, offset: int = 0) -> ClockRule | IntervalRule | StartRule:
    """The rule of a schedule in words, which begins at `offset` of the user's text."""
    reader = _Reader(text, offset)
    first = reader.take()
    word = first.text.lower()
    rule: ClockRule | IntervalRule | StartRule
    if word == "every":
        rule = _every(reader)
    elif word == "hourly":
        rule = _hourly(reader)
    elif word == "at":
        reader.expect("start", 'write "at start", or use the key at: for a date')
        rule = StartRule()
    elif word in _NTH:
        rule = _nth(reader, word, first)
    else:
        raise unknown_word(first, sorted(FIRST_WORDS), 'write five cron fields or words such as "every day at 03:00"')
    reader.expect_end()
    return rule


def _every(reader: _Reader) -> ClockRule | IntervalRule:
    token = reader.take()
    word = token.text.lower()
    if word in _UNITS:
        return _interval(reader, token, _UNITS[word], f"every {word}")
    if word in _GROUPS:
        return _on_days(reader, _GROUPS[word], f"every {word}")
    if word in _INSTEAD:
        raise ScheduleError(
            f"'every {word}' does not say which day", position=token.position, hint=f"write {_INSTEAD[word]}"
        )
    if _weekday_range(word) is not None:
        return _weekdays(reader, token)
    if word and (not word[0].isalpha() or word in ("nan", "inf", "infinity")):
        _refuse_unit_apart(token, reader.peek().text.lower())
        seconds = parse_duration(token, what="the interval", longest=LONGEST_INTERVAL)
        return _interval(reader, token, seconds, f"every {word}")
    raise unknown_word(token, [*_GROUPS, *_UNITS, *_WEEKDAYS], "write for example every 5m, every day, every mon,wed")


def _refuse_unit_apart(number: Token, following: str) -> None:
    """`every 5 minutes`: say how it is written."""
    unit = _UNIT_WORDS.get(following)
    if unit is not None and re.fullmatch(r"[0-9]{1,9}", number.text, re.ASCII):
        raise ScheduleError(
            f"an interval of {number.text} {following} is written as one word",
            position=number.position,
            hint=f"write every {number.text}{unit}",
        )


def _interval(reader: _Reader, token: Token, seconds: int, words: str) -> IntervalRule:
    following = reader.peek()
    if following.text.lower() == "at":
        raise ScheduleError(
            "an interval has no time of day", position=following.position, hint='write "every day at …" for fixed times'
        )
    return IntervalRule(seconds=seconds, words=words)


def _weekday_range(word: str) -> list[int] | None:
    """The weekdays of `mon`, `monday` or `mon-fri`; None if these are no weekdays."""
    low, dash, high = word.partition("-")
    if low not in _WEEKDAYS or (dash and high not in _WEEKDAYS):
        return None
    first, last = _WEEKDAYS[low], _WEEKDAYS[high] if dash else _WEEKDAYS[low]
    return [(first + step) % 7 for step in range((last - first) % 7 + 1)]


def _weekdays(reader: _Reader, token: Token) -> ClockRule:
    chosen: set[int] = set()
    while True:
        days = _weekday_range(token.text.lower())
        if days is None:
            raise unknown_word(token, list(_WEEKDAYS), "weekdays are mon, tue, wed, thu, fri, sat, sun")
        chosen.update(days)
        if not reader.accept(","):
            break
        token = reader.take()
    mask = sum(1 << day for day in chosen)
    names = ", ".join(DAY_NAMES[day] for day in sorted(chosen, key=lambda day: (day - 1) % 7))
    return _on_days(reader, DateRule(weekdays=mask), f"every {names}")


def _on_days(reader: _Reader, dates: DateRule, words: str) -> ClockRule:
    """The rest of a phrase that has named its days: `at 09:00, 17:30`, or midnight."""
    times = [0]
    if reader.peek().text:
        reader.expect("at", "write the time as: at 09:00")
        times = [parse_clock(reader.take())]
        while reader.accept(","):
            times.append(parse_clock(reader.take()))
    times = sorted(set(times))
    spelled = ", ".join(clock_text(time) for time in times)
    return ClockRule(dates=dates, times=tuple(times), words=f"{words} at {spelled}")


def _hourly(reader: _Reader) -> ClockRule:
    reader.expect("at", 'write "hourly at :15"')
    token = reader.take()
    match = re.fullmatch(r":([0-5][0-9])", token.text, re.ASCII)
    if match is None:
        raise ScheduleError(
            f"{shown(token.text)} is not a minute of the hour", position=token.position, hint='write "hourly at :15"'
        )
    return ClockRule(
        dates=EVERY_DAY,
        minutes=1 << int(match[1]),
        hours=(1 << 24) - 1,
        elapsed=True,
        words=f"every hour at {token.text}",
    )


def _nth(reader: _Reader, which: str, first: Token) -> ClockRule:
    token = reader.take()
    unit = token.text.lower()
    if unit not in ("day", "workday") and unit not in _WEEKDAYS:
        raise unknown_word(token, ["day", "workday", *_WEEKDAYS], 'write for example "first workday of month at 06:00"')
    reader.expect("of", f'write "{which} {unit} of month"')
    period_token = reader.take()
    period = period_token.text.lower()
    if period not in _PERIODS:
        raise unknown_word(period_token, list(_PERIODS))
    nth = _NTH[which]
    months = (_LAST_MONTHS if nth < 0 else _PERIODS)[period]
    dates = _nth_dates(unit, nth, months)
    if date_table(dates).is_empty:
        raise ScheduleError(f"never fires: no {period} has a {ordinal(nth)} {unit}", position=first.position)
    name = unit if unit in ("day", "workday") else DAY_NAMES[_WEEKDAYS[unit]]
    return _on_days(reader, dates, f"{which} {name} of {period}")


def _nth_dates(unit: str, nth: int, months: int) -> DateRule:
    if unit == "day":
        if nth < 0:
            return DateRule(months=months, days=0, days_from_end=(0,))
        return DateRule(months=months, days=1 << (nth - 1))
    if unit == "workday":
        if nth < 0:
            return DateRule(months=months, days=0, nearest_workdays=(0,))
        return DateRule(months=months, days=0, nth_workdays=(nth,))
    weekday = _WEEKDAYS[unit]
    if nth < 0:
        return DateRule(months=months, days=ALL_DAYS, weekdays=0, last_weekdays=1 << weekday)
    return DateRule(months=months, days=ALL_DAYS, weekdays=0, nth_weekdays=((weekday, nth),))
