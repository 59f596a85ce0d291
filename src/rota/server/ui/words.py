"""Glyphs, words and times of the pages. Every state is shown as glyph and word and colour, never by colour alone."""

from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from rota.core.glyphs import CONDITION_GLYPHS, PROCESS_GLYPHS, STATE_GLYPHS
from rota.core.units import format_rough, format_size
from rota.server.queries.shapes import JobView

GLYPHS: Final = {**STATE_GLYPHS, **CONDITION_GLYPHS}


class Status(NamedTuple):
    """How something fares: the key of its colour, its glyph, its word."""

    key: str
    glyph: str
    word: str


def state_status(state: str) -> Status:
    """The status of a run or an attempt."""
    return Status(state, GLYPHS.get(state, "·"), state.replace("-", " "))


def process_status(state: str) -> Status:
    """The status of a worker or a server."""
    return Status(state, PROCESS_GLYPHS.get(state, "·"), state)


def milliseconds(seconds: float | None) -> str:
    """A short time for reading: `0.4 ms`, `38 ms`, `2.5 s`."""
    if seconds is None:
        return "–"
    if abs(seconds) >= 1:
        return f"{seconds:.1f} s" if abs(seconds) < 100 else f"{seconds:.0f} s"
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 0.01 else f"{seconds * 1000:.0f} ms"


def offset(seconds: float | None) -> str:
    """How far a clock is away: `+38 ms`."""
    return "–" if seconds is None else f"{'+' if seconds >= 0 else '−'}{milliseconds(abs(seconds))}"


def job_status(job: JobView) -> Status:
    """The one word that matters most about a job."""
    for condition in ("broken", "paused", "late", "failing", "shadow"):
        if condition in job.conditions:
            times = f" ×{job.fails_in_row}" if condition == "failing" and job.fails_in_row > 1 else ""
            return Status(condition, GLYPHS[condition], condition + times)
    if job.active:
        return state_status(job.active[-1].state)
    return state_status(job.last.state) if job.last.state else Status("new", GLYPHS["new"], "new")


def parse(text: str) -> datetime:
    """The instant of a view's time."""
    return datetime.fromisoformat(text)


def relative(text: str, now: datetime) -> str:
    """`3m ago`, `in 2h 5m`."""
    seconds = (parse(text) - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    rough = format_rough(int(abs(seconds)))
    return f"in {rough}" if seconds > 0 else f"{rough} ago"


def absolute(text: str, zone: ZoneInfo) -> str:
    """`2026-11-23 03:00:00 CET`."""
    return f"{parse(text).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def short_clock(text: str, zone: ZoneInfo, now: datetime) -> str:
    """The time of day, with the date where it is not today's."""
    local, today = parse(text).astimezone(zone), now.astimezone(zone).date()
    if local.date() == today:
        return f"{local:%H:%M:%S}"
    return f"{local:%a %H:%M}" if abs((local.date() - today).days) < 6 else f"{local:%d %b %H:%M}"


def duration(seconds: float | None) -> str:
    """A duration for reading; a dash where there is none."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f}s" if 1 <= seconds < 10 else format_rough(seconds)


def counted(count: int, noun: str) -> str:
    """A number of things: `1 instant`, `2,000 instants`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int | None) -> str:
    """Bytes for reading."""
    if count is None:
        return "–"
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return format_size(count)
