"""Pages by key: the sort key of the last row given is the cursor; one that belongs to another list is refused."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rota.core.errors import Invalid
from rota.core.model import Gap, JobId, JobStats, Run, RunState
from rota.stores.job_rows import JOB_COLUMNS
from rota.stores.rows import FINAL_STATES, Row, gap_from_row, run_from_row, stats_from_row

Key = tuple[str, ...] | None
LedgerKey = tuple[int, int, str]
"""Time, gap 0 or run 1, and what tells entries of one time apart."""

COUNTED: Final = 10_000
DUE: Final = 3  # position of `due` in a row of runs
LAST: Final = 2**63 - 1
_STATS: Final = len(JOB_COLUMNS)  # where the counters begin in a row of jobs
JOB_SORTS: Final = ("name", "next", "last")


class Order(NamedTuple):
    """An order of runs: the statements that have it, and the condition to go on after a row."""

    name: str
    after: str


NEWEST: Final = Order("newest_first", "(run.due, run.id) < (?, ?)")
OLDEST: Final = Order("oldest_first", "(run.due, run.id) > (?, ?)")
_RUN_SORTS: Final = {"-due": NEWEST, "due": OLDEST}


def check_job_sort(sort: str) -> None:
    """Refuse an order that lists of jobs do not have."""
    if sort not in JOB_SORTS:
        raise Invalid(f"jobs cannot be sorted by {sort!r}", hint=f"one of: {', '.join(JOB_SORTS)}")


def run_order(sort: str) -> Order:
    """The order of a list of runs."""
    order = _RUN_SORTS.get(sort)
    if order is None:
        raise Invalid(f"runs cannot be sorted by {sort!r}", hint=f"one of: {', '.join(_RUN_SORTS)}")
    return order


def tables_of(states: Sequence[RunState]) -> list[str]:
    """Where runs of these states live; none given: everywhere."""
    tables = []
    if not states or any(state not in FINAL_STATES for state in states):
        tables.append("hot")
    if not states or any(state in FINAL_STATES for state in states):
        tables.append("past")
    return tables


# ── rows and their keys ──────────────────────────────────────────────────────────────────────────────────


def job_key(sort: str, row: Row) -> tuple[str, ...]:
    """The sort key of a row of jobs with counters."""
    id_, full_name, next_at, last_finished = str(row[0]), row[3], row[10], row[_STATS + 8]
    if sort == "name":
        return (full_name,)
    if sort == "next":
        return (str(LAST if next_at is None else next_at), id_)
    return ("" if last_finished is None else str(last_finished), id_)


def run_key(row: Row) -> tuple[str, ...]:
    """The sort key of a row of runs."""
    return (str(row[DUE]), str(row[0]))


def stats_of_job(row: Row) -> JobStats:
    """The counters of a row of jobs; a job that never ran has empty ones."""
    return JobStats(job_id=JobId(str(row[0]))) if row[_STATS] is None else stats_from_row(row[_STATS:])


def ledger_entries(runs: Sequence[Row], gaps: Sequence[Row]) -> list[tuple[LedgerKey, Run | Gap]]:
    """Rows of runs and gaps as entries with their keys, in order."""
    entries: list[tuple[LedgerKey, Run | Gap]] = [((row[DUE], 1, str(row[0])), run_from_row(row)) for row in runs]
    entries += [((row[1], 0, str(row[2])), gap_from_row(row)) for row in gaps]
    entries.sort(key=lambda entry: entry[0])
    return entries


# ── keys from callers ────────────────────────────────────────────────────────────────────────────────────


def text_key(after: tuple[str, ...], length: int) -> tuple[str, ...]:
    """A key of so many parts, or Invalid."""
    if len(after) != length:
        raise Invalid("the cursor does not belong to this list", hint="begin again without a cursor")
    return after


def moment_key(after: tuple[str, ...]) -> tuple[int, str]:
    """A key of a moment and an id."""
    moment, id_ = text_key(after, 2)
    return _number(moment), id_


def ledger_key(after: tuple[str, ...]) -> LedgerKey:
    """A key of the ledger."""
    moment, kind, rest = text_key(after, 3)
    if kind not in ("0", "1") or (kind == "0" and rest):
        _number(rest)
    return _number(moment), _number(kind), rest


def _number(text: str) -> Any:
    """A whole number of a key, or Invalid."""
    try:
        return int(text)
    except ValueError:
        raise Invalid("the cursor does not belong to this list", hint="begin again without a cursor") from None
