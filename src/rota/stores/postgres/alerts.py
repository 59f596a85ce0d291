"""The outbox of notices and the standing conditions on PostgreSQL: `rota.store.alerts.Alerts`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.core.model import Condition, Notice
from rota.stores.alert_rows import condition_from_row, condition_row, notice_from_row, settled_row
from rota.stores.postgres.batches import notice_batch
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.rows import optional_instant, to_micros

SQL: Final = load("alerts.sql")
PRUNED_AT_ONCE: Final = 1_000


class PostgresAlerts:
    """Notices leave at least once."""

    def __init__(self, verbs: Lane) -> None:
        self._verbs = verbs

    async def add(self, notices: Sequence[Notice]) -> None:
        """Queue notices; one whose id exists is left as it is."""
        if notices:
            await self._verbs.rows(SQL["add"], notice_batch((notice, None) for notice in notices))

    async def pending(self, now: datetime, limit: int) -> list[Notice]:
        """Notices to send now, oldest first."""
        return await self._notices("pending", to_micros(now), limit)

    async def next_try(self) -> datetime | None:
        """When the earliest pending notice may be tried."""
        return optional_instant(await self._verbs.value(SQL["next_try"]))

    async def settle(self, notices: Sequence[Notice]) -> None:
        """Write what became of notices."""
        last = {notice.id: settled_row(notice) for notice in notices}
        if last:
            columns = zip(*(last[id_] for id_ in sorted(last)), strict=True)
            await self._verbs.rows(SQL["settle"], *map(list, columns))

    async def recent(self, limit: int) -> list[Notice]:
        """The newest notices, newest first."""
        return await self._notices("recent", limit)

    async def raise_condition(self, condition: Condition) -> bool:
        """Note a condition; returns False, changing only its detail and hint, when it is already there."""
        return bool(await self._verbs.value(SQL["raise_condition"], *condition_row(condition)))

    async def clear_condition(self, key: str) -> bool:
        """Remove a condition; returns whether it was there."""
        return await self._verbs.row(SQL["clear_condition"], key) is not None

    async def conditions(self) -> list[Condition]:
        """All standing conditions, oldest first."""
        return [condition_from_row(row) for row in await self._verbs.rows(SQL["conditions"])]

    async def prune(self, before: datetime) -> int:
        """Delete sent and given-up notices created before `before`, some hundred per statement."""
        pruned, deleted = 0, PRUNED_AT_ONCE
        while deleted == PRUNED_AT_ONCE:
            deleted = await self._verbs.value(SQL["prune"], to_micros(before), PRUNED_AT_ONCE)
            pruned += deleted
        return pruned

    async def _notices(self, statement: str, *parameters: int) -> list[Notice]:
        """The notices a statement finds."""
        return [notice_from_row(row) for row in await self._verbs.rows(SQL[statement], *parameters)]
