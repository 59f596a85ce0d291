"""Storage contract: the outbox of notices, and standing conditions of the installation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Condition, Notice


class Alerts(Protocol):
    """Notices leave at least once: they are marked sent only after the channel took them."""

    async def add(self, notices: Sequence[Notice]) -> None:
        """Queue notices; one whose id exists is left as it is."""

    async def pending(self, now: datetime, limit: int) -> list[Notice]:
        """Notices to send: state `pending` and `next_try` None or ≤ now, oldest first."""

    async def next_try(self) -> datetime | None:
        """When the earliest pending notice may be tried."""

    async def settle(self, notices: Sequence[Notice]) -> None:
        """Write what became of notices (state, tries, next_try, sent, error)."""

    async def recent(self, limit: int) -> list[Notice]:
        """The newest notices, newest first."""

    async def raise_condition(self, condition: Condition) -> bool:
        """Note a condition; returns False, changing only its detail and hint, when it is already there."""

    async def clear_condition(self, key: str) -> bool:
        """Remove a condition; returns whether it was there."""

    async def conditions(self) -> list[Condition]:
        """All standing conditions, oldest first."""

    async def prune(self, before: datetime) -> int:
        """Delete sent and given-up notices created before `before`."""
