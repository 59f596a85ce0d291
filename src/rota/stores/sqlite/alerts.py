"""The outbox of notices and the standing conditions on SQLite: `rota.store.alerts.Alerts`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.core.model import Condition, Notice
from rota.stores.alert_rows import condition_from_row, condition_row, notice_from_row, settled_row
from rota.stores.rows import optional_instant, to_micros
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.writes import add_notices

SQL: Final = load("alerts.sql")
PRUNED_AT_ONCE: Final = 500


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
        rows = [settled_row(one) for one in notices]
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
            lambda connection: [condition_from_row(row) for row in connection.execute(SQL["conditions"])]
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
            lambda connection: [notice_from_row(row) for row in connection.execute(SQL[statement], parameters)]
        )


def _raise(connection: sqlite3.Connection, condition: Condition) -> bool:
    """Insert the condition, or renew its words."""
    if connection.execute(SQL["raise_condition"], condition_row(condition)).rowcount == 1:
        return True
    connection.execute(SQL["renew_condition"], (condition.key, condition.detail, condition.hint))
    return False
