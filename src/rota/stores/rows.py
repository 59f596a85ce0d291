"""Values to rows and back: instants as microseconds, nested values as JSON text.

This is the hot path of every store, so rows are plain tuples in the order of the table's columns, and values are made
by their constructors; only nested values go through msgspec. Ids may come back as UUID objects: they are made texts.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from rota.core.model import (
    Attempt,
    Gap,
    JobId,
    JobStats,
    Pause,
    Reason,
    Run,
    RunId,
    RunState,
    Trigger,
)
from rota.core.release import InLine

Row = tuple[Any, ...]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
FINAL_STATES: Final = frozenset(state for state in RunState if state.is_final)

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_reason = msgspec.json.Decoder(Reason).decode
_attempt = msgspec.json.Decoder(Attempt).decode
_attempts = msgspec.json.Decoder(tuple[Attempt, ...]).decode
texts_from_json: Final = msgspec.json.Decoder(dict[str, str]).decode
_pause = msgspec.json.Decoder(Pause).decode
_any = msgspec.json.Decoder().decode

_id: Final[Callable[[Any], Any]] = str  # a text stays the same object

_STATES: Final = {state.value: state for state in RunState}
_TRIGGERS: Final = {trigger.value: trigger for trigger in Trigger}
_STATE_TEXT: Final = {state: state.value for state in RunState}
_TRIGGER_TEXT: Final = {trigger: trigger.value for trigger in Trigger}

RUN_COLUMNS: Final = (
    "id", "job_id", "job", "due", "nominal", "trigger", "created", "retry_of", "key", "actor",
    "revision", "kind", "params", "state", "ready_at", "late_at", "reason", "attempts", "current",
    "failures", "losses", "released", "cancel", "session", "started", "finished", "result",
    "worker", "exit", "error", "version", "withdrawn",
)  # fmt: skip


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - EPOCH) // MICROSECOND


@lru_cache(maxsize=16_384)
def from_micros(micros: int) -> datetime:
    """The instant of `to_micros`; a run repeats its moments, and runs those of each other."""
    return EPOCH + timedelta(0, 0, micros)


def optional_micros(moment: datetime | None) -> int | None:
    """As `to_micros`; None stays None."""
    return None if moment is None else (moment - EPOCH) // MICROSECOND


def optional_instant(micros: int | None) -> datetime | None:
    """As `from_micros`; None stays None."""
    return None if micros is None else from_micros(micros)


def to_json(value: Any) -> str:
    """A nested value as JSON text."""
    return _encode(value).decode()


def to_stable_json(value: Any) -> str:
    """As `to_json`, keys in order: equal values give equal text."""
    return _encode_sorted(value).decode()


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


def fixed_part(run: Run) -> Row:
    """The columns that never change."""
    return (
        run.id,
        run.job_id,
        run.job,
        (run.due - EPOCH) // MICROSECOND,
        (run.nominal - EPOCH) // MICROSECOND,
        _TRIGGER_TEXT[run.trigger],
        (run.created - EPOCH) // MICROSECOND,
        run.retry_of,
        run.key,
        run.actor,
    )


def changing_part(run: Run) -> Row:
    """The columns a write may change, in the order of the table."""
    current = run.current
    last = current or (run.attempts[-1] if run.attempts else None)
    return (
        run.revision,
        run.kind,
        _encode(run.params).decode() if run.params else None,
        _STATE_TEXT[run.state],
        (run.ready_at - EPOCH) // MICROSECOND,
        None if run.late_at is None else (run.late_at - EPOCH) // MICROSECOND,
        None if run.reason is None else _encode(run.reason).decode(),
        _encode(run.attempts).decode() if run.attempts else None,
        None if current is None else _encode(current).decode(),
        run.failures,
        run.losses,
        None if run.released is None else (run.released - EPOCH) // MICROSECOND,
        None if run.cancel is None else _encode(run.cancel).decode(),
        run.session,
        None if run.started is None else (run.started - EPOCH) // MICROSECOND,
        None if run.finished is None else (run.finished - EPOCH) // MICROSECOND,
        None if run.result is None else _encode(run.result).decode(),
        None if last is None else last.worker,
        None if last is None else last.exit,
        None if last is None else last.error,
        run.version,
        None if run.withdrawn is None else _encode(run.withdrawn).decode(),
    )


def lines_from_rows(rows: Iterable[Row]) -> dict[JobId, list[InLine]]:
    """Unfinished runs in short, by job."""
    lines: dict[JobId, list[InLine]] = {}
    for job_id, id_, due, is_released, version in rows:
        one = InLine(id=_id(id_), due=from_micros(due), is_released=bool(is_released), version=version)
        lines.setdefault(_id(job_id), []).append(one)
    return lines


def run_row(run: Run) -> Row:
    """A run as a row of either table."""
    return fixed_part(run) + changing_part(run)


def changed_row(run: Run) -> Row:
    """A run as the parameters of an update: what may change, then the id."""
    return (*changing_part(run), run.id)


def run_from_row(row: Row) -> Run:
    """The run of a row of either table."""
    (id_, job_id, job, due, nominal, trigger, created, retry_of, key, actor,
     revision, kind, params, state, ready_at, late_at, reason, attempts, current,
     failures, losses, released, cancel, session, started, finished, result, _, _, _, version,
     withdrawn) = row  # fmt: skip
    return Run(
        id=_id(id_),
        job_id=_id(job_id),
        job=job,
        revision=revision,
        due=from_micros(due),
        nominal=from_micros(nominal),
        trigger=_TRIGGERS[trigger],
        state=_STATES[state],
        kind=kind,
        created=from_micros(created),
        ready_at=from_micros(ready_at),
        reason=None if reason is None else _reason(reason),
        late_at=None if late_at is None else from_micros(late_at),
        retry_of=None if retry_of is None else _id(retry_of),
        key=key,
        attempts=() if attempts is None else _attempts(attempts),
        current=None if current is None else _attempt(current),
        failures=failures,
        losses=losses,
        released=None if released is None else from_micros(released),
        cancel=None if cancel is None else _reason(cancel),
        withdrawn=None if withdrawn is None else _reason(withdrawn),
        session=session,
        started=None if started is None else from_micros(started),
        finished=None if finished is None else from_micros(finished),
        params={} if params is None else texts_from_json(params),
        result=None if result is None else _any(result),
        actor=actor,
        version=version,
    )


# ── counters and gaps ────────────────────────────────────────────────────────────────────────────────────


def stats_row(stats: JobStats) -> Row:
    """Counters as a row."""
    return (
        stats.job_id,
        stats.recent,
        stats.fails_in_row,
        stats.streak,
        optional_micros(stats.alerted_at),
        stats.last_run,
        None if stats.last_state is None else _STATE_TEXT[stats.last_state],
        optional_micros(stats.last_due),
        optional_micros(stats.last_finished),
        optional_micros(stats.last_success),
        optional_micros(stats.late_since),
        stats.version,
    )


def stats_from_row(row: Row) -> JobStats:
    """The counters of a row."""
    (job_id, recent, fails_in_row, streak, alerted_at, last_run, last_state,
     last_due, last_finished, last_success, late_since, version) = row  # fmt: skip
    return JobStats(
        job_id=JobId(str(job_id)),
        recent=recent,
        fails_in_row=fails_in_row,
        streak=None if streak is None else RunId(str(streak)),
        alerted_at=optional_instant(alerted_at),
        last_run=None if last_run is None else RunId(str(last_run)),
        last_state=None if last_state is None else _STATES[last_state],
        last_due=optional_instant(last_due),
        last_finished=optional_instant(last_finished),
        last_success=optional_instant(last_success),
        late_since=optional_instant(late_since),
        version=version,
    )


def gap_row(gap: Gap) -> Row:
    """A gap as a row."""
    return (
        gap.job_id,
        to_micros(gap.until),
        to_micros(gap.after),
        gap.count,
        to_json(gap.reason),
        to_micros(gap.created),
    )


def gap_from_row(row: Row) -> Gap:
    """The gap of a row."""
    job_id, until, after, count, reason, created = row
    return Gap(
        job_id=JobId(str(job_id)),
        after=from_micros(after),
        until=from_micros(until),
        count=count,
        reason=_reason(reason),
        created=from_micros(created),
    )


@lru_cache(maxsize=4096)
def pause_from_text(text: str) -> Pause:
    """The pause of its JSON text; an installation paused at once has thousands of the same."""
    return _pause(text)
