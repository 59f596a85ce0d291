"""Storage contract: tokens, login codes, browser sessions, secrets, idempotency keys, the audit trail.

Tokens, codes and session ids are stored as SHA-256 digests, secrets as ciphertext: nothing here can be used if read.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Value
from rota.store.jobs import AuditEntry


class TokenRecord(Value):
    """One token. `scopes` are of "admin", "write", "read", "metrics", or alone "worker" or "join".

    A worker's token is bound to its name (`worker`). A join token makes such tokens, as often as `uses` says. Where
    `labels` are given, a worker that holds or gets the token has these and no others.
    """

    id: str
    digest: bytes
    name: str
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None
    revoked: datetime | None = None
    worker: str | None = None
    uses: int | None = None
    labels: dict[str, str] | None = None


class LoginRecord(Value):
    """A one-use login code (`kind` "code") or a browser session (`kind` "session") acting for a token."""

    digest: bytes
    kind: str
    token_id: str
    created: datetime
    expires: datetime
    csrf: str = ""


class RememberedAnswer(Value):
    """The answer once given to a POST with an Idempotency-Key."""

    key: str
    actor: str
    request_digest: bytes
    status: int
    body: bytes
    created: datetime


class SecretRecord(Value):
    """A secret as stored: AES-GCM nonce and ciphertext, bound to its name, with the id of the key that made it."""

    name: str
    key_id: str
    nonce: bytes
    ciphertext: bytes
    updated: datetime


class Access(Protocol):
    """Who may come in, and what they did."""

    async def put_token(self, token: TokenRecord, audit: AuditEntry | None = None) -> None:
        """Insert or update a token by id.

        Of an update no end is undone: what is revoked stays so, uses never grow, `last_used` never goes back. Two
        servers that write what they read a moment ago do no harm.
        """

    async def find_token(self, digest: bytes) -> TokenRecord | None:
        """The token of this digest, revoked and expired ones included."""

    async def get_tokens(self, ids: Sequence[str]) -> dict[str, TokenRecord]:
        """The tokens of these ids, by id."""

    async def use_token(self, digest: bytes, made: TokenRecord, now: datetime, audit: AuditEntry) -> bool:
        """Exchange one use of the token with this digest for the token `made`, in one transaction.

        False, writing nothing, when there is no such token, or it was revoked, has expired, or has no use left: of
        any number of callers exactly so many succeed. Other tokens of the worker `made.worker` are revoked with it.
        """

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""

    async def put_login(self, record: LoginRecord) -> None:
        """Add a login code or browser session; expired ones are removed on the way."""

    async def find_session(self, digest: bytes) -> LoginRecord | None:
        """The browser session of this digest."""

    async def take_login(self, digest: bytes) -> LoginRecord | None:
        """Remove and return a code or session: of any number of callers exactly one gets it."""

    async def put_secrets(self, secrets: Sequence[SecretRecord], audit: AuditEntry | None = None) -> None:
        """Insert or replace secrets by name."""

    async def get_secrets(self, names: Sequence[str] | None = None) -> dict[str, SecretRecord]:
        """These secrets, or all."""

    async def delete_secret(self, name: str, audit: AuditEntry) -> bool:
        """Remove a secret; returns whether it was there."""

    async def remembered(self, key: str, actor: str) -> RememberedAnswer | None:
        """The answer remembered for this key of this actor."""

    async def remember(self, answer: RememberedAnswer, keep_after: datetime) -> None:
        """Remember an answer; those created before `keep_after` are removed on the way (the table stays bounded)."""

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append entries of acts that change nothing else."""

    async def audit_trail(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
