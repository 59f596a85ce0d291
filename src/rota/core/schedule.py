"""Schedules: the text of a job's `schedule:` or `at:` compiled to instants that are asked by arithmetic.

A `Schedule` is a pure value: `next`, `previous`, `count`, `between` and `latest` depend on their arguments
alone, `spread` and `random` included, which are hashes of the job's name (and, for `random`, of the instant).
Instants are whole UTC seconds from 1970 to 2399 and strictly increasing. Parsing is bounded: no text takes
longer to refuse than a few milliseconds.
"""

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from rota.core.cron import ClockRule, parse_cron
from rota.core.cron_dates import date_table
from rota.core.cron_fields import Token
from rota.core.cron_series import DAY, AlignedSeries, AnchoredSeries, ClockSeries, DstPolicy, FixedSeries, Series
from rota.core.cron_warnings import Subject, warnings_for
from rota.core.phrases import FIRST_WORDS, IntervalRule, StartRule, parse_phrase, unknown_word
from rota.core.schedule_clauses import NO_CLAUSES, Clauses, refuse_long_random, refuse_unreadable, split_clauses
from rota.core.schedule_errors import ScheduleError, shown
from rota.core.schedule_times import from_epoch, local_seconds, parse_moment, to_epoch
from rota.core.stable_hash import stable_hash
from rota.core.words import clock_words
from rota.core.zones import Zone, check_timezone, load_zone

__all__ = ["DstPolicy", "Occurrence", "Schedule", "check_timezone", "compile_schedule", "describe"]

_CRON_START: Final = re.compile(r"[0-9*?@,/#-]|H(?=[ \t(/,]|$)", re.IGNORECASE)

Rule = ClockRule | IntervalRule | StartRule


class Occurrence(msgspec.Struct, frozen=True):
    """One instant: when it is due, and when it would be without spread and random."""

    due: datetime
    nominal: datetime


class Schedule:
    """When a job is due. Immutable; make one with `compile_schedule`."""

    __slots__ = ("_clauses", "_name", "_rule", "_series", "_shift", "_subject", "_words", "text", "timezone")

    def __init__(self, subject: Subject, rule: Rule | None, clauses: Clauses, name: str, words: str) -> None:
        self.text = subject.text
        self.timezone = subject.zone.name
        self._words = words
        self._subject = subject
        self._series: Series = subject.series
        self._rule = rule
        self._clauses = clauses
        self._name = name
        self._shift = stable_hash("spread", name) % clauses.spread if clauses.spread else 0

    @property
    def words(self) -> str:
        """The schedule as a person would say it."""
        if isinstance(self._rule, ClockRule):
            return (self._rule.words or clock_words(self._rule)) + self._clauses.words
        return self._words + self._clauses.words

    @property
    def triggers_at_start(self) -> bool:
        """Whether the job runs whenever the scheduler starts."""
        return isinstance(self._rule, StartRule)

    @property
    def is_empty(self) -> bool:
        """Whether there are no instants at all: started by hand, or at start."""
        return isinstance(self._series, FixedSeries) and self._series.next(-1) is None

    def next(self, after: datetime) -> Occurrence | None:
        """The first instant whose due time is strictly after `after`."""
        found = self._next(to_epoch(after))
        return None if found is None else self._occurrence(found)

    def next_epoch(self, after: int) -> int | None:
        """`next` in whole UTC seconds: the due time alone."""
        found = self._next(after)
        return None if found is None else self._due(found)

    def previous(self, before: datetime) -> Occurrence | None:
        """The latest instant whose due time is at or before `before`."""
        found = self._previous(to_epoch(before))
        return None if found is None else self._occurrence(found)

    def count(self, start: datetime, end: datetime) -> int:
        """The number of instants with start < due <= end, however many: nothing is enumerated."""
        first, last = self._previous(to_epoch(start)), self._previous(to_epoch(end))
        if last is None:
            return 0
        if first is None:
            first = self._clauses.first - 1
        return self._series.count(first, last) if first < last else 0

    def between(self, start: datetime, end: datetime, limit: int) -> list[Occurrence]:
        """The instants with start < due <= end, oldest first, at most `limit`."""
        found: list[Occurrence] = []
        last = to_epoch(end)
        nominal = self._next(to_epoch(start))
        while nominal is not None and len(found) < limit and self._due(nominal) <= last:
            found.append(self._occurrence(nominal))
            nominal = self._within(self._series.next(nominal))
        return found

    def latest(self, start: datetime, end: datetime, limit: int) -> list[Occurrence]:
        """The newest `limit` instants with start < due <= end, oldest first."""
        found: list[Occurrence] = []
        first = to_epoch(start)
        nominal = self._previous(to_epoch(end))
        while nominal is not None and len(found) < limit and self._due(nominal) > first:
            found.append(self._occurrence(nominal))
            nominal = self._within(self._series.previous(nominal - 1))
        return found[::-1]

    def warnings(self, now: datetime) -> list[str]:
        """What may surprise its owner, in sentences: uneven steps, clock changes, rare dates, ORed days."""
        upcoming = self.next(now)
        found = warnings_for(self._subject, to_epoch(now), None if upcoming is None else to_epoch(upcoming.nominal))
        if upcoming is None and not self.is_empty:
            found.append("there are no more instants: all of them lie in the past")
        return found

    def __repr__(self) -> str:
        return f"Schedule({self.text!r}, timezone={self.timezone!r})"

    def _next(self, after: int) -> int | None:
        """The nominal second of the first instant due after `after`."""
        clauses = self._clauses
        wanted = after - self._shift
        if wanted < clauses.first:
            wanted = clauses.first - 1
        elif clauses.random:
            # The instant before may still be due: it waits at most until its successor's nominal time.
            waiting = self._within(self._series.previous(wanted))
            if waiting is not None and self._due(waiting) > after:
                return waiting
        if wanted > clauses.last:
            return None
        found = self._series.next(wanted)
        return None if found is None or found > clauses.last else found

    def _previous(self, before: int) -> int | None:
        """The nominal second of the last instant due at or before `before`."""
        wanted = min(before - self._shift, self._clauses.last)
        if wanted < self._clauses.first:
            return None
        found = self._within(self._series.previous(wanted))
        if found is not None and self._due(found) > before:
            found = self._within(self._series.previous(found - 1))
        return found

    def _within(self, nominal: int | None) -> int | None:
        if nominal is None or not self._clauses.first <= nominal <= self._clauses.last:
            return None
        return nominal

    def _due(self, nominal: int) -> int:
        if not self._clauses.random:
            return nominal + self._shift
        # Never as late as the next instant, so that jitter cannot change their order or merge two of them.
        following = self._series.next(nominal)
        room = self._clauses.random if following is None else min(self._clauses.random, following - nominal)
        return nominal + self._shift + stable_hash("random", self._name, str(nominal)) % room

    def _occurrence(self, nominal: int) -> Occurrence:
        return Occurrence(from_epoch(self._due(nominal)), from_epoch(nominal))


def compile_schedule(
    text: str | None,
    *,
    at: str | None = None,
    timezone: str = "UTC",
    dst: DstPolicy = DstPolicy.VIXIE,
    name: str = "",
    anchor: datetime | None = None,
) -> Schedule:
    """The schedule of `text` (cron or words), of `at` (once), or of neither (started by hand only).

    `name` ("ns/job") seeds `H`, `spread` and `random`; `anchor` is where intervals that do not divide a day
    are counted from (without one: from `from`, else from 1970).
    """
    zone = load_zone(timezone)
    if text is not None and at is not None:
        raise ScheduleError("schedule and at exclude each other", field="at", hint="keep one of the two")
    if at is not None:
        return _once(at, zone, dst)
    if text is None:
        return _without_instants("", zone, dst, None, "only when started by hand")
    refuse_unreadable(text, "schedule")
    body, clauses = split_clauses(text, zone)
    rule = _parse(body, len(text) - len(text.lstrip()), name)
    if isinstance(rule, StartRule):
        if clauses != NO_CLAUSES:
            raise ScheduleError("'at start' takes no spread, random, from or until", position=len(body))
        return _without_instants(text.strip(), zone, dst, rule, rule.words)
    return _compiled(text.strip(), rule, clauses, _Place(zone, dst, name, anchor))


class _Place(NamedTuple):
    """Where a rule is put into effect."""

    zone: Zone
    dst: DstPolicy
    name: str
    anchor: datetime | None


def _compiled(text: str, rule: ClockRule | IntervalRule, clauses: Clauses, place: _Place) -> Schedule:
    series = _series(rule, clauses, place)
    refuse_long_random(rule, clauses)
    clock_rule = rule if isinstance(rule, ClockRule) else None
    subject = Subject(text, place.zone, series, place.dst, clock_rule)
    schedule = Schedule(subject, rule, clauses, place.name, rule.words)
    if schedule.next_epoch(-1) is None:
        raise ScheduleError("never fires between its from and its until", position=0, hint="widen the two dates")
    return schedule


def _series(rule: ClockRule | IntervalRule, clauses: Clauses, place: _Place) -> Series:
    if isinstance(rule, ClockRule):
        policy = None if rule.elapsed else place.dst
        return ClockSeries(rule.table(), date_table(rule.dates), place.zone, policy)
    if DAY % rule.seconds == 0:
        return AlignedSeries(rule.seconds, place.zone)
    start = clauses.first if place.anchor is None else to_epoch(place.anchor)
    return AnchoredSeries(rule.seconds, start)


def _without_instants(text: str, zone: Zone, dst: DstPolicy, rule: Rule | None, words: str) -> Schedule:
    return Schedule(Subject(text, zone, FixedSeries(()), dst, None), rule, NO_CLAUSES, "", words)


def _once(at: str, zone: Zone, dst: DstPolicy) -> Schedule:
    """The schedule of `at:`: one instant, in the job's zone unless the text carries an offset."""
    refuse_unreadable(at, "at")
    lead = len(at) - len(at.lstrip())
    moment, has_time = parse_moment(at.strip(), lead, "at")
    if not has_time:
        raise ScheduleError(f"at {shown(at.strip())} has no time of day", position=lead, field="at", hint="add 03:00")
    if moment.tzinfo is not None:
        instant = to_epoch(moment)
    else:
        instants, gap_end = zone.resolve(local_seconds(moment))
        if not instants and dst is DstPolicy.SKIP:
            message = f"{at.strip()} does not exist in {zone.name}: clocks go forward over it"
            raise ScheduleError(message, position=lead, field="at", hint="choose another time, or another dst:")
        if instants:
            instant = instants[-1] if dst is DstPolicy.SECOND else instants[0]
        else:
            instant = gap_end or 0
    words = f"once at {at.strip()}" + ("" if moment.tzinfo else f" {zone.name}")
    subject = Subject(at.strip(), zone, FixedSeries([instant]), dst, None)
    return Schedule(subject, None, NO_CLAUSES, "", words)


def _parse(body: str, lead: int, name: str) -> Rule:
    stripped = body.strip()
    if not stripped:
        raise ScheduleError("the schedule is empty", position=0, hint='write for example "every day at 03:00"')
    first = stripped.split()[0]
    if first.lower() == "@reboot" and first == stripped:
        return StartRule()
    if first.lower() in FIRST_WORDS:
        return parse_phrase(stripped, offset=lead)
    if _CRON_START.match(stripped) or len(stripped.split()) in (5, 6):
        return parse_cron(stripped, offset=lead, name=name)
    raise unknown_word(
        Token(first, lead), sorted(FIRST_WORDS), 'write five cron fields or words such as "every day at 03:00"'
    )


def describe(schedule: Schedule, now: datetime, n: int) -> dict[str, Any]:
    """What `rota explain cron` shows: words, timezone, the next `n` due times and the warnings."""
    upcoming: list[datetime] = []
    after = now
    while len(upcoming) < n:
        occurrence = schedule.next(after)
        if occurrence is None:
            break
        after = occurrence.due
        upcoming.append(after)
    return {
        "words": schedule.words,
        "timezone": schedule.timezone,
        "next": upcoming,
        "warnings": schedule.warnings(now),
    }
