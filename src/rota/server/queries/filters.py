"""Which jobs and runs a query means: the terms of the query language as the store's JobQuery and RunQuery."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rota.core.model import RunState, Trigger
from rota.core.query_language import Key, QueryError, Term, merged, parse_terms, parse_time
from rota.core.units import BadUnit, parse_duration
from rota.store.views import JobQuery, RunQuery

DEFAULT_WINDOW: Final = timedelta(hours=24)
CONDITIONS: Final = ("paused", "failing", "late", "broken", "new", "shadow")
_STATES: Final = tuple(state.value for state in RunState)
_JOB_KEYS: Final = {
    "state": Key(choices=_STATES),
    "is": Key(choices=CONDITIONS),
    "ns": Key(),
    "job": Key(negatable=True),
    "label": Key(),
    "tag": Key(),
    "owner": Key(single=True),
    "source": Key(single=True),
    "text": Key(),
}
_RUN_KEYS: Final = {
    "state": Key(choices=_STATES),
    "since": Key(single=True),
    "until": Key(single=True),
    "ns": Key(),
    "job": Key(negatable=True),
    "worker": Key(),
    "trigger": Key(choices=tuple(trigger.value for trigger in Trigger)),
    "exit": Key(),
    "dur": Key(),
    "text": Key(),
}
_DURATION: Final = re.compile(r"([<>])=?(.+)")
_EXIT: Final = re.compile(r"-?[0-9]{1,9}", re.ASCII)


def job_query(text: str) -> JobQuery:
    """The jobs that `text` asks for; raises QueryError."""
    terms = parse_terms(text, _JOB_KEYS)
    return JobQuery(
        namespaces=merged(terms, "ns"),
        names=merged(terms, "job"),
        not_names=merged(terms, "job", negated=True),
        last_states=_states(terms),
        conditions=tuple(value.lower() for value in merged(terms, "is")),
        labels=_labels(terms),
        owner=_one(terms, "owner"),
        text=_text(terms),
        source=_one(terms, "source"),
    )


def run_query(
    text: str, *, now: datetime, zone: ZoneInfo, since: str | None = None, until: str | None = None
) -> RunQuery:
    """The runs that `text` asks for, bounded in time: `since` and `until` unless the text says, else the last 24 h."""
    terms = parse_terms(text, _RUN_KEYS)
    start = _one(terms, "since") or since
    end = _one(terms, "until") or until
    longer, shorter = _durations(terms)
    return RunQuery(
        since=parse_time(start, now, zone) if start else now - DEFAULT_WINDOW,
        until=parse_time(end, now, zone) if end else None,
        namespaces=merged(terms, "ns"),
        jobs=merged(terms, "job"),
        not_jobs=merged(terms, "job", negated=True),
        states=_states(terms),
        triggers=tuple(Trigger(value.lower()) for value in merged(terms, "trigger")),
        workers=merged(terms, "worker"),
        exits=tuple(_exit(value) for value in merged(terms, "exit")),
        longer_than=longer,
        shorter_than=shorter,
        text=_text(terms),
    )


def _one(terms: Sequence[Term], key: str) -> str | None:
    values = merged(terms, key)
    return values[0] if values else None


def _text(terms: Sequence[Term]) -> str | None:
    """Bare words are one phrase, as they were typed."""
    return " ".join(merged(terms, "text")) or None


def _states(terms: Sequence[Term]) -> tuple[RunState, ...]:
    return tuple(RunState(value.lower()) for value in merged(terms, "state"))


def _labels(terms: Sequence[Term]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in (*merged(terms, "label"), *merged(terms, "tag")):
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise QueryError(f'"{pair[:40]}" is not a label', hint="write label:name=value")
        labels[name] = value
    return labels


def _exit(value: str) -> int:
    if not _EXIT.fullmatch(value):
        raise QueryError(f'"{value[:40]}" is not an exit code', hint="write exit:137")
    return int(value)


def _durations(terms: Sequence[Term]) -> tuple[float | None, float | None]:
    """The bounds of `dur:>10m` and `dur:<1h`."""
    bounds: dict[str, float] = {}
    for value in merged(terms, "dur"):
        match = _DURATION.fullmatch(value)
        try:
            if match is None:
                raise BadUnit("no comparison")
            bounds[match[1]] = parse_duration(match[2])
        except BadUnit as error:
            raise QueryError(
                f'"{value[:40]}" does not compare a duration', hint="write dur:>10m or dur:<30s"
            ) from error
    return bounds.get(">"), bounds.get("<")
