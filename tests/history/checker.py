"""Judges a history: by identity of instants, by what the probes saw, by what was acknowledged.

Runs are on record a little ahead of their time. When the schedule changes meanwhile, the row of what is no instant any
more stays, as skipped; such a row may be for an instant of no schedule in force, and is all that may.

Every rule returns its violations as sentences; an empty list is a clean history.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tests.history.oracle import expected
from tests.history.probe import Event
from tests.history.records import Acknowledged, Definition, GapRow, History, JobHistory, Kill, Row

FINAL = {"succeeded", "failed", "timed-out", "cancelled", "skipped", "missed", "lost"}
PLANNED_AHEAD = timedelta(seconds=3)
THAW = 1.0  # seconds that what was frozen may live when its machine goes on
CLOCK_GRAIN = 0.02  # /proc/uptime counts hundredths


def check(history: History) -> list[str]:
    """All violations."""
    rules: list[Callable[[History], Iterator[str]]] = [
        instants_are_answered_once,
        nothing_runs_while_paused,
        runs_are_unique_and_ended,
        attempts_follow_each_other,
        fences_belong_to_one_attempt,
        runs_of_a_job_do_not_overlap,
        probes_are_known_attempts,
        success_was_seen,
        at_most_once_starts_once,
        triggers_are_kept,
    ]
    return [violation for rule in rules for violation in rule(history)]


# ── pass 1: identity ─────────────────────────────────────────────────────────────────────────────────────


def instants_are_answered_once(history: History) -> Iterator[str]:
    """Each instant that must be has exactly one run row or lies in exactly one gap; none that must not be has one."""
    rows, gaps = defaultdict(list), defaultdict(list)
    for row in history.rows:
        if row.trigger == "schedule":
            rows[row.job].append(row)
    for gap in history.gaps:
        gaps[gap.job].append(gap)
    for job in history.jobs.values():
        must, may = instants(job, history.until, history.clock_error)
        counted = Counter(row.due for row in rows[job.name])
        for row in rows[job.name]:
            if row.due not in must and row.due not in may and _was_planned_ahead(job, row, history):
                counted[row.due] -= 1
        yield from _check_instants(job.name, must, may, counted, gaps[job.name])
        yield from _check_gaps(job.name, must, may, gaps[job.name])


def _was_planned_ahead(job: JobHistory, row: Row, history: History) -> bool:
    """Whether a row is what is left of an instant that a change took away while it was just ahead."""
    changes = [definition.window for definition in job.definitions[1:]]
    if row.state != "skipped" and not history.asks_in_vain:
        return False
    return any(change.asked <= row.due <= change.answered + PLANNED_AHEAD for change in changes)


def instants(
    job: JobHistory, until: datetime | None, error: timedelta = timedelta(0)
) -> tuple[set[datetime], set[datetime]]:
    """The instants that must be answered and those that may be, up to `until`, by clocks that err by so much."""
    must: set[datetime] = set()
    may: set[datetime] = set()
    ends = [definition.window for definition in job.definitions[1:]]
    for index, definition in enumerate(job.definitions):
        stop = ends[index] if index < len(ends) else None
        certain_end = stop.asked if stop else until
        possible_end = stop.answered if stop else until
        if definition.expression is None or certain_end is None or possible_end is None:
            continue
        certain = _between(definition, definition.window.answered + error, certain_end - error)
        must |= certain
        may |= _between(definition, definition.window.asked - error, possible_end + error) - certain
    return must, may - must


def _between(definition: Definition, after: datetime, until: datetime) -> set[datetime]:
    if until <= after:
        return set()
    return set(expected(definition.expression or "", after, until, definition.zone))


def _check_instants(
    job: str, must: set[datetime], may: set[datetime], rows: Counter[datetime], gaps: list[GapRow]
) -> Iterator[str]:
    for due, count in rows.items():
        if count > 1:
            yield f"{job}: {due} has {count} run rows"
    for due in sorted(must | may | set(rows)):
        covering = sum(gap.after < due <= gap.until for gap in gaps)
        answers = rows[due] + covering
        if due in must and answers == 0:
            yield f"{job}: {due} has neither run nor gap"
        elif due not in must and due not in may and rows[due]:
            yield f"{job}: {due} has a run but is no instant of the schedule then in force"
        elif covering and answers > 1 and rows[due] <= 1:
            yield f"{job}: {due} is answered {answers} times ({rows[due]} runs, {covering} gaps)"


def _check_gaps(job: str, must: set[datetime], may: set[datetime], gaps: list[GapRow]) -> Iterator[str]:
    for gap in gaps:
        least = sum(gap.after < due <= gap.until for due in must)
        most = least + sum(gap.after < due <= gap.until for due in may)
        if not least <= gap.count <= most:
            yield f"{job}: the gap from {gap.after} to {gap.until} counts {gap.count} instants, not {least} to {most}"


def nothing_runs_while_paused(history: History) -> Iterator[str]:
    """No instant that lies clearly inside a pause was run.

    It may have been with a worker when the pause began and have been lost with it: then it is skipped, and never ran.
    """
    ahead = PLANNED_AHEAD if history.asks_in_vain else history.clock_error
    started = {event.run for event in history.events if event.kind == "start"}
    for row in history.rows:
        job = history.jobs.get(row.job)
        if job is None or row.trigger != "schedule" or not row.attempts:
            continue
        if row.state == "skipped" and row.id not in started:
            continue
        for pause, resume in job.pauses:
            if pause.answered + ahead < row.due and (resume is None or row.due < resume.asked - history.clock_error):
                yield f"{row.job}: {row.due} was run although the job was paused"


# ── pass 3: attempts, as seen from outside ───────────────────────────────────────────────────────────────


def runs_are_unique_and_ended(history: History) -> Iterator[str]:
    """A run id is one row, and nothing is left unfinished."""
    for run, count in Counter(row.id for row in history.rows).items():
        if count > 1:
            yield f"run {run} has {count} rows"
    for row in history.rows:
        if row.state not in FINAL:
            yield f"{row.job}: run {row.id} due {row.due} is still {row.state}"


def attempts_follow_each_other(history: History) -> Iterator[str]:
    """Per run, a later attempt has a higher fence and starts after the earlier one ended or died."""
    lives = lives_of(history)
    starts: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history.events:
        if event.kind == "start":
            starts[event.run].append(event)
    for run, seen in starts.items():
        for earlier, later in pairwise(sorted(seen, key=lambda event: event.uptime)):
            yield from _follows(run, earlier, later, lives[run, earlier.fence], history)


def _follows(run: str, earlier: Event, later: Event, life: "Life", history: History) -> Iterator[str]:
    if later.fence == earlier.fence:
        yield f"{later.job}: run {run} started twice under the fence {later.fence}"
    elif later.fence < earlier.fence and not _is_forgotten(later.uptime, history):
        yield f"{later.job}: run {run} started under the fence {later.fence} after {earlier.fence}"
    elif later.uptime + CLOCK_GRAIN < life.last and not (
        _thawed(life, later.uptime, history) or _is_forgotten(earlier.uptime, history)
    ):
        yield f"{later.job}: run {run} had two attempts alive at once, {earlier.attempt} and {later.attempt}"
    elif not life.ended and history.only_kills_lose and not any(_took(kill, earlier, later) for kill in history.kills):
        again = f"was started again ({later.attempt}) though attempt {earlier.attempt} was not killed"
        yield f"{later.job}: run {run} {again}"


def _is_forgotten(moment: float, history: History) -> bool:
    """Whether the database may know nothing of what started then: it went back to an earlier state."""
    return any(rewind.struck <= moment <= rewind.known for rewind in history.rewinds)


@dataclass(kw_only=True)
class Life:
    """What the probes saw of one attempt: from when to when it surely lived, and whether it reached its end."""

    start: float
    last: float
    ended: bool = False


def lives_of(history: History) -> dict[tuple[str, int], Life]:
    """The lives of all attempts, by run and fence."""
    lives: dict[tuple[str, int], Life] = {}
    for event in history.events:
        life = lives.setdefault((event.run, event.fence), Life(start=event.uptime, last=event.uptime))
        life.start, life.last = min(life.start, event.uptime), max(life.last, event.uptime)
        life.ended = life.ended or event.kind == "end"
    return lives


def _thawed(life: Life, since: float, history: History) -> bool:
    """Whether an attempt was seen after `since` only because its whole machine had stood still until just before."""
    return any(
        life.start <= freeze.buried and life.last <= freeze.buried + THAW and freeze.struck - CLOCK_GRAIN <= since
        for freeze in history.frozen
    )


def fences_belong_to_one_attempt(history: History) -> Iterator[str]:
    """No two attempts, of whatever runs, have the same fence."""
    owners: dict[int, tuple[str, int]] = {}
    for row in history.rows:
        for number, fence in row.attempts:
            owner = owners.setdefault(fence, (row.id, number))
            if owner != (row.id, number):
                yield f"{row.job}: run {row.id} and run {owner[0]} have attempts under the fence {fence}"
    for event in history.events:
        owner = owners.setdefault(event.fence, (event.run, event.attempt))
        if event.kind == "start" and owner[0] != event.run:
            yield f"{event.job}: run {event.run} was started under the fence {event.fence} of run {owner[0]}"


def runs_of_a_job_do_not_overlap(history: History) -> Iterator[str]:
    """Of a job whose runs may not overlap, the attempts of different runs never live at once."""
    jobs = {event.run: event.job for event in history.events}
    by_job: defaultdict[str, list[tuple[Life, str]]] = defaultdict(list)
    for (run, _), life in lives_of(history).items():
        by_job[jobs[run]].append((life, run))
    for name, seen in by_job.items():
        if name not in history.jobs or history.jobs[name].overlaps:
            continue
        furthest, holder = float("-inf"), ""
        for life, run in sorted(seen, key=lambda one: one[0].start):
            if life.start + CLOCK_GRAIN < furthest and run != holder:
                yield f"{name}: runs {holder} and {run} were under way at once"
            if life.last > furthest and not (_froze(life, history) or _is_forgotten(life.start, history)):
                furthest, holder = life.last, run


def _froze(life: Life, history: History) -> bool:
    """Whether the attempt's machine stood still at its end."""
    return any(freeze.struck <= life.last <= freeze.buried + THAW for freeze in history.frozen)


def _took(kill: Kill, earlier: Event, later: Event) -> bool:
    """Whether the earlier attempt can have died of this kill: it had begun by the burial, the later one not before."""
    return earlier.uptime <= kill.buried + CLOCK_GRAIN and kill.struck - CLOCK_GRAIN <= later.uptime


def probes_are_known_attempts(history: History) -> Iterator[str]:
    """Whatever ran is an attempt on record, under the fence on record."""
    known = {(row.id, fence) for row in history.rows for _, fence in row.attempts}
    for event in history.events:
        is_known = (event.run, event.fence) in known or _is_forgotten(event.uptime, history)
        if event.kind == "start" and not is_known:
            yield f"{event.job}: run {event.run} fence {event.fence} ran and is on no record"


def success_was_seen(history: History) -> Iterator[str]:
    """A run is called succeeded only if its last attempt reached its end."""
    ended = {(event.run, event.fence) for event in history.events if event.kind == "end"}
    for row in history.rows:
        job = history.jobs.get(row.job)
        if job is None or not job.probes_its_end or row.state != "succeeded":
            continue
        if not row.attempts or (row.id, row.attempts[-1][1]) not in ended:
            yield f"{row.job}: run {row.id} is called succeeded, but its last attempt never reached its end"


def at_most_once_starts_once(history: History) -> Iterator[str]:
    """A run of an at-most-once job was started at most once, for ever."""
    jobs = {event.run: event.job for event in history.events}
    for run, count in Counter(event.run for event in history.events if event.kind == "start").items():
        job = jobs[run]
        if count > 1 and job in history.jobs and history.jobs[job].at_most_once:
            yield f"{job}: run {run} was started {count} times although at most once was promised"


# ── what was acknowledged ────────────────────────────────────────────────────────────────────────────────


def triggers_are_kept(history: History) -> Iterator[str]:
    """An acknowledged trigger is one run, the same under each repetition of its key; no trigger made two."""
    rows: dict[str, Row] = {row.id: row for row in history.rows}
    runs: defaultdict[str, set[str]] = defaultdict(set)
    for one in history.acknowledged:
        if one.run not in rows and may_be_forgotten(one, history):
            continue
        runs[one.key].add(one.run)
        if one.run not in rows:
            yield f"the acknowledged trigger {one.key} has no run {one.run}"
    for key, ids in runs.items():
        if len(ids) > 1:
            yield f"the trigger {key} made {len(ids)} runs"
    manual = sum(row.trigger == "manual" for row in history.rows)
    if manual > len(runs):
        yield f"{manual} manual runs for {len(runs)} triggers"


def may_be_forgotten(one: Acknowledged, history: History) -> bool:
    """Whether a trigger took effect, or may have, in what a database lost that went back."""
    window = one.window
    return window is not None and any(
        rewind.lost.asked <= window.answered and window.asked <= rewind.lost.answered for rewind in history.rewinds
    )
