"""Everything a PostgreSQL store holds, to be carried: `rota.store.transfer.Transfer`. Written by COPY."""

from collections.abc import Sequence
from typing import Any, Final

from rota.core.ids import run_day
from rota.core.model import Run
from rota.store.transfer import FenceCounter, Key, Kind, Page
from rota.stores.job_rows import JOB_COLUMNS
from rota.stores.postgres.batches import job_write_row, run_batch
from rota.stores.postgres.lanes import Lanes, PatientLane
from rota.stores.postgres.partitions import Partitions
from rota.stores.postgres.queries import load
from rota.stores.rows import RUN_COLUMNS, Row
from rota.stores.transfer_rows import CODECS, lowest_key

SQL: Final = load("transfer.sql")
_RUN_TABLES: Final = ("hot", "past")
_CURSOR: Final = ("shard", "version", "cursor", "next_at", "pause", "broken", "deleted")
_NOT_IN_JOBS: Final = frozenset(_CURSOR) - {"deleted"}
_JOB: Final = tuple(column for column in JOB_COLUMNS if column not in _NOT_IN_JOBS)
# Where the values of a kind go, and in which columns.
_TABLES: Final[dict[Kind, tuple[str, tuple[str, ...]]]] = {
    Kind.REVISIONS: ("revisions", ("job_id", "revision", "spec", "changed", "actor", "source")),
    Kind.COUNTERS: (
        "job_stats",
        (
            "job_id", "recent", "fails_in_row", "streak", "alerted_at", "last_run", "last_state", "last_due",
            "last_finished", "last_success", "late_since", "version",
        ),
    ),
    Kind.GAPS: ("gaps", ("job_id", "until", "after", "count", "reason", "created")),
    Kind.OUTPUT: (
        "output",
        (
            "run_id", "attempt", "sequence", "last_sequence", "first_line", "lines", "offset", "bytes", "compressed",
            "data",
        ),
    ),
    Kind.NOTICES: (
        "notices",
        (
            "id", "event", "route", "created", "thread", "job", "run_id", "facts", "state", "tries", "next_try", "sent",
            "error",
        ),
    ),
    Kind.CONDITIONS: ("conditions", ("key", "detail", "since", "hint")),
    Kind.TOKENS: (
        "tokens",
        (
            "id", "digest", "name", "scopes", "created", "expires", "last_used", "revoked", "worker", "uses", "labels",
        ),
    ),
    Kind.LOGINS: ("logins", ("digest", "kind", "token_id", "created", "expires", "csrf")),
    Kind.SECRETS: ("secrets", ("name", "key_id", "nonce", "ciphertext", "updated")),
    Kind.ANSWERS: ("answers", ("key", "actor", "request_digest", "status", "body", "created")),
    Kind.AUDIT: ("audit", ("at", "actor", "verb", "object", "detail", "request_id")),
    Kind.WORKERS: (
        "workers",
        (
            "name", "boot_id", "session", "server", "version", "labels", "capacity", "cpus", "memory", "connected",
            "last_seen", "disconnected", "draining", "clock_offset", "settled", "boot_session", "dial",
        ),
    ),
}  # fmt: skip


class PostgresTransfer:
    """Reading and writing whole stores."""

    def __init__(self, lanes: Lanes, partitions: Partitions) -> None:
        self._lanes = lanes
        self._partitions = partitions

    async def is_empty(self) -> bool:
        """Whether there is nothing anybody would miss."""
        return bool(await self._lanes.verbs.value(SQL["is_empty"]))

    async def read(self, kind: Kind, after: Key | None, limit: int) -> Page:
        """Values of a kind in order of their key; of runs the unfinished ones first."""
        table, *key = after or ((_RUN_TABLES[0],) if kind is Kind.RUNS else (kind.value,)) + lowest_key(kind)
        codec = CODECS[kind]
        rows = await self._lanes.verbs.rows(SQL[table], *key, limit)
        following: Key | None = None
        if len(rows) == limit:
            following = (table, *(rows[-1][place] for place in codec.key))
        elif table == _RUN_TABLES[0]:
            following = (_RUN_TABLES[1], *lowest_key(kind))
        return Page(values=tuple(codec.value(row) for row in rows), next=following)

    async def write(self, kind: Kind, values: Sequence[Any]) -> None:
        """Add values of a kind."""
        if kind in (Kind.RUNS, Kind.OUTPUT):
            ids = [value.id if isinstance(value, Run) else value.run_id for value in values]
            await self._partitions.make_for({run_day(id_).date() for id_ in ids})
        async with self._lanes.patient() as lane:
            if kind is Kind.FACTS:
                rows = [CODECS[kind].row(value) for value in values]
                await lane.rows(SQL["put_facts"], [key for key, _ in rows], [value for _, value in rows])
            elif kind is Kind.JOBS:
                await _write_jobs(lane, [job_write_row(job, 0) for job in values])
            elif kind is Kind.RUNS:
                await _write_runs(lane, values)
            else:
                table, columns = _TABLES[kind]
                await lane.copy(table, columns, [CODECS[kind].row(value) for value in values])

    async def fences(self) -> FenceCounter:
        """What the store would give next."""
        row = await self._lanes.verbs.row(SQL["fences"])
        assert row is not None
        return FenceCounter(incarnation=row[0], counter=row[1])

    async def raise_fences(self, at_least: FenceCounter) -> None:
        """Let every fence given from now on be at least that one."""
        await self._lanes.verbs.rows(SQL["raise_fences"], at_least.incarnation, at_least.counter)


async def _write_jobs(lane: PatientLane, rows: Sequence[Row]) -> None:
    """Definitions, and beside them their cursors."""
    named = [dict(zip((*JOB_COLUMNS, "searched"), row, strict=False)) for row in rows]
    columns = (*_JOB, "searched")
    await lane.copy("jobs", columns, [tuple(row[column] for column in columns) for row in named])
    cursors = [(row["id"], *(row[column] for column in _CURSOR)) for row in named]
    await lane.copy("job_cursors", ("job_id", *_CURSOR), cursors)


async def _write_runs(lane: PatientLane, runs: Sequence[Run]) -> None:
    """Runs of either table, and their keys."""
    batch = run_batch(runs)
    await lane.copy("runs_hot", (*RUN_COLUMNS, "shard"), batch.hot)
    await lane.copy("runs_history", RUN_COLUMNS, [row[:-1] for row in batch.past])
    keys = [(run.job_id, run.key, run.id) for run in runs if run.key]
    await lane.copy("run_keys", ("job_id", "key", "run_id"), keys)
