"""Tokens, logins, secrets, remembered answers and the audit trail on SQLite: `rota.store.access.Access`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.store.access import LoginRecord, RememberedAnswer, SecretRecord, TokenRecord
from rota.store.jobs import AuditEntry
from rota.stores.access_rows import (
    answer_from_row,
    answer_row,
    audit_from_row,
    login_from_row,
    login_row,
    secret_from_row,
    secret_row,
    token_from_row,
    token_row,
)
from rota.stores.rows import Row, to_micros
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.writes import add_audit

SQL: Final = load("access.sql")


class SqliteAccess:
    """Who may come in, and what they did."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_token(self, token: TokenRecord, audit: AuditEntry | None = None) -> None:
        """Insert or update a token by id; no end of one is undone."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["put_token"], token_row(token))
            add_audit(connection, _entries(audit))

        await self._database.write(write)

    async def use_token(self, digest: bytes, made: TokenRecord, now: datetime, audit: AuditEntry) -> bool:
        """Exchange one use of the token with this digest for the token `made`."""
        moment = to_micros(now)

        def write(connection: sqlite3.Connection) -> bool:
            if connection.execute(SQL["use_token"], (digest, moment)).rowcount != 1:
                return False
            connection.execute(SQL["revoke_tokens_of_worker"], (made.worker, moment))
            connection.execute(SQL["put_token"], token_row(made))
            add_audit(connection, [audit])
            return True

        return await self._database.write(write)

    async def find_token(self, digest: bytes) -> TokenRecord | None:
        """The token of this digest, revoked and expired ones included."""

        def read(connection: sqlite3.Connection) -> TokenRecord | None:
            row = connection.execute(SQL["token_by_digest"], (digest,)).fetchone()
            return None if row is None else token_from_row(row)

        return await self._database.read(read)

    async def get_tokens(self, ids: Sequence[str]) -> dict[str, TokenRecord]:
        """The tokens of these ids, by id."""

        def read(connection: sqlite3.Connection) -> dict[str, TokenRecord]:
            found = map(token_from_row, connection.execute(SQL["tokens_by_id"], (ids_json(ids),)))
            return {token.id: token for token in found}

        return await self._database.read(read)

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""
        return await self._database.read(
            lambda connection: [token_from_row(row) for row in connection.execute(SQL["tokens"])]
        )

    async def put_login(self, record: LoginRecord) -> None:
        """Add a login code or browser session; those that had expired when it was made go."""
        created, row = to_micros(record.created), login_row(record)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["drop_expired_logins"], (created,))
            connection.execute(SQL["put_login"], row)

        await self._database.write(write)

    async def find_session(self, digest: bytes) -> LoginRecord | None:
        """The browser session of this digest."""
        return await self._database.read(
            lambda connection: _login(connection.execute(SQL["session"], (digest,)).fetchone())
        )

    async def take_login(self, digest: bytes) -> LoginRecord | None:
        """Remove and return a code or session: of any number of callers exactly one gets it."""
        return await self._database.write(
            lambda connection: _login(connection.execute(SQL["take_login"], (digest,)).fetchone())
        )

    async def put_secrets(self, secrets: Sequence[SecretRecord], audit: AuditEntry | None = None) -> None:
        """Insert or replace secrets by name."""
        rows = [secret_row(one) for one in secrets]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(SQL["put_secret"], rows)
            add_audit(connection, _entries(audit))

        await self._database.write(write)

    async def get_secrets(self, names: Sequence[str] | None = None) -> dict[str, SecretRecord]:
        """These secrets, or all."""
        statement, parameters = ("all_secrets", ()) if names is None else ("some_secrets", (ids_json(names),))

        def read(connection: sqlite3.Connection) -> dict[str, SecretRecord]:
            found = [secret_from_row(row) for row in connection.execute(SQL[statement], parameters)]
            return {secret.name: secret for secret in found}

        return await self._database.read(read)

    async def delete_secret(self, name: str, audit: AuditEntry) -> bool:
        """Remove a secret; returns whether it was there. Nothing is audited when it was not."""

        def write(connection: sqlite3.Connection) -> bool:
            deleted = connection.execute(SQL["delete_secret"], (name,)).rowcount == 1
            add_audit(connection, [audit] if deleted else [])
            return deleted

        return await self._database.write(write)

    async def remembered(self, key: str, actor: str) -> RememberedAnswer | None:
        """The answer remembered for this key of this actor."""

        def read(connection: sqlite3.Connection) -> RememberedAnswer | None:
            row = connection.execute(SQL["remembered"], (key, actor)).fetchone()
            return None if row is None else answer_from_row(row)

        return await self._database.read(read)

    async def remember(self, answer: RememberedAnswer, keep_after: datetime) -> None:
        """Remember an answer; older ones than `keep_after` are removed on the way."""
        row = answer_row(answer)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["forget"], (to_micros(keep_after),))
            connection.execute(SQL["remember"], row)

        await self._database.write(write)

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append entries of acts that change nothing else."""
        await self._database.write(lambda connection: add_audit(connection, entries))

    async def audit_trail(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
        return await self._database.read(
            lambda connection: [audit_from_row(row) for row in connection.execute(SQL["audit_trail"], (limit,))]
        )


def _entries(audit: AuditEntry | None) -> list[AuditEntry]:
    return [] if audit is None else [audit]


def _login(row: Row | None) -> LoginRecord | None:
    """The login of a row, if there is one."""
    return None if row is None else login_from_row(row)
