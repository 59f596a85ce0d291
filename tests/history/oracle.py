"""Which instants a cron expression of six fields means, found by stepping through every second.

Written on its own, sharing nothing with the schedule code it is to judge. It knows as much of the syntax as the
durability test uses: `*`, numbers, lists, ranges and steps; a day must match both day fields (the test stars one).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def expected(expression: str, after: datetime, until: datetime, zone: str = "UTC") -> list[datetime]:
    """The instants with after < instant ≤ until, in UTC."""
    return list(_walk(expression, after, until, ZoneInfo(zone)))


def _walk(expression: str, after: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    fields = expression.split()
    if len(fields) != 6:
        raise ValueError(f"six fields wanted: {expression!r}")
    if fields[3] != "*" and fields[5] != "*":
        raise ValueError(f"one of the day fields must be a star: {expression!r}")
    sets = [_values(text, low, high) for text, (low, high) in zip(fields, LIMITS, strict=True)]
    if 7 in sets[5]:
        sets[5].add(0)
    moment = after.astimezone(UTC).replace(microsecond=0)
    while moment <= until:
        if moment > after and _matches(moment.astimezone(zone), sets):
            yield moment
        moment += timedelta(seconds=1)


def _matches(local: datetime, sets: list[set[int]]) -> bool:
    weekday = (local.weekday() + 1) % 7
    shown = (local.second, local.minute, local.hour, local.day, local.month, weekday)
    return all(value in values for value, values in zip(shown, sets, strict=True))


def _values(text: str, low: int, high: int) -> set[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (int(number) for number in span.split("-"))
        else:
            first = int(span)
            last = high if step else first
        chosen.update(range(first, last + 1, int(step or "1")))
    return chosen
