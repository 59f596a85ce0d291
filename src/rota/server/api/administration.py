"""Routes on tokens, login links, secrets, alerts, the audit trail."""

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from rota.core.errors import Invalid
from rota.core.model import Notice
from rota.server.api.jobs import Limit
from rota.server.api.routes import PREFIX, Answer, Body, Call, NoBody, NoParameters, Parameters, Route
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.store.access import TokenRecord
from rota.store.jobs import AuditEntry


class TokenView(View, kw_only=True):
    """A token without its text. `worker` is whose it is, `uses` and `labels` are those of a join token."""

    id: str
    name: str
    scopes: list[str]
    created: Moment
    expires: Moment | None
    last_used: Moment | None
    revoked: Moment | None
    worker: str | None
    uses: int | None
    labels: dict[str, str] | None


class TokenList(View, kw_only=True):
    """All tokens, newest first."""

    items: list[TokenView]


class TokenText(TokenView, kw_only=True):
    """A new token; `token` is shown this once."""

    token: str


class TokenBody(Body):
    """What the token is for, and what it may do."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scopes: list[str]
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    uses: int | None = None  # of a join token: how many workers may join with it
    labels: dict[str, str] | None = None  # of a join token: what those workers are labelled with, and nothing else


class TokenParameters(Parameters):
    """One token."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class LoginLink(View, kw_only=True):
    """The path of a link that opens one browser session within ten minutes."""

    path: str
    expires_in: float


class SecretView(View, kw_only=True):
    """What may be known of a secret."""

    name: str
    updated: Moment
    readable: bool


class SecretList(View, kw_only=True):
    """All secrets, by name."""

    items: list[SecretView]


class SecretParameters(Parameters):
    """One secret."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class SecretBody(Body):
    """The value; it is never readable again."""

    value: str


class NoticeView(View, kw_only=True):
    """A message of the outbox and what became of it."""

    id: str
    event: str
    route: str
    job: str | None
    run: str | None
    state: str
    tries: int
    created: Moment
    next_try: Moment | None
    sent: Moment | None
    error: str | None


class ConditionView(View, kw_only=True):
    """Something wrong with the installation that lasts until it is put right."""

    key: str
    detail: str
    hint: str | None
    since: Moment


class AlertList(View, kw_only=True):
    """Standing conditions, and the newest messages."""

    conditions: list[ConditionView]
    items: list[NoticeView]


class TestBody(Body):
    """To whom: `channel:target`."""

    to: Annotated[str, msgspec.Meta(min_length=3, max_length=300)]


class NewestParameters(Parameters):
    """How many of the newest."""

    limit: Limit = 100


class AuditView(View, kw_only=True):
    """Who did what to which thing."""

    at: Moment
    actor: str
    verb: str
    object: str
    detail: str
    request_id: str | None


class AuditList(View, kw_only=True):
    """The newest acts, newest first."""

    items: list[AuditView]


async def list_tokens(call: Call[NoParameters, NoBody]) -> Answer:
    """All tokens."""
    return Answer(value=TokenList(items=[token_view(one) for one in await call.services.access.tokens()]))


async def create_token(call: Call[NoParameters, TokenBody]) -> Answer:
    """Make a token; the answer alone holds its text."""
    body = call.body
    expires = body.expires.astimezone(UTC) if body.expires else None
    made = await call.services.access.create_token(
        body.name, body.scopes, expires=expires, uses=body.uses, labels=body.labels, actor=call.actor
    )
    return Answer(value=TokenText(token=made.text, **_token(made.record)), status=201)


async def revoke_token(call: Call[TokenParameters, NoBody]) -> Answer:
    """End a token."""
    record = await call.services.access.revoke_token(call.parameters.id, actor=call.actor)
    return Answer(value=token_view(record))


async def create_login(call: Call[NoParameters, NoBody]) -> Answer:
    """A one-use login link for the caller's own token."""
    if call.actor.token_id is None:
        raise Invalid("a login link belongs to a token")
    code = await call.services.access.create_login_code(call.actor.token_id)
    return Answer(value=LoginLink(path=f"/login?code={code}", expires_in=600.0), status=201)


async def list_secrets(call: Call[NoParameters, NoBody]) -> Answer:
    """Names of all secrets; values are never given."""
    vault = call.services.vault
    items = [
        SecretView(name=record.name, updated=moment(record.updated), readable=vault.opens(record))
        for record in await vault.names()
    ]
    return Answer(value=SecretList(items=items))


async def put_secret(call: Call[SecretParameters, SecretBody]) -> Answer:
    """Set or replace a secret."""
    await call.services.vault.put(call.parameters.name, call.body.value, actor=call.actor)
    return Answer(status=204)


async def delete_secret(call: Call[SecretParameters, NoBody]) -> Answer:
    """Remove a secret."""
    await call.services.vault.delete(call.parameters.name, actor=call.actor)
    return Answer(status=204)


async def list_alerts(call: Call[NewestParameters, NoBody]) -> Answer:
    """Conditions and recent messages."""
    alerts = call.services.store.alerts
    conditions = [
        ConditionView(key=one.key, detail=one.detail, hint=one.hint, since=moment(one.since))
        for one in await alerts.conditions()
    ]
    items = [_notice(one) for one in await alerts.recent(call.parameters.limit)]
    return Answer(value=AlertList(conditions=conditions, items=items))


async def send_test_alert(call: Call[NoParameters, TestBody]) -> Answer:
    """Queue a test message; whether it was taken is seen in the list of alerts."""
    channel, separator, target = call.body.to.partition(":")
    if not separator or not channel or not target or not call.body.to.isprintable():
        raise Invalid(f'"{call.body.to[:60]}" is not an alert target', hint="write mail:ops@example.com")
    now = call.services.clock.now()
    name = f"test-{secrets.token_hex(8)}"
    notice = Notice(id=name, event="test", route=call.body.to, created=now, thread=name, facts={"by": call.actor.name})
    await call.services.store.alerts.add([notice])
    entry = AuditEntry(
        at=now, actor=call.actor.name, verb="alert.test", object=call.body.to, request_id=call.request_id
    )
    await call.services.store.access.audit([entry])
    call.services.wake()
    return Answer(value=_notice(notice), status=202)


async def read_audit(call: Call[NewestParameters, NoBody]) -> Answer:
    """The newest acts."""
    entries = await call.services.store.access.audit_trail(call.parameters.limit)
    return Answer(value=AuditList(items=[audit_view(entry) for entry in entries]))


def audit_view(entry: AuditEntry) -> AuditView:
    """One act."""
    return AuditView(
        at=moment(entry.at),
        actor=entry.actor,
        verb=entry.verb,
        object=entry.object,
        detail=entry.detail,
        request_id=entry.request_id,
    )


def token_view(record: TokenRecord) -> TokenView:
    """A token without its text."""
    return TokenView(**_token(record))


def _token(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": list(record.scopes),
        "created": moment(record.created),
        "expires": maybe_moment(record.expires),
        "last_used": maybe_moment(record.last_used),
        "revoked": maybe_moment(record.revoked),
        "worker": record.worker,
        "uses": record.uses,
        "labels": record.labels,
    }


def _notice(notice: Notice) -> NoticeView:
    return NoticeView(
        id=notice.id,
        event=notice.event,
        route=notice.route,
        job=notice.job,
        run=notice.run_id,
        state=notice.state,
        tries=notice.tries,
        created=moment(notice.created),
        next_try=maybe_moment(notice.next_try),
        sent=maybe_moment(notice.sent),
        error=notice.error,
    )


def _route(method: str, path: str, permission: str, summary: str, handler: Any, **more: Any) -> Route[Any, Any]:
    more.setdefault("parameters", NoParameters)
    more.setdefault("body", NoBody)
    return Route(method=method, path=PREFIX + path, permission=permission, summary=summary, handler=handler, **more)


ROUTES: Final[list[Route[Any, Any]]] = [
    _route("GET", "/tokens", "admin", "List tokens", list_tokens, answer=TokenList),
    _route(
        "POST",
        "/tokens",
        "admin",
        "Make a token",
        create_token,
        body=TokenBody,
        answer=TokenText,
        status=201,
        remembered=False,
    ),
    _route(
        "DELETE",
        "/tokens/{id}",
        "admin",
        "Revoke a token",
        revoke_token,
        parameters=TokenParameters,
        answer=TokenView,
        errors=(404,),
    ),
    _route(
        "POST",
        "/login-links",
        "read",
        "Make a one-use login link for the pages",
        create_login,
        answer=LoginLink,
        status=201,
        remembered=False,
    ),
    _route("GET", "/secrets", "read", "List the names of secrets", list_secrets, answer=SecretList),
    _route(
        "PUT",
        "/secrets/{name}",
        "admin",
        "Set a secret",
        put_secret,
        parameters=SecretParameters,
        body=SecretBody,
        status=204,
    ),
    _route(
        "DELETE",
        "/secrets/{name}",
        "admin",
        "Remove a secret",
        delete_secret,
        parameters=SecretParameters,
        status=204,
        errors=(404,),
    ),
    _route(
        "GET",
        "/alerts",
        "read",
        "Conditions and recent messages",
        list_alerts,
        parameters=NewestParameters,
        answer=AlertList,
    ),
    _route(
        "POST",
        "/alerts:test",
        "write",
        "Send a test message",
        send_test_alert,
        body=TestBody,
        answer=NoticeView,
        status=202,
    ),
    _route(
        "GET",
        "/audit",
        "admin",
        "Who did what, newest first",
        read_audit,
        parameters=NewestParameters,
        answer=AuditList,
    ),
]
