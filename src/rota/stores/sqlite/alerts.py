"""The outbox of notices and the standing conditions on SQLite: `rota.store.alerts.Alerts`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from rota.core.model import Condition, Notice
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.rows import Row, from_micros, optional_instant, optional_micros, to_micros
from rota.stores.sqlite.writes import add_notices

SQL: Final = load("alerts.sql")
PRUNED_AT_ONCE: Final = 500
_facts = msgspec.json.Decoder().decode


class SqliteAlerts:
    """Notices leave at least once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, notices: Sequence[Notice]) -> None:
        """Queue notices; one whose id exists is left as it is."""
        await self._database.write(lambda connection: add_notices(connection, notices))

    async def pending(self, now: datetime, limit: int) -> list[Notice]:
        """Notices to send now, oldest first."""
        return await self._notices("pending", to_micros(now), limit)

    async def next_try(self) -> datetime | None:
        """When the earliest pending notice may be tried."""
        return await self._database.read(
            lambda connection: optional_instant(connection.execute(SQL["next_try"]).fetchone()[0])
        )

    async def settle(self, notices: Sequence[Notice]) -> None:
        """Write what became of notices."""
        rows = [
            (one.id, one.state, one.tries, optional_micros(one.next_try), optional_micros(one.sent), one.error)
            for one in notices
        ]
        await self._database.write(lambda connection: connection.executemany(SQL["settle"], rows))

    async def recent(self, limit: int) -> list[Notice]:
        """The newest notices, newest first."""
        return await self._notices("recent", limit)

    async def raise_condition(self, condition: Condition) -> bool:
        """Note a condition; returns False, changing only its detail and hint, when it is already there."""
        return await self._database.write(lambda connection: _raise(connection, condition))

    async def clear_condition(self, key: str) -> bool:
        """Remove a condition; returns whether it was there."""
        return await self._database.write(
            lambda connection: connection.execute(SQL["clear_condition"], (key,)).rowcount == 1
        )

    async def conditions(self) -> list[Condition]:
        """All standing conditions, oldest first."""
        return await self._database.read(
            lambda connection: [
                Condition(key=key, detail=detail, since=from_micros(since), hint=hint)
                for key, detail, since, hint in connection.execute(SQL["conditions"])
            ]
        )

    async def prune(self, before: datetime) -> int:
        """Delete sent and given-up notices created before `before`, a few hundred per transaction."""
        pruned, deleted = 0, PRUNED_AT_ONCE
        row = (to_micros(before), PRUNED_AT_ONCE)
        while deleted == PRUNED_AT_ONCE:
            deleted = await self._database.write(lambda connection: connection.execute(SQL["prune"], row).rowcount)
            pruned += deleted
        return pruned

    async def _notices(self, statement: str, *parameters: int) -> list[Notice]:
        """The notices a statement finds."""
        return await self._database.read(
            lambda connection: [_notice_from_row(row) for row in connection.execute(SQL[statement], parameters)]
        )


def _raise(connection: sqlite3.Connection, condition: Condition) -> bool:
    """Insert the condition, or renew its words."""
    row = (condition.key, condition.detail, to_micros(condition.since), condition.hint)
    if connection.execute(SQL["raise_condition"], row).rowcount == 1:
        return True
    connection.execute(SQL["renew_condition"], (condition.key, condition.detail, condition.hint))
    return False


def _notice_from_row(row: Row) -> Notice:
    """The notice of a row."""
    id_, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error = row
    return Notice(
        id=id_,
        event=event,
        route=route,
        created=from_micros(created),
        thread=thread,
        job=job,
        run_id=run_id,
        facts={} if facts is None else _facts(facts),
        state=state,
        tries=tries,
        next_try=optional_instant(next_try),
        sent=optional_instant(sent),
        error=error,
    )
