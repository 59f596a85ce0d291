"""Workers and their sessions on PostgreSQL: `rota.store.sessions.Sessions`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.core.model import Worker
from rota.store.sessions import Sign
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.refusals import hello_overtaken, twin_connected
from rota.stores.rows import to_micros
from rota.stores.session_rows import worker_from_row, worker_row

SQL: Final = load("sessions.sql")
_MICROS: Final = 1_000_000


class PostgresSessions:
    """One row per worker."""

    def __init__(self, verbs: Lane) -> None:
        self._verbs = verbs

    async def connect(self, worker: Worker) -> int:
        """Write the worker's row with a session number one higher than any it had."""
        row = await self._verbs.row(SQL["connect"], worker_row(worker))
        number, twin, overtaken = row or (None, None, False)
        if twin is not None:
            raise twin_connected(worker.name, twin)
        if overtaken:
            raise hello_overtaken(worker.name)
        assert isinstance(number, int)
        return number

    async def disconnect(self, name: str, session: int, at: datetime) -> bool:
        """Note that the session's channel has ended, if it is still the worker's newest."""
        return await self._verbs.row(SQL["disconnect"], name, session, to_micros(at)) is not None

    async def settle(self, name: str, session: int, at: datetime) -> bool:
        """Note that what the session held has been dealt with, if it is still the worker's newest."""
        return await self._verbs.row(SQL["settle"], name, session, to_micros(at)) is not None

    async def orphans(self, grace: float, limit: int) -> list[Worker]:
        """Workers that are not settled and whose server's lease ended long ago."""
        rows = await self._verbs.rows(SQL["orphans"], round(grace * _MICROS), limit)
        return [worker_from_row(row) for row in rows]

    async def unsettled(self, server: str) -> dict[str, int]:
        """The sessions on record as this server's that are not settled."""
        return dict(await self._verbs.rows(SQL["unsettled"], server))

    async def seen(self, signs: Sequence[Sign]) -> None:
        """Note that workers are alive."""
        newest: dict[str, Sign] = {}
        for sign in signs:
            before = newest.get(sign.name)
            newest[sign.name] = sign if before is None or before.at <= sign.at else before
        ordered = [newest[name] for name in sorted(newest)]
        await self._verbs.rows(
            SQL["seen"],
            [sign.name for sign in ordered],
            [to_micros(sign.at) for sign in ordered],
            [sign.draining for sign in ordered],
            [sign.clock_offset for sign in ordered],
        )

    async def forget(self, before: datetime, limit: int) -> list[str]:
        """Delete the rows of workers that were settled before then."""
        return [name for (name,) in await self._verbs.rows(SQL["forget"], to_micros(before), limit)]

    async def get(self, names: Sequence[str] | None = None) -> list[Worker]:
        """These workers, or all, in order of name."""
        rows = await (
            self._verbs.rows(SQL["all"]) if names is None else self._verbs.rows(SQL["some"], list(dict.fromkeys(names)))
        )
        return [worker_from_row(row) for row in rows]
