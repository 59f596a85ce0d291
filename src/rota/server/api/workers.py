"""Routes on who may be a worker: joining with a join token, ending a worker's token."""

from typing import Annotated, Any, Final

import msgspec

from rota.core.errors import Invalid
from rota.server.access import JOIN
from rota.server.api.administration import TokenList, token_view
from rota.server.api.gate import bearer
from rota.server.api.idempotency import HEADER, LONGEST_KEY
from rota.server.api.routes import PREFIX, Answer, Body, Call, NoBody, NoParameters, Parameters, Route
from rota.server.queries.shapes import View


class JoinBody(Body):
    """The name the worker wants."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]


class JoinedView(View, kw_only=True):
    """The worker's own token, shown this once; `labels`: those it has and no others (null: what it says)."""

    token: str
    worker: str
    labels: dict[str, str] | None


class WorkerParameters(Parameters):
    """One worker."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]


async def join(call: Call[NoParameters, JoinBody]) -> Answer:
    """A worker's own token for one use of a join token."""
    key = call.request.headers.get(HEADER)
    if key is not None and not (16 <= len(key) <= LONGEST_KEY and key.isprintable()):
        raise Invalid(f"an Idempotency-Key has 16 to {LONGEST_KEY} printable characters here")
    made = await call.services.enrolment.join(
        bearer(call.request) or "", call.body.name, key=key, request_id=call.request_id
    )
    view = JoinedView(token=made.text, worker=call.body.name, labels=made.record.labels)
    return Answer(value=view, status=201)


async def revoke_worker(call: Call[WorkerParameters, NoBody]) -> Answer:
    """End a worker's token; its session is closed within seconds."""
    ended = await call.services.enrolment.revoke(call.parameters.name, actor=call.actor)
    return Answer(value=TokenList(items=[token_view(one) for one in ended]))


ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="POST",
        path=PREFIX + "/workers:join",
        permission=JOIN,
        summary="Exchange a join token for a worker's own token",
        handler=join,
        parameters=NoParameters,
        body=JoinBody,
        answer=JoinedView,
        status=201,
        headers={"Idempotency-Key": "asked again with it, the same token is given for the same use"},
        remembered=False,
    ),
    Route(
        method="DELETE",
        path=PREFIX + "/workers/{name}/token",
        permission="admin",
        summary="Revoke a worker's token",
        handler=revoke_worker,
        parameters=WorkerParameters,
        body=NoBody,
        answer=TokenList,
        errors=(404,),
    ),
]
