"""Which days a schedule falls on: whole-month bit masks over a table of all months up to the year 2400.

Days are counted from 1970-01-01 (day 0). A rule is turned once into one mask per kind of month (month of the
year, weekday of its first day, length), so that a test is a shift, the next day a lowest bit, and an empty rule
is proved empty by looking at the few kinds of month that the calendar has.
"""

from datetime import date
from functools import lru_cache
from typing import Final

import msgspec

BASE_YEAR: Final = 1969  # local dates of the first UTC day may still lie in 1969
END_YEAR: Final = 2400  # the first year no schedule reaches; the calendar repeats after 400 years
FIRST_DAY: Final = date(BASE_YEAR, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
NO_DAY: Final = 1 << 40  # later than any day: "there is none"
ALL_DAYS: Final = (1 << 31) - 1
ALL_MONTHS: Final = (1 << 12) - 1
ALL_WEEKDAYS: Final = (1 << 7) - 1
WORKDAYS: Final = 0b0111110
SATURDAY: Final = 6
_KINDS_PER_MONTH: Final = 28


def _month_tables() -> tuple[list[int], list[int]]:
    """The first day and the kind of every month from BASE_YEAR to the year after END_YEAR."""
    starts, kinds = [], []
    unix_day = date(1970, 1, 1).toordinal()
    for year in range(BASE_YEAR, END_YEAR + 2):
        for month in range(12):
            start = date(year, month + 1, 1)
            after = date(year + month // 11, (month + 1) % 12 + 1, 1)
            length = after.toordinal() - start.toordinal()
            starts.append(start.toordinal() - unix_day)
            kinds.append(month * _KINDS_PER_MONTH + (start.isoweekday() % 7) * 4 + length - 28)
    return starts, kinds


MONTH_START, MONTH_KIND = _month_tables()
KINDS: Final = frozenset(MONTH_KIND)
_MONTHS: Final = len(MONTH_START) - 12  # one year of margin behind the end


class DateRule(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a schedule. Bit 0 is January, day 1, Sunday; `weekday` numbers count from Sunday = 0."""

    months: int = ALL_MONTHS
    days: int = ALL_DAYS
    days_from_end: tuple[int, ...] = ()  # L = 0, L-3 = 3
    nearest_workdays: tuple[int, ...] = ()  # 15W = 15, LW = 0
    nth_workdays: tuple[int, ...] = ()  # second workday = 2
    weekdays: int = ALL_WEEKDAYS
    nth_weekdays: tuple[tuple[int, int], ...] = ()  # 5#3 = (5, 3)
    last_weekdays: int = 0  # 5L = 1 << 5
    any_of_both: bool = False  # day of month OR day of week, as in Vixie cron

    @property
    def is_every_day(self) -> bool:
        """Whether no day is left out."""
        return (self.months, self.days, self.weekdays) == (ALL_MONTHS, ALL_DAYS, ALL_WEEKDAYS)


EVERY_DAY: Final = DateRule()


def _nearest_workday(day: int, first_weekday: int, length: int) -> int:
    """The Monday to Friday closest to `day` without leaving the month (0: the month has no such day)."""
    if day > length:
        return 0
    weekday = (first_weekday + day - 1) % 7
    if weekday == SATURDAY:
        return day - 1 if day > 1 else 3
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _month_days(rule: DateRule, first_weekday: int, length: int) -> int:
    """The mask of the day-of-month part in a month of this shape."""
    mask = rule.days
    for from_end in rule.days_from_end:
        mask |= 1 << (length - 1 - from_end)
    for nearest in rule.nearest_workdays:
        found = _nearest_workday(nearest or length, first_weekday, length)
        if found:
            mask |= 1 << (found - 1)
    if rule.nth_workdays:
        workdays = [d for d in range(length) if WORKDAYS >> ((first_weekday + d) % 7) & 1]
        for nth in rule.nth_workdays:
            mask |= 1 << workdays[nth - 1]
    return mask


def _week_days(rule: DateRule, first_weekday: int, length: int) -> int:
    """The mask of the day-of-week part in a month of this shape."""
    mask = 0
    for weekday in range(7):
        first = (weekday - first_weekday) % 7
        days = range(first, length, 7)
        if rule.weekdays >> weekday & 1:
            for day in days:
                mask |= 1 << day
        if rule.last_weekdays >> weekday & 1:
            mask |= 1 << days[-1]
    for weekday, nth in rule.nth_weekdays:
        day = (weekday - first_weekday) % 7 + (nth - 1) * 7
        if day < length:
            mask |= 1 << day
    return mask


def _mask(rule: DateRule, kind: int) -> int:
    month, shape = divmod(kind, _KINDS_PER_MONTH)
    if not rule.months >> month & 1:
        return 0
    first_weekday, extra = divmod(shape, 4)
    length = 28 + extra
    by_day = _month_days(rule, first_weekday, length)
    by_week = _week_days(rule, first_weekday, length)
    both = by_day | by_week if rule.any_of_both else by_day & by_week
    return both & ((1 << length) - 1)


class DateTable:
    """The days of one rule, ready to be asked. Immutable; shared by all schedules with the same rule."""

    __slots__ = ("_masks", "every", "rule")

    def __init__(self, rule: DateRule) -> None:
        self.rule = rule
        self.every = rule.is_every_day
        self._masks = [0] * (12 * _KINDS_PER_MONTH)
        for kind in KINDS:
            self._masks[kind] = _mask(rule, kind)

    @property
    def is_empty(self) -> bool:
        """Whether no month of the 400-year cycle has such a day: a proof, not a search that gave up."""
        return not any(self._masks)

    def has(self, day: int) -> bool:
        """Whether `day` is one of them."""
        if self.every:
            return True
        month = _month_of(day)
        return bool(self._masks[MONTH_KIND[month]] >> (day - MONTH_START[month]) & 1)

    def next(self, day: int) -> int:
        """The first day after `day`, or NO_DAY."""
        day += 1
        if self.every:
            return day
        month = _month_of(day)
        start = MONTH_START[month]
        bits = self._masks[MONTH_KIND[month]] >> (day - start)
        if bits:
            return day + (bits & -bits).bit_length() - 1
        masks = self._masks
        for later in range(month + 1, _MONTHS):
            bits = masks[MONTH_KIND[later]]
            if bits:
                return MONTH_START[later] + (bits & -bits).bit_length() - 1
        return NO_DAY

    def previous(self, day: int) -> int:
        """The last day before `day`, or -NO_DAY."""
        day -= 1
        if self.every:
            return day
        month = _month_of(day)
        start = MONTH_START[month]
        bits = self._masks[MONTH_KIND[month]] & ((2 << (day - start)) - 1)
        while not bits:
            month -= 1
            if month < 0:
                return -NO_DAY
            bits = self._masks[MONTH_KIND[month]]
        return MONTH_START[month] + bits.bit_length() - 1

    def count(self, first: int, end: int) -> int:
        """How many days lie in [first, end)."""
        if end <= first:
            return 0
        if self.every:
            return end - first
        month, last = _month_of(first), _month_of(end)
        masks = self._masks
        total = -(masks[MONTH_KIND[month]] & ((1 << (first - MONTH_START[month])) - 1)).bit_count()
        for whole in range(month, last):
            total += masks[MONTH_KIND[whole]].bit_count()
        return total + (masks[MONTH_KIND[last]] & ((1 << (end - MONTH_START[last])) - 1)).bit_count()


def _month_of(day: int) -> int:
    """The index of the month that holds `day`: 4,800 months have 146,097 days, so the guess is off by at most one."""
    month = (day - FIRST_DAY) * 4800 // 146097
    if MONTH_START[month] > day:
        return month - 1
    if MONTH_START[month + 1] <= day:
        return month + 1
    return month


@lru_cache(maxsize=4096)
def date_table(rule: DateRule) -> DateTable:
    """The table of `rule`, made once."""
    return DateTable(rule)
