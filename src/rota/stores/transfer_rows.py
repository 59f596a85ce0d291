"""How values of each kind become rows, and back; the same for every store."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rota.core.model import RunId, Worker
from rota.store.jobs import Revision
from rota.store.transfer import Fact, Kind, StoredOutput
from rota.stores.access_rows import (
    answer_from_row,
    answer_row,
    audit_from_row,
    audit_row,
    login_from_row,
    login_row,
    secret_from_row,
    secret_row,
    token_from_row,
    token_row,
)
from rota.stores.alert_rows import condition_from_row, condition_row, notice_from_row, notice_row
from rota.stores.job_rows import job_from_row, job_row, revision_from_row
from rota.stores.rows import (
    Row,
    gap_from_row,
    gap_row,
    run_from_row,
    run_row,
    stats_from_row,
    stats_row,
    to_json,
    to_micros,
)
from rota.stores.session_rows import worker_from_row, worker_row


class Codec(NamedTuple):
    """Values to rows and back, and the columns that a page is ordered by."""

    row: Callable[[Any], Row]
    value: Callable[[Row], Any]
    key: tuple[int, ...] = (0,)


def _revision_row(revision: Revision) -> Row:
    return (
        revision.job_id, revision.revision, to_json(revision.spec), to_micros(revision.changed), revision.actor,
        revision.source,
    )  # fmt: skip


def _fact_row(fact: Fact) -> Row:
    return (fact.key, fact.value)


def _fact(row: Row) -> Fact:
    return Fact(key=row[0], value=row[1])


def _output_row(output: StoredOutput) -> Row:
    return (
        output.run_id, output.attempt, output.sequence, output.last_sequence, output.first_line, output.lines,
        output.offset, output.size, output.compressed, output.data,
    )  # fmt: skip


def _output(row: Row) -> StoredOutput:
    run_id, attempt, sequence, last_sequence, first_line, lines, offset, size, compressed, data = row
    return StoredOutput(
        run_id=RunId(str(run_id)),
        attempt=attempt,
        sequence=sequence,
        last_sequence=last_sequence,
        first_line=first_line,
        lines=lines,
        offset=offset,
        size=size,
        compressed=bool(compressed),
        data=data,
    )


def _worker_row(worker: Worker) -> Row:
    """A worker as a whole row, the numbers of its sessions included."""
    name, boot_id, *rest, dial = worker_row(worker)
    return (name, boot_id, worker.session, *rest, worker.boot_session, dial)


CODECS: Final[Mapping[Kind, Codec]] = MappingProxyType(
    {
        Kind.FACTS: Codec(_fact_row, _fact),
        Kind.JOBS: Codec(job_row, job_from_row),
        Kind.REVISIONS: Codec(_revision_row, revision_from_row, (0, 1)),
        Kind.COUNTERS: Codec(stats_row, stats_from_row),
        Kind.GAPS: Codec(gap_row, gap_from_row, (0, 1, 2)),
        Kind.RUNS: Codec(run_row, run_from_row),
        Kind.OUTPUT: Codec(_output_row, _output, (0, 1, 2)),
        Kind.NOTICES: Codec(notice_row, notice_from_row),
        Kind.CONDITIONS: Codec(condition_row, condition_from_row),
        Kind.TOKENS: Codec(token_row, token_from_row),
        Kind.LOGINS: Codec(login_row, login_from_row),
        Kind.SECRETS: Codec(secret_row, secret_from_row),
        Kind.ANSWERS: Codec(answer_row, answer_from_row, (0, 1)),
        Kind.AUDIT: Codec(audit_row, lambda row: audit_from_row(row[1:])),  # read with its number in front
        Kind.WORKERS: Codec(_worker_row, worker_from_row),
    }
)
# Before the first key, by kind: lower than any.
NO_ID: Final = "00000000-0000-0000-0000-000000000000"
LOWEST: Final[Mapping[Kind, tuple[Any, ...]]] = MappingProxyType(
    {
        Kind.JOBS: (NO_ID,),
        Kind.REVISIONS: (NO_ID, 0),
        Kind.COUNTERS: (NO_ID,),
        Kind.GAPS: (NO_ID, 0, 0),
        Kind.RUNS: (NO_ID,),
        Kind.OUTPUT: (NO_ID, 0, 0),
        Kind.LOGINS: (b"",),
        Kind.ANSWERS: ("", ""),
        Kind.AUDIT: (0,),
    }
)


def lowest_key(kind: Kind) -> tuple[Any, ...]:
    """A key before all keys of a kind."""
    return LOWEST.get(kind, ("",))
