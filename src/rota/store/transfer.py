"""Storage contract: everything a store holds, as values, to be carried into another store.

For installations that are not at work meanwhile: nothing here is fenced. Leases of servers and leaders of shards are
not carried; they are of the servers of the moment.
"""

import enum
from collections.abc import Sequence
from typing import Any, Protocol

from rota.core.model import RunId, Value

Key = tuple[Any, ...]
"""Where a page ended: of no meaning but to the store that gave it."""


class Kind(enum.Enum):
    """What there is to carry, and as which values, in an order that lets nothing refer to what is not there yet."""

    FACTS = "facts"  # Fact
    JOBS = "jobs"  # Job, deleted ones included
    REVISIONS = "revisions"  # Revision
    COUNTERS = "counters"  # JobStats
    GAPS = "gaps"  # Gap
    RUNS = "runs"  # Run, unfinished and past
    OUTPUT = "output"  # StoredOutput
    NOTICES = "notices"  # Notice
    CONDITIONS = "conditions"  # Condition
    TOKENS = "tokens"  # TokenRecord
    LOGINS = "logins"  # LoginRecord
    SECRETS = "secrets"  # SecretRecord
    ANSWERS = "answers"  # RememberedAnswer
    AUDIT = "audit"  # AuditEntry, oldest first
    WORKERS = "workers"  # Worker, with the numbers of their sessions


class Fact(Value):
    """A remembered fact about a store."""

    key: str
    value: str


class StoredOutput(Value):
    """A piece of output as it is kept: chunks `sequence` to `last_sequence` of an attempt, packed."""

    run_id: RunId
    attempt: int
    sequence: int
    last_sequence: int
    first_line: int
    lines: int
    offset: int
    size: int
    compressed: bool
    data: bytes


class FenceCounter(Value):
    """The incarnation of a store, and the next fence counter to be given in it."""

    incarnation: int
    counter: int


class Page(Value):
    """Some values of a kind, and where to go on; None at the end."""

    values: tuple[Any, ...]
    next: Key | None


class Transfer(Protocol):
    """Reading and writing whole stores."""

    async def is_empty(self) -> bool:
        """Whether the store holds no definition, run, output, notice, worker, token, secret and no act of anybody."""

    async def read(self, kind: Kind, after: Key | None, limit: int) -> Page:
        """The values of a kind in a fixed order, beginning after that key; at most about so many."""

    async def write(self, kind: Kind, values: Sequence[Any]) -> None:
        """Add values of a kind to a store that was empty. Raises Invalid when one is there already.

        Jobs keep their versions; a job's shard must be one this store has. Audit entries are appended in their order.
        """

    async def fences(self) -> FenceCounter:
        """What the store would give next."""

    async def raise_fences(self, at_least: FenceCounter) -> None:
        """Let every fence given from now on be at least that one, so that it is above all that were ever given."""
