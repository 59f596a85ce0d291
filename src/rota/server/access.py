"""Who may come in: tokens, one-use login codes, browser sessions, and what each credential allows.

A token is `rota_` + 43 characters of randomness + 6 characters of checksum, so that a scanner recognises a leaked
one and a typing error is refused without asking the store. Only SHA-256 digests are kept. What was found valid is
believed for two seconds, so a revoked token is dead on every server within that time.

Tokens of people and programs have scopes that may be joined. A worker's token and a join token, which makes such
tokens, open one door each and nothing else (`rota.server.enrolment`).
"""

import base64
import hashlib
import re
import secrets
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from rota.clock import Clock
from rota.core.actor import SCOPES, Actor
from rota.core.errors import Invalid, NotAllowed, NotAuthenticated, NotFound
from rota.core.model import Value
from rota.core.worker_names import check_labels
from rota.files import write_private
from rota.store.access import Access, LoginRecord, TokenRecord
from rota.store.jobs import AuditEntry

CODE_LIFETIME: Final = timedelta(minutes=10)
SESSION_LIFETIME: Final = timedelta(days=14)
LONGEST_NAME: Final = 100
WORKER: Final = "worker"
JOIN: Final = "join"
JOIN_LIFETIME: Final = timedelta(hours=1)
LONGEST_JOIN_LIFETIME: Final = timedelta(days=30)
MOST_USES: Final = 1000
_BELIEVED_SECONDS: Final = 2.0
_MOST_BELIEVED: Final = 4096
_USED_AGAIN: Final = timedelta(minutes=1)
_ANOTHER: Final = (
    "rota token create makes one (--join: for a worker). If no admin token is left: rota token create --database URL "
    "--scope admin, on the server's machine; rota up makes its own anew when it starts"
)
_TOKEN: Final = re.compile(r"rota_[A-Za-z0-9_-]{43}[0-9a-z]{6}", re.ASCII)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
# What a scope allows beside itself. Metrics stand alone: whoever scrapes them needs nothing else.
_ALLOWS: Final = {
    "admin": frozenset(SCOPES),
    "write": frozenset({"write", "read"}),
    "read": frozenset({"read"}),
    "metrics": frozenset({"metrics"}),
    WORKER: frozenset({WORKER}),
    JOIN: frozenset({JOIN}),
}


class NewToken(Value):
    """A token that was just made: its text is shown once and never again."""

    text: str
    record: TokenRecord


class Session(Value):
    """An open browser session: what the cookie holds, and the text that forms must carry."""

    cookie: str
    csrf: str
    actor: Actor
    expires: datetime


def new_token_text() -> str:
    """A fresh token, 256 bits of randomness."""
    return token_text(secrets.token_bytes(32))


def token_text(raw: bytes) -> str:
    """The token with these 256 bits."""
    body = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    return f"rota_{body}{_checksum(body)}"


def is_token_text(text: str) -> bool:
    """Whether `text` is written like a token, checksum included."""
    return bool(_TOKEN.fullmatch(text)) and text[-6:] == _checksum(text[5:-6])


def authorize(actor: Actor, permission: str) -> None:
    """Raise NotAllowed unless one of the actor's scopes allows `permission`."""
    if any(permission in _ALLOWS.get(scope, ()) for scope in actor.scopes):
        return
    held = ", ".join(sorted(actor.scopes)) or "none"
    raise NotAllowed(f"this needs the scope {permission}; the credential has {held}", hint="use another token")


class AccessControl:
    """Tokens, login codes and sessions over the store."""

    def __init__(self, store: Access, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._believed: OrderedDict[bytes, tuple[float, TokenRecord]] = OrderedDict()

    async def create_token(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires: datetime | None = None,
        uses: int | None = None,
        labels: Mapping[str, str] | None = None,
        actor: Actor,
    ) -> NewToken:
        """Make a token; its text is in the answer only. `uses` and `labels` are those of a join token."""
        _check_token(name, scopes)
        now = self._clock.now()
        if expires is not None and expires <= now:
            raise Invalid(f"the token would expire at {expires.isoformat()}, which is past", hint="give a later time")
        if JOIN in scopes:
            uses, expires = _checked_uses(uses), expires or now + JOIN_LIFETIME
            if expires > now + LONGEST_JOIN_LIFETIME:
                days = LONGEST_JOIN_LIFETIME.days
                raise Invalid(f"a join token lives at most {days} days", hint="make one when workers are added")
        elif uses is not None or labels is not None:
            raise Invalid("uses and labels are those of a join token", hint="rota token create --join")
        text = new_token_text()
        record = TokenRecord(
            id=secrets.token_hex(8),
            digest=digest(text),
            name=name,
            scopes=tuple(dict.fromkeys(scopes)),
            created=now,
            expires=expires,
            uses=uses,
            labels=None if labels is None else check_labels(labels),
        )
        await self._store.put_token(record, self._entry(actor, "token.create", record.id, name))
        return NewToken(text=text, record=record)

    async def revoke_token(self, token_id: str, *, actor: Actor) -> TokenRecord:
        """End a token, and with it the browser sessions that act for it."""
        record = (await self._store.get_tokens([token_id])).get(token_id)
        if record is None:
            raise NotFound(f"there is no token {token_id[:40]}", hint="rota token list shows them")
        if record.revoked is None:
            record = replace(record, revoked=self._clock.now())
            await self._store.put_token(record, self._entry(actor, "token.revoke", record.id, record.name))
        self._believed.clear()
        return record

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""
        return await self._store.tokens()

    async def authenticate_token(self, text: str, request_id: str | None = None) -> Actor:
        """The actor of a token, or NotAuthenticated; nobody tells wrong and revoked tokens apart."""
        return _actor(await self.holder(text, request_id), request_id)

    async def holder(self, text: str, request_id: str | None = None) -> TokenRecord:
        """The valid token of this text, or NotAuthenticated. Whether a join token has a use left is not looked at."""
        record = await self._token(digest(text)) if is_token_text(text) else None
        if record is None or not self._is_valid(record):
            if record is not None and JOIN in record.scopes:
                what = "was revoked" if record.revoked else "has expired"
                await self._store.audit([join_entry(record, self._clock.now(), f"denied: it {what}", request_id)])
            raise _not_valid(record)
        await self._note_use(record)
        return record

    async def ended(self, token_ids: Sequence[str]) -> set[str]:
        """Those of these tokens that were revoked, have expired, or are not there, by one look at the store."""
        found = await self._store.get_tokens(token_ids)
        return {one for one in token_ids if one not in found or not self._is_valid(found[one])}

    async def create_login_code(self, token_id: str) -> str:
        """A code that opens one browser session for the token's owner within ten minutes."""
        return await self._put_login("code", token_id, CODE_LIFETIME, csrf="")

    async def redeem_code(self, code: str) -> Session:
        """Turn a login code into a session; of any number of callers exactly one gets it."""
        record = await self._store.take_login(digest(code)) if 20 <= len(code) <= 100 else None
        now = self._clock.now()
        if record is None or record.kind != "code" or record.expires <= now:
            raise NotAuthenticated("this login link was used already or has expired", hint="rota open prints a new one")
        csrf = secrets.token_urlsafe(24)
        cookie = await self._put_login("session", record.token_id, SESSION_LIFETIME, csrf=csrf)
        return await self.authenticate_session(cookie)

    async def authenticate_session(self, cookie: str, request_id: str | None = None) -> Session:
        """The session of a cookie, or NotAuthenticated."""
        record = await self._store.find_session(digest(cookie)) if 20 <= len(cookie) <= 100 else None
        if record is None or record.kind != "session" or record.expires <= self._clock.now():
            raise NotAuthenticated("the browser session has ended", hint="rota open prints a new login link")
        token = (await self._store.get_tokens([record.token_id])).get(record.token_id)
        if token is None or not self._is_valid(token):
            raise NotAuthenticated("the token behind this session has ended", hint="rota open prints a new login link")
        return Session(cookie=cookie, csrf=record.csrf, actor=_actor(token, request_id), expires=record.expires)

    async def logout(self, cookie: str) -> None:
        """End a browser session."""
        await self._store.take_login(digest(cookie))

    async def _put_login(self, kind: str, token_id: str, lifetime: timedelta, *, csrf: str) -> str:
        text = secrets.token_urlsafe(32)
        now = self._clock.now()
        await self._store.put_login(
            LoginRecord(
                digest=digest(text), kind=kind, token_id=token_id, created=now, expires=now + lifetime, csrf=csrf
            )
        )
        return text

    async def _token(self, digest: bytes) -> TokenRecord | None:
        """The token of this digest, from memory while it is fresh."""
        now = self._clock.monotonic()
        held = self._believed.get(digest)
        if held is not None and now - held[0] < _BELIEVED_SECONDS:
            return held[1]
        record = await self._store.find_token(digest)
        if record is not None:
            self._believed[digest] = (now, record)
            self._believed.move_to_end(digest)
            while len(self._believed) > _MOST_BELIEVED:
                self._believed.popitem(last=False)
        return record

    def _is_valid(self, record: TokenRecord) -> bool:
        return record.revoked is None and (record.expires is None or record.expires > self._clock.now())

    async def _note_use(self, record: TokenRecord) -> None:
        """Remember when a token was last used, to the minute."""
        now = self._clock.now()
        if record.last_used is not None and now - record.last_used < _USED_AGAIN:
            return
        used = replace(record, last_used=now)
        self._believed[record.digest] = (self._clock.monotonic(), used)
        await self._store.put_token(used)  # a revocation or a use that came in between stays

    def _entry(self, actor: Actor, verb: str, thing: str, detail: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(), actor=actor.name, verb=verb, object=thing, detail=detail, request_id=actor.request_id
        )


async def prepare_admin_token(access: AccessControl, path: Path) -> str:
    """The administrator's token kept in `path` (mode 0600); made at the first start, and again when it has ended."""
    if path.exists():
        text = path.read_text(encoding="ascii", errors="replace").strip()
        try:
            await access.authenticate_token(text)
        except NotAuthenticated:
            pass
        else:
            return text
    setup = Actor(name="setup", scopes=frozenset({"admin"}))
    token = await access.create_token("admin", ["admin"], actor=setup)
    write_private(path, token.text.encode() + b"\n")
    return token.text


def join_entry(token: TokenRecord, at: datetime, detail: str, request_id: str | None, worker: str = "") -> AuditEntry:
    """What the trail says of the use of a join token."""
    return AuditEntry(
        at=at, actor=token.name, verb="worker.join", object=worker or token.id, detail=detail, request_id=request_id
    )


def _not_valid(record: TokenRecord | None) -> NotAuthenticated:
    """Why a token opens nothing. That it has expired is said to whoever holds it; that it was revoked to nobody."""
    another = "rota token create --join makes another" if record is not None and JOIN in record.scopes else _ANOTHER
    is_over = record is not None and record.revoked is None
    return NotAuthenticated("the token has expired" if is_over else "the token is not valid here", hint=another)


def _check_token(name: str, scopes: Sequence[str]) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid(f"a token's name has 1 to {LONGEST_NAME} printable characters")
    if WORKER in scopes:
        raise Invalid("a worker gets its token by joining", hint="rota token create --join makes a join token")
    if JOIN in scopes:
        if set(scopes) != {JOIN}:
            raise Invalid("a join token does nothing but let workers join", hint="give the scope join alone")
        return
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        received = f'"{unknown[0][:40]}"' if unknown else "none"
        raise Invalid(f"a token needs scopes of {', '.join(SCOPES)}; received {received}")


def _checked_uses(uses: int | None) -> int:
    """How often a join token can be used."""
    if uses is not None and not 1 <= uses <= MOST_USES:
        raise Invalid(f"{uses} uses; a join token has 1 to {MOST_USES}")
    return uses or 1


def _actor(record: TokenRecord, request_id: str | None) -> Actor:
    return Actor(name=record.name, scopes=frozenset(record.scopes), token_id=record.id, request_id=request_id)


def digest(text: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _checksum(body: str) -> str:
    """CRC-32 of the random part, in six base-36 digits."""
    number = zlib.crc32(body.encode("ascii", "replace")) % 36**6
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
