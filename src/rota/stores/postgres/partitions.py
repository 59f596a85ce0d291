"""Partitions by day of the history and of the output: made some days ahead, dropped whole when all in them is old.

Nothing depends on them: what has no partition of its own goes to the default one and is deleted row by row. So a role
that may not make tables, or a lock that is not to be had now, harms nothing; it is tried again with the next pruning.
"""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Final

from rota.core.errors import RotaError
from rota.stores.postgres.lanes import Lane, Lanes
from rota.stores.postgres.queries import load
from rota.stores.rows import to_micros

SQL: Final = load("partitions.sql")
HISTORY: Final = "runs_history"
OUTPUT: Final = "output"
_COLUMNS: Final = {HISTORY: "id", OUTPUT: "run_id"}


class Partitions:
    """Days of history."""

    def __init__(self, lanes: Lanes, days_ahead: int) -> None:
        self._lanes = lanes
        self._days_ahead = days_ahead

    async def make(self) -> None:
        """Make what is missing from today to some days ahead."""
        today: date = await self._lanes.verbs.value(SQL["today"])
        await self.make_for({today + timedelta(days=days) for days in range(self._days_ahead + 1)})

    async def make_for(self, days: Collection[date]) -> None:
        """Make what is missing for these days."""
        if self._days_ahead <= 0:
            return
        present = {table: await self.days(table) for table in _COLUMNS}
        missing = [(table, day) for table in _COLUMNS for day in sorted(days) if day not in present[table]]
        if missing:
            async with self._lanes.patient() as lane:
                for table, day in missing:
                    await _patiently(lane, SQL["add"], table, _COLUMNS[table], day)

    async def days(self, table: str) -> set[date]:
        """The days that have a partition of a table."""
        return {day for (day,) in await self._lanes.verbs.rows(SQL["days"], table)}

    async def drop_history(self, before: datetime) -> int:
        """Drop days of which every run finished before `before`; returns how many runs."""
        days = await self._over(HISTORY, before)
        return await self._drop(SQL["drop_history"], [(day, to_micros(before)) for day in days])

    async def drop_output(self, before: datetime) -> int:
        """Drop the output of days that end before `before`; returns how many rows."""
        return await self._drop(SQL["drop_output"], [(day,) for day in await self._over(OUTPUT, before)])

    async def _over(self, table: str, before: datetime) -> list[date]:
        """The days of a table that are over before `before`."""
        return sorted(day for day in await self.days(table) if day < before.date())

    async def _drop(self, sql: str, rows: list[tuple[object, ...]] | list[tuple[date, int]] | list[tuple[date]]) -> int:
        """Run a statement that drops a day, for each; returns what all of them say together."""
        if not rows:
            return 0
        dropped = 0
        async with self._lanes.patient() as lane:
            for row in rows:
                dropped += await _patiently(lane, sql, *row) or 0
        return dropped


async def _patiently(lane: Lane, sql: str, *parameters: object) -> int | None:
    """What the statement says; None where it cannot be done now."""
    try:
        found: int | None = await lane.value(sql, *parameters)
    except RotaError:
        return None
    return found
