"""Times as people read and write them at a terminal."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from rota.core.query_language import parse_time
from rota.core.units import BadUnit, format_rough, parse_duration
from rota.core.zones import zone_info, zone_names

_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)


def instant(text: str) -> datetime:
    """An instant of the API."""
    return datetime.fromisoformat(text)


def zone(name: str) -> ZoneInfo:
    """A zone by name; UTC for one this machine does not know."""
    return zone_info(name if name in zone_names() else "UTC")


def iso(text: str | None, where: tzinfo = UTC) -> str:
    """An instant for programs: ISO 8601 to the second (or finer where it is), "" for none."""
    if text is None:
        return ""
    moment = instant(text).astimezone(where)
    written = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return written.replace("+00:00", "Z")


def clock(text: str | None, where: tzinfo, now: datetime) -> str:
    """An instant for people: as little of the date as is needed to know it."""
    if text is None:
        return ""
    moment, today = instant(text).astimezone(where), now.astimezone(where)
    seconds = "%H:%M:%S" if moment.second else "%H:%M"
    days = (moment.date() - today.date()).days
    if days == 0:
        return moment.strftime(f"{seconds} %Z")
    if days in (1, -1):
        return moment.strftime(f"{'tomorrow' if days == 1 else 'yesterday'} {seconds} %Z")
    return moment.strftime(f"%a %Y-%m-%d {seconds} %Z")


def relative(text: str | None, now: datetime) -> str:
    """How far away an instant is: `in 4m`, `3m ago`."""
    if text is None:
        return ""
    seconds = (instant(text) - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    rough = format_rough(float(round(abs(seconds))))
    return f"in {rough}" if seconds > 0 else f"{rough} ago"


def span(seconds: float | None) -> str:
    """How long something took."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f}s" if seconds >= 0.01 else f"{seconds * 1000:.1f}ms"
    return format_rough(float(round(seconds)))


def past_or_future(text: str, now: datetime, where: ZoneInfo) -> datetime:
    """A time someone names, read as the query language reads it; `in 2h` and `+2h` lie ahead."""
    word = text.strip()
    ahead = word.removeprefix("in ").removeprefix("+")
    if ahead != word:
        return now + timedelta(seconds=parse_duration(ahead))
    day, separator, rest = word.partition(" ")
    if separator and day.lower() in ("today", "yesterday", "tomorrow") and _CLOCK.fullmatch(rest):
        return _on_day(day.lower(), rest, now, where)
    return _on_day("tomorrow", "00:00", now, where) if word == "tomorrow" else parse_time(word, now, where)


def future(text: str, now: datetime, where: ZoneInfo) -> datetime:
    """A time that lies ahead: `2h` from now, the next `18:00`, `tomorrow 09:00`, or a date."""
    word = text.strip()
    if _CLOCK.fullmatch(word):
        today = _on_day("today", word, now, where)
        return today if today > now else _on_day("tomorrow", word, now, where)
    if word == "tomorrow":
        return _on_day("tomorrow", "00:00", now, where)
    try:
        return now + timedelta(seconds=parse_duration(word.removeprefix("in ").removeprefix("+")))
    except (BadUnit, OverflowError):
        return past_or_future(word, now, where)


def _on_day(day: str, time: str, now: datetime, where: ZoneInfo) -> datetime:
    """A time of day, yesterday, today or tomorrow."""
    hour, minute, *second = (int(part) for part in time.split(":"))
    date = now.astimezone(where).date() + timedelta(days={"yesterday": -1, "today": 0, "tomorrow": 1}[day])
    local = datetime(date.year, date.month, date.day, hour, minute, second[0] if second else 0, tzinfo=where)
    return local.astimezone(UTC)
