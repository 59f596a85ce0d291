"""Batches as the functions of the database take them: arrays of rows, sorted by id.

Sorted, because the functions lock in that order, and two batches that lock in one order never wait for each other in a
circle.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from rota.core.ids import shard_of
from rota.core.model import Job, JobId, JobStats, Notice, Run, RunId
from rota.store.jobs import RunChange
from rota.stores.alert_rows import notice_row
from rota.stores.job_rows import job_row
from rota.stores.rows import FINAL_STATES, RUN_COLUMNS, Row, changing_part, run_row, stats_row

SHARDS: Final = 64
_ERROR: Final = RUN_COLUMNS.index("error")
_ERROR_OF_CHANGE: Final = _ERROR - RUN_COLUMNS.index("revision")


class RunBatch(NamedTuple):
    """Runs to be added, each id and each key of a job once, and which of them stands for each of the others."""

    hot: list[Row]
    past: list[Row]
    ids: list[RunId]
    keyed: bool
    jobs: list[JobId]
    twins: dict[RunId, RunId]


class ChangeBatch(NamedTuple):
    """Changes by whether the run stays in the hot table, the ids they are about, and the highest round."""

    kept: list[Row]
    ended: list[Row]
    ids: list[RunId]
    rounds: int


def run_batch(runs: Iterable[Run]) -> RunBatch:
    """Runs as the database adds them; of two with one id, or one key of a job, the first."""
    fresh: dict[RunId, Run] = {}
    keys: dict[tuple[JobId, str], RunId] = {}
    twins: dict[RunId, RunId] = {}
    for run in runs:
        twin = keys.setdefault((run.job_id, run.key), run.id) if run.key else run.id
        if twin != run.id:
            twins[run.id] = twin
        elif run.id not in fresh:
            fresh[run.id] = run
    hot: list[Row] = []
    past: list[Row] = []
    ids = sorted(fresh)
    for id_ in ids:
        run = fresh[id_]
        (past if run.state in FINAL_STATES else hot).append((*_searchable(run_row(run), _ERROR), _shard(run.job_id)))
    return RunBatch(hot, past, ids, bool(keys), sorted({run.job_id for run in fresh.values()}), twins)


def change_batch(changes: Sequence[RunChange], *, alone: Collection[JobId] = ()) -> ChangeBatch:
    """Changes as the database writes them, each looking for the version before its own.

    Changes that must see what an earlier one of the batch did come in a later round than it: those of one run, and
    those of one of these jobs, where a change wants to be `alone`.
    """
    rounds: dict[str, int] = {}
    kept: list[Row] = []
    ended: list[Row] = []
    for change in sorted(changes, key=_run_of) if not alone else changes:
        run = change.run
        key = run.job_id if run.job_id in alone else run.id
        number = rounds[key] = rounds.get(key, -1) + 1
        row = (
            run.id,
            run.job_id,
            run.version - 1,
            number,
            change.alone,
            *_searchable(changing_part(run), _ERROR_OF_CHANGE),
        )
        (ended if run.state in FINAL_STATES else kept).append(row)
    if alone:
        kept.sort(key=_first)
        ended.sort(key=_first)
    return ChangeBatch(kept, ended, list({change.run.id for change in changes}), max(rounds.values(), default=0))


def stats_batch(stats: Iterable[JobStats]) -> list[Row]:
    """Counters as the database writes them."""
    return [stats_row(one) for one in sorted(stats, key=lambda one: one.job_id)]


def notice_batch(notices: Iterable[tuple[Notice, JobId | None]]) -> list[Row]:
    """Notices, each id once: the first; in a plan with the job whose plan must be taken for it."""
    first: dict[str, Row] = {}
    for notice, job_id in notices:
        first.setdefault(notice.id, (*notice_row(notice), job_id))
    return [first[id_] for id_ in sorted(first)]


def job_write_row(job: Job, expected: int) -> Row:
    """A definition with the version it builds on, and with what texts are looked for in."""
    row = job_row(job)
    searched = "\x1f".join(text for text in (job.full_name, job.spec.title, job.spec.schedule or job.spec.at) if text)
    return (*row, searched.casefold().replace("\0", ""), expected)


def _searchable(row: Row, place: int) -> Row:
    """The row with its error case-folded: it is there to be searched; people read the attempts."""
    error: Any = row[place]
    if error is None:
        return row
    return (*row[:place], error.casefold().replace("\0", ""), *row[place + 1 :])


def _shard(job_id: JobId) -> int:
    return shard_of(job_id, SHARDS)


def _run_of(change: RunChange) -> RunId:
    return change.run.id


def _first(row: Row) -> Any:
    return row[0]
