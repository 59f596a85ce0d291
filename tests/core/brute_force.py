"""An independent oracle for schedules: slow, naive, and sharing nothing with the engine but the zone data.

It reads an expression with string methods, walks over local days, tries every second or minute of each day,
and asks the standard library's ZoneInfo what a local time means. It is right because it is simple.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
DAY = timedelta(days=1)


def values(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    """The plain values of a field: lists of `*`, `a`, `a-b`, each with an optional `/step`."""
    found: set[int] = set()
    for item in text.lower().replace("?", "*").split(","):
        body, _, step = item.partition("/")
        first, dash, last = body.partition("-")
        if first == "*":
            bounds = (low, high)
        else:
            begin = names.get(first) if first in names else int(first)
            end = (names.get(last) if last in names else int(last)) if dash else (high if step else begin)
            bounds = (begin, end)
        found |= set(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found


def is_workday(day: date) -> bool:
    return day.isoweekday() <= 5


def nearest_workday(day: date) -> date:
    """The workday closest to `day` in the same month."""
    for distance in (0, 1, 2):
        for candidate in (day - distance * DAY, day + distance * DAY):
            if candidate.month == day.month and is_workday(candidate):
                return candidate
    raise AssertionError(day)


class Oracle:
    """All instants of a cron expression in a zone, under a daylight-saving policy."""

    def __init__(self, expression: str, zone: ZoneInfo, policy: str = "vixie") -> None:
        fields = expression.split()
        fields = ["0", *fields] if len(fields) == 5 else fields
        self.zone = zone
        self.policy = policy
        self.seconds = values(fields[0], 0, 59, {})
        self.minutes = values(fields[1], 0, 59, {})
        self.hours = values(fields[2], 0, 23, {})
        self.months = values(fields[4], 1, 12, MONTHS)
        self.day_field, self.weekday_field = fields[3], fields[5]
        self.elapsed = any(field.startswith("*") for field in fields[:3])
        self.times = [clock for clock in self.all_clocks() if self.has_time(clock)]

    def all_clocks(self) -> list[time]:
        seconds = range(60) if self.seconds != {0} else range(1)
        return [time(h, m, s) for h in range(24) for m in range(60) for s in seconds]

    def has_time(self, clock: time) -> bool:
        return clock.hour in self.hours and clock.minute in self.minutes and clock.second in self.seconds

    def has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day, by_weekday = self.has_month_day(day), self.has_weekday(day)
        if self.day_field[0] in "*?" or self.weekday_field[0] in "*?":
            return by_day and by_weekday
        return by_day or by_weekday

    def has_month_day(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        last = day.replace(day=length)
        for item in self.day_field.upper().split(","):
            if item == "LW":
                found = day == nearest_workday(last)
            elif item.startswith("L"):
                found = day == last - int(item[2:] or 0) * DAY
            elif item.endswith("W"):
                found = int(item[:-1]) <= length and day == nearest_workday(day.replace(day=int(item[:-1])))
            else:
                found = day.day in values(item, 1, 31, {})
            if found:
                return True
        return False

    def has_weekday(self, day: date) -> bool:
        number = day.isoweekday() % 7
        for item in self.weekday_field.lower().split(","):
            if "#" in item:
                weekday, nth = item.split("#")
                found = self.weekday_number(weekday) == number and (day.day - 1) // 7 + 1 == int(nth)
            elif item.endswith("l"):
                found = self.weekday_number(item[:-1]) == number and (day + 7 * DAY).month != day.month
            else:
                found = number in {value % 7 for value in values(item, 0, 6 if item[0] in "*?" else 7, WEEKDAYS)}
            if found:
                return True
        return False

    @staticmethod
    def weekday_number(text: str) -> int:
        return (WEEKDAYS[text] if text in WEEKDAYS else int(text)) % 7

    def between(self, start: datetime, end: datetime) -> list[datetime]:
        """All instants with start < instant <= end, in UTC, oldest first."""
        found: set[datetime] = set()
        day = (start - DAY - self.widest_gap(start)).date()
        while day <= (end + DAY).date():
            if self.has_day(day):
                for clock in self.times:
                    found.update(self.meanings(datetime.combine(day, clock)))
            day += DAY
        return sorted(instant for instant in found if start < instant <= end)

    def widest_gap(self, start: datetime) -> timedelta:
        """How far back a local time can lie that runs only now: a day if the zone has left one out."""
        offsets = [(start + days * DAY).astimezone(self.zone).utcoffset() or timedelta() for days in (-2, 0, 2)]
        return DAY if max(offsets) - min(offsets) > timedelta(hours=12) else timedelta()

    def meanings(self, local: datetime) -> list[datetime]:
        """The instants at which the job runs for one local time."""
        real = real_instants(local, self.zone)
        if self.elapsed:
            return real
        if not real:
            return [] if self.policy == "skip" else [gap_end(local, self.zone)]
        if self.policy == "run-twice":
            return real
        return real[-1:] if self.policy == "second" else real[:1]


def interval_instants(seconds: int, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every so many elapsed seconds, counted anew from each local midnight: start < instant <= end."""
    found: set[datetime] = set()
    day = (start - 3 * DAY).date()
    while day <= (end + 2 * DAY).date():
        instant, following = midnight(day, zone), midnight(day + DAY, zone)
        while instant < following:
            found.add(instant)
            instant += timedelta(seconds=seconds)
        day += DAY
    return sorted(instant for instant in found if start < instant <= end)


@lru_cache(maxsize=100_000)
def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day; of a day that was left out, the first instant after it."""
    local = datetime.combine(day, time())
    real = real_instants(local, zone)
    return real[0] if real else gap_end(local, zone)


def real_instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which the clocks of the zone show `local`: none, one or two."""
    found = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(instant for instant in found if instant.astimezone(zone).replace(tzinfo=None) == local)


def gap_end(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the clocks jump over `local`."""
    before = local.replace(tzinfo=UTC) - 2 * DAY
    after = local.replace(tzinfo=UTC) + 2 * DAY
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        shows = middle.astimezone(zone).replace(tzinfo=None)
        if shows < local:
            before = middle
        else:
            after = middle
    return after
