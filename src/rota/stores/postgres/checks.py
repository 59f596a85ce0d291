"""What is looked at before a database is used: can it keep what it acknowledges, and is a connection a session.

What would lose data or break the locks is refused; what an operator may have chosen is said.
"""

from typing import Final, NamedTuple
from uuid import uuid4

from rota.core.errors import StoreUnusable
from rota.stores.postgres.connection import Connection
from rota.stores.postgres.lanes import Lane

OLDEST_VERSION: Final = 15
_PATIENCE: Final = 1.5  # less than a transaction may be idle
_SETTINGS: Final = """
SELECT
    current_setting('server_version_num')::integer, current_setting('server_version'),
    current_setting('server_encoding'), current_setting('fsync')::boolean,
    current_setting('full_page_writes')::boolean, current_setting('synchronous_commit')
"""
_LOSES: Final = "a crash of its machine loses or tears what it has acknowledged"


class Findings(NamedTuple):
    """What is wrong with a database: reasons not to use it, and things its operator should know."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ServerSettings(NamedTuple):
    """What the checks look at."""

    version_number: int
    version: str
    encoding: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str


def judge(settings: ServerSettings) -> Findings:
    """What these settings mean."""
    refusals: list[str] = []
    warnings: list[str] = []
    if settings.version_number // 10_000 < OLDEST_VERSION:
        refusals.append(f"it is version {settings.version}; Rota needs {OLDEST_VERSION} or newer")
    if settings.encoding != "UTF8":
        refusals.append(f"its encoding is {settings.encoding}; create the database with ENCODING 'UTF8'")
    for name, is_on in (("fsync", settings.fsync), ("full_page_writes", settings.full_page_writes)):
        if not is_on:
            refusals.append(f"{name} is off: {_LOSES}; set {name} = on")
    if settings.synchronous_commit == "off":
        warnings.append(
            "synchronous_commit is off: a crash of the database loses what it acknowledged in the last moments, so a "
            "run may be started again, or forgotten"
        )
    return Findings(tuple(refusals), tuple(warnings))


async def examine(first: Connection, second: Connection) -> Findings:
    """Look at a database over two connections to it."""
    found = judge(ServerSettings(*await first.fetchrow(_SETTINGS)))
    if await _are_sessions(first, second):
        return found
    pooled = (
        "a pooler stands before it that gives a connection away between two transactions: connect to the database "
        "itself, or through the pooler in session mode"
    )
    return found._replace(refusals=(pooled, *found.refusals))


def refuse(findings: Findings, where: str, *, unsafe: bool) -> tuple[str, ...]:
    """Raise StoreUnusable for what may not be; returns what is to be said: `unsafe` makes loss of data such a thing."""
    excused = tuple(text for text in findings.refusals if unsafe and _LOSES in text)
    left = [text for text in findings.refusals if text not in excused]
    if left:
        raise StoreUnusable(f"{where} cannot be used: {'; '.join(left)}")
    return (*excused, *findings.warnings)


async def warnings_of(lane: Lane) -> list[str]:
    """What is wrong with the settings of a database in use."""
    row = await lane.row(_SETTINGS)
    assert row is not None
    found = judge(ServerSettings(*row))
    return [*found.refusals, *found.warnings]


async def _are_sessions(first: Connection, second: Connection) -> bool:
    """Whether each connection keeps its backend and its settings while another one is in a transaction.

    A pooler in transaction mode hands out the backend used last, so the second takes the first one's, and keeps it; if
    there is no other, the first waits in vain.
    """
    mark = uuid4().hex
    before = await first.fetchrow("SELECT pg_backend_pid(), set_config('rota.mark', $1, false)", mark)
    await second.execute("BEGIN")
    try:
        after = await first.fetchrow("SELECT pg_backend_pid(), current_setting('rota.mark', true)", timeout=_PATIENCE)
    except TimeoutError:
        return False
    finally:
        await second.execute("ROLLBACK")
    return tuple(before) == tuple(after)
