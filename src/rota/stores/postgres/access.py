"""Tokens, logins, secrets, remembered answers and the audit trail on PostgreSQL: `rota.store.access.Access`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.store.access import LoginRecord, RememberedAnswer, SecretRecord, TokenRecord
from rota.store.jobs import AuditEntry
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
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.rows import Row, to_micros

SQL: Final = load("access.sql")


class PostgresAccess:
    """Who may come in, and what they did."""

    def __init__(self, verbs: Lane) -> None:
        self._verbs = verbs

    async def put_token(self, token: TokenRecord, audit: AuditEntry | None = None) -> None:
        """Insert or update a token by id; no end of one is undone."""
        await self._verbs.rows(SQL["put_token"], token_row(token), _entries(audit))

    async def use_token(self, digest: bytes, made: TokenRecord, now: datetime, audit: AuditEntry) -> bool:
        """Exchange one use of the token with this digest for the token `made`."""
        return bool(await self._verbs.value(SQL["use_token"], digest, token_row(made), to_micros(now), _entries(audit)))

    async def find_token(self, digest: bytes) -> TokenRecord | None:
        """The token of this digest, revoked and expired ones included."""
        row = await self._verbs.row(SQL["token_by_digest"], digest)
        return None if row is None else token_from_row(row)

    async def get_tokens(self, ids: Sequence[str]) -> dict[str, TokenRecord]:
        """The tokens of these ids, by id."""
        found = map(token_from_row, await self._verbs.rows(SQL["tokens_by_id"], list(ids)))
        return {token.id: token for token in found}

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""
        return [token_from_row(row) for row in await self._verbs.rows(SQL["tokens"])]

    async def put_login(self, record: LoginRecord) -> None:
        """Add a login code or browser session; those that had expired when it was made go."""
        await self._verbs.rows(SQL["put_login"], *login_row(record))

    async def find_session(self, digest: bytes) -> LoginRecord | None:
        """The browser session of this digest."""
        return _login(await self._verbs.row(SQL["session"], digest))

    async def take_login(self, digest: bytes) -> LoginRecord | None:
        """Remove and return a code or session: of any number of callers exactly one gets it."""
        return _login(await self._verbs.row(SQL["take_login"], digest))

    async def put_secrets(self, secrets: Sequence[SecretRecord], audit: AuditEntry | None = None) -> None:
        """Insert or replace secrets by name."""
        last = {one.name: secret_row(one) for one in secrets}
        columns = zip(*(last[name] for name in sorted(last)), strict=True) if last else [()] * 5
        await self._verbs.rows(SQL["put_secrets"], *map(list, columns), _entries(audit))

    async def get_secrets(self, names: Sequence[str] | None = None) -> dict[str, SecretRecord]:
        """These secrets, or all."""
        rows = await (
            self._verbs.rows(SQL["all_secrets"]) if names is None else self._verbs.rows(SQL["some_secrets"], names)
        )
        return {secret.name: secret for secret in map(secret_from_row, rows)}

    async def delete_secret(self, name: str, audit: AuditEntry) -> bool:
        """Remove a secret; returns whether it was there. Nothing is audited when it was not."""
        return await self._verbs.row(SQL["delete_secret"], name, _entries(audit)) is not None

    async def remembered(self, key: str, actor: str) -> RememberedAnswer | None:
        """The answer remembered for this key of this actor."""
        row = await self._verbs.row(SQL["remembered"], key, actor)
        return None if row is None else answer_from_row(row)

    async def remember(self, answer: RememberedAnswer, keep_after: datetime) -> None:
        """Remember an answer; older ones than `keep_after` are removed on the way."""
        await self._verbs.rows(SQL["remember"], *answer_row(answer), to_micros(keep_after))

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append entries of acts that change nothing else."""
        if entries:
            await self._verbs.rows(SQL["audit"], [audit_row(entry) for entry in entries])

    async def audit_trail(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
        return [audit_from_row(row) for row in await self._verbs.rows(SQL["audit_trail"], limit)]


def _entries(audit: AuditEntry | None) -> list[Row]:
    return [] if audit is None else [audit_row(audit)]


def _login(row: Row | None) -> LoginRecord | None:
    """The login of a row, if there is one."""
    return None if row is None else login_from_row(row)
