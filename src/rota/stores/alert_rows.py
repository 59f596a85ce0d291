"""Notices and conditions as rows."""

from typing import Final

import msgspec

from rota.core.model import Condition, Notice, RunId
from rota.stores.rows import Row, from_micros, optional_instant, optional_micros, to_json, to_micros

_facts: Final = msgspec.json.Decoder().decode


def notice_row(notice: Notice) -> Row:
    """A notice as a row."""
    return (
        notice.id,
        notice.event,
        notice.route,
        to_micros(notice.created),
        notice.thread,
        notice.job,
        notice.run_id,
        to_json(notice.facts) if notice.facts else None,
        notice.state,
        notice.tries,
        optional_micros(notice.next_try),
        optional_micros(notice.sent),
        notice.error,
    )


def notice_from_row(row: Row) -> Notice:
    """The notice of a row."""
    id_, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error = row
    return Notice(
        id=id_,
        event=event,
        route=route,
        created=from_micros(created),
        thread=thread,
        job=job,
        run_id=None if run_id is None else RunId(str(run_id)),
        facts={} if facts is None else _facts(facts),
        state=state,
        tries=tries,
        next_try=optional_instant(next_try),
        sent=optional_instant(sent),
        error=error,
    )


def settled_row(notice: Notice) -> Row:
    """What may become of a notice, after its id."""
    return (
        notice.id, notice.state, notice.tries, optional_micros(notice.next_try), optional_micros(notice.sent),
        notice.error,
    )  # fmt: skip


def condition_row(condition: Condition) -> Row:
    """A condition as a row."""
    return (condition.key, condition.detail, to_micros(condition.since), condition.hint)


def condition_from_row(row: Row) -> Condition:
    """The condition of a row."""
    key, detail, since, hint = row
    return Condition(key=key, detail=detail, since=from_micros(since), hint=hint)
