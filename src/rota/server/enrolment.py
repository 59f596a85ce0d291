"""Enrolment: a join token is exchanged for a worker's own token, bound to one name.

A name that is in use cannot be taken over, whoever has a join token. In use means: its last session is not settled, so
its process may still live, and its token was not ended by an administrator. A worker that was reinstalled waits until
its old process has been silent for as long as a living one may be, or for the administrator to revoke the old token.
"""

import hashlib
import hmac
import secrets
from typing import ClassVar, Final

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.errors import Conflict, NotAllowed, NotFound
from rota.core.model import Value
from rota.core.worker_names import check_worker_name
from rota.events import Emit, JoinRefused, WorkerJoined, WorkerRevoked
from rota.server.access import WORKER, AccessControl, digest, join_entry, token_text
from rota.store.access import TokenRecord
from rota.store.bundle import Store

_PURPOSE: Final = b"rota worker token\0"


class NameInUse(Conflict):
    """Another worker has this name."""

    code: ClassVar[str] = "WORKER_NAME_IN_USE"


class JoinTokenSpent(NotAllowed):
    """The join token has no use left."""

    code: ClassVar[str] = "JOIN_TOKEN_SPENT"


class Joined(Value):
    """A worker's new token; its text is in this answer only."""

    text: str
    record: TokenRecord


class Enrolment:
    """Lets workers join, and ends their tokens."""

    def __init__(
        self, store: Store, access: AccessControl, clock: Clock, emit: Emit, *, reserved: frozenset[str] = frozenset()
    ) -> None:
        """`reserved` are names that nobody can join under: the worker's inside this process."""
        self._reserved = reserved
        self._store = store
        self._access = access
        self._clock = clock
        self._emit = emit

    async def join(self, join_token: str, worker: str, *, key: str | None = None, request_id: str = "") -> Joined:
        """A token for `worker`, for one use of the join token.

        Asked again with the same `key` (an answer was lost on its way) it gives the same token again, for the same
        use. Raises NotAuthenticated, NameInUse or JoinTokenSpent; refusals are on the audit trail like successes.
        """
        holder = await self._access.holder(join_token, request_id)
        name = check_worker_name(worker)
        text = _worker_token_text(join_token, name, key or secrets.token_hex(16))
        known = await self._store.access.find_token(digest(text))
        if known is not None and known.revoked is None:
            return Joined(text=text, record=known)
        if await self._is_in_use(name):
            await self._refuse(holder, name, "the name is in use", request_id)
            raise NameInUse(
                f"a worker named {name} is, or was a moment ago, connected; its name cannot be taken over",
                hint="choose another name, wait a minute after the old worker has ended, or: rota workers revoke NAME",
            )
        now = self._clock.now()
        made = TokenRecord(
            id=secrets.token_hex(8),
            digest=digest(text),
            name=f"worker {name}",
            scopes=(WORKER,),
            created=now,
            worker=name,
            labels=holder.labels,
        )
        entry = join_entry(holder, now, f"token {made.id}", request_id, name)
        if not await self._store.access.use_token(holder.digest, made, now, entry):
            await self._refuse(holder, name, "no use is left", request_id)
            raise JoinTokenSpent(
                "the join token has been used up, or has just ended", hint="make another: rota token create --join"
            )
        self._emit(WorkerJoined(worker=name, by=holder.name))
        return Joined(text=text, record=made)

    async def revoke(self, worker: str, *, actor: Actor) -> list[TokenRecord]:
        """End the token of a worker; its session is closed within seconds. Raises NotFound when it has none."""
        valid = await self._valid(await self._tokens_of(worker))
        ended = [await self._access.revoke_token(record.id, actor=actor) for record in valid]
        if not ended:
            hint = "rota workers lists them; those inside rota up have no token"
            raise NotFound(f"there is no worker {worker[:63]} with a token", hint=hint)
        self._emit(WorkerRevoked(worker=worker, by=actor.name))
        return ended

    async def _is_in_use(self, name: str) -> bool:
        """Whether a process that may use this name may still live."""
        if name in self._reserved:
            return True
        rows = await self._store.sessions.get([name])
        if not rows or rows[0].settled is not None:
            return False
        tokens = await self._tokens_of(name)
        return not tokens or bool(await self._valid(tokens))

    async def _tokens_of(self, worker: str) -> list[TokenRecord]:
        """All tokens a worker has had."""
        return [one for one in await self._access.tokens() if one.worker == worker]

    async def _valid(self, tokens: list[TokenRecord]) -> list[TokenRecord]:
        ended = await self._access.ended([one.id for one in tokens])
        return [one for one in tokens if one.id not in ended]

    async def _refuse(self, holder: TokenRecord, name: str, why: str, request_id: str) -> None:
        self._emit(JoinRefused(worker=name, by=holder.name, reason=why))
        await self._store.access.audit([join_entry(holder, self._clock.now(), f"denied: {why}", request_id, name)])


def _worker_token_text(join_token: str, name: str, key: str) -> str:
    """The token that this join token and this key stand for: nobody without both can tell it, and no use repeats it."""
    message = _PURPOSE + name.encode() + b"\0" + key.encode()
    return token_text(hmac.new(join_token.encode(), message, hashlib.sha256).digest())
