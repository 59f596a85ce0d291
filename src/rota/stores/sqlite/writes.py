"""Writes that several verbs share, each inside the transaction of its verb."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from rota.core.model import Gap, JobId, JobStats, Notice, Run, RunId
from rota.store.jobs import AuditEntry, RunChange
from rota.stores.access_rows import audit_row
from rota.stores.alert_rows import notice_row
from rota.stores.rows import (
    FINAL_STATES,
    changed_row,
    gap_row,
    run_row,
    stats_row,
    to_json,
)
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load

SQL: Final = load("writes.sql")


def create_runs(connection: sqlite3.Connection, runs: Sequence[Run]) -> dict[RunId, RunId]:
    """Insert the runs that do not exist yet; returns, of those that did, the ids of the stored ones by their own."""
    if not runs:
        return {}
    stored = {id_ for (id_,) in connection.execute(SQL["stored_runs"], (ids_json(run.id for run in runs),))}
    by_key = _stored_keys(connection, runs)
    fresh: dict[RunId, Run] = {}
    existing: dict[RunId, RunId] = {}
    for run in runs:
        twin = by_key.setdefault((run.job_id, run.key), run.id) if run.key else run.id
        if twin != run.id or run.id in stored:
            existing[run.id] = twin
        elif run.id not in fresh:
            fresh[run.id] = run
    hot = [run_row(run) for run in fresh.values() if run.state not in FINAL_STATES]
    final = [run_row(run) for run in fresh.values() if run.state in FINAL_STATES]
    if hot:
        connection.executemany(SQL["insert_hot"], hot)
    if final:
        connection.executemany(SQL["insert_history"], final)
    return existing


def _stored_keys(connection: sqlite3.Connection, runs: Sequence[Run]) -> dict[tuple[JobId, str], RunId]:
    """The runs that have the (job, key) of one of these."""
    wanted = [(run.job_id, run.key) for run in runs if run.key]
    if not wanted:
        return {}
    return {(job_id, key): id_ for job_id, key, id_ in connection.execute(SQL["runs_by_key"], (to_json(wanted),))}


class HotVersions:
    """The versions of hot runs as a batch of changes goes through them, one after another."""

    def __init__(self, connection: sqlite3.Connection, ids: Iterable[RunId]) -> None:
        rows: list[tuple[RunId, int, JobId]] = connection.execute(SQL["hot_versions"], (ids_json(ids),)).fetchall()
        self._versions = {id_: version for id_, version, _ in rows}
        self.job_ids = {job_id for _, _, job_id in rows}

    def is_next(self, run: Run) -> bool:
        """Whether `run` is the write that follows what is stored."""
        return self._versions.get(run.id) == run.version - 1

    def take(self, run: Run) -> None:
        """Count `run` as written."""
        if run.state in FINAL_STATES:
            self._versions.pop(run.id)
        else:
            self._versions[run.id] = run.version


def write_changed(connection: sqlite3.Connection, runs: Sequence[Run]) -> None:
    """Write runs whose versions were checked; those that are final now move to the history."""
    kept = [changed_row(run) for run in runs if run.state not in FINAL_STATES]
    if kept:
        connection.executemany(SQL["update_hot"], kept)
    final = [run for run in runs if run.state in FINAL_STATES]
    if final:
        connection.execute(SQL["delete_hot"], (ids_json(run.id for run in final),))
        connection.executemany(SQL["insert_history"], [run_row(run) for run in final])


def write_still_current(connection: sqlite3.Connection, changes: Sequence[RunChange]) -> None:
    """Write those changes whose run has not moved on."""
    if not changes:
        return
    versions = HotVersions(connection, (change.run.id for change in changes))
    taken: list[Run] = []
    for change in changes:
        if versions.is_next(change.run):
            versions.take(change.run)
            taken.append(change.run)
    write_changed(connection, taken)


def moved_waiting(connection: sqlite3.Connection, changes: Sequence[RunChange]) -> set[str]:
    """The full names of the jobs of runs that still wait, and are not as the writer of these saw them.

    Only the first of several changes of a run tells what the run was; the others build on it.
    """
    if not changes:
        return set()
    expected: dict[RunId, int] = {}
    for change in changes:
        expected.setdefault(change.run.id, change.run.version - 1)
    rows = connection.execute(SQL["waiting_versions"], (ids_json(expected),))
    return {job for run_id, version, job in rows if version != expected[run_id]}


def moved_stats(connection: sqlite3.Connection, stats: Sequence[JobStats]) -> set[JobId]:
    """The jobs whose counters are not as the writer of these saw them."""
    if not stats:
        return set()
    rows = connection.execute(SQL["stats_versions"], (ids_json(one.job_id for one in stats),))
    versions: dict[JobId, int] = dict(rows.fetchall())
    return {one.job_id for one in stats if versions.get(one.job_id, 0) != one.version - 1}


def put_stats(connection: sqlite3.Connection, stats: Sequence[JobStats]) -> None:
    """Write the counters of jobs."""
    if stats:
        connection.executemany(SQL["put_stats"], [stats_row(one) for one in stats])


def add_gaps(connection: sqlite3.Connection, gaps: Sequence[Gap]) -> None:
    """Add gaps; one that exists is left as it is."""
    if gaps:
        connection.executemany(SQL["add_gap"], [gap_row(gap) for gap in gaps])


def add_notices(connection: sqlite3.Connection, notices: Sequence[Notice]) -> None:
    """Queue notices; one whose id exists is left as it is."""
    if notices:
        connection.executemany(SQL["add_notice"], [notice_row(notice) for notice in notices])


def add_audit(connection: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
    """Append entries to the audit trail."""
    if entries:
        connection.executemany(
            SQL["add_audit"],
            [audit_row(entry) for entry in entries],
        )
