"""Routes on the installation: what runs next, workers, pools of numbers, plan, explain, health, metrics, OpenAPI."""

from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from rota.core.errors import RotaError
from rota.core.query_language import parse_time
from rota.core.schedule import DstPolicy
from rota.core.units import parse_duration
from rota.core.zones import zone_info
from rota.server.api.jobs import Limit, Text
from rota.server.api.openapi import document
from rota.server.api.routes import PREFIX, Answer, Call, NoBody, NoParameters, Parameters, Route
from rota.server.measuring import measure
from rota.server.queries.explain import Explanation, explain_schedule
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.server.queries.upcoming import UpcomingList
from rota.server.queries.workers import WorkerList, list_workers


class NextParameters(Parameters):
    """How far ahead, of which jobs."""

    within: Annotated[str, msgspec.Meta(max_length=64)] = "24h"
    q: Text = ""
    limit: Limit = 100


class ExplainParameters(Parameters):
    """A schedule (cron or words), its zone, and from when on."""

    expr: Annotated[str, msgspec.Meta(max_length=4096)]
    tz: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    start: Text | None = msgspec.field(name="from", default=None)
    n: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    dst: DstPolicy = DstPolicy.VIXIE


class SummaryView(View, kw_only=True):
    """The installation at a glance."""

    version: str
    now: Moment
    timezone: str
    jobs: int
    paused: int
    failing: int
    late: int
    queued: int
    starting: int
    running: int
    oldest_queued: Moment | None
    pending_notices: int


class Namespace(View, kw_only=True):
    """A namespace and its number of jobs."""

    name: str
    jobs: int


class NamespaceList(View, kw_only=True):
    """All namespaces, by name."""

    items: list[Namespace]


class Health(View, kw_only=True):
    """Whether the server can do its duty; `problems` says what keeps it from it."""

    ok: bool
    problems: list[str] = []


class Identity(View, kw_only=True):
    """Who the caller is."""

    name: str
    scopes: list[str]
    token_id: str | None


async def read_next(call: Call[NextParameters, NoBody]) -> Answer:
    """The next instants of all jobs."""
    wanted = call.parameters
    within = timedelta(seconds=min(parse_duration(wanted.within), 366 * 86_400))
    return Answer(value=await call.services.queries.upcoming(wanted.q, within, wanted.limit))


async def explain_cron(call: Call[ExplainParameters, NoBody]) -> Answer:
    """A schedule in words."""
    wanted = call.parameters
    now = call.services.clock.now()
    start = parse_time(wanted.start, now, zone_info(wanted.tz)) if wanted.start else now
    explained = explain_schedule(wanted.expr, timezone=wanted.tz, dst=wanted.dst, start=start, count=wanted.n)
    return Answer(value=explained)


async def read_workers(call: Call[NoParameters, NoBody]) -> Answer:
    """All workers."""
    return Answer(value=await list_workers(call.services.store, call.services.server.signs()))


async def read_summary(call: Call[NoParameters, NoBody]) -> Answer:
    """Counts over everything."""
    return Answer(value=await summary(call))


async def summary(call: Call[Any, Any]) -> SummaryView:
    """The installation at a glance."""
    found = await call.services.store.views.summary()
    return SummaryView(
        version=call.services.settings.version,
        now=moment(call.services.clock.now()),
        timezone=call.services.settings.timezone,
        jobs=found.jobs,
        paused=found.paused,
        failing=found.failing,
        late=found.late,
        queued=found.queued,
        starting=found.starting,
        running=found.running,
        oldest_queued=maybe_moment(found.oldest_queued),
        pending_notices=found.pending_notices,
    )


async def read_namespaces(call: Call[NoParameters, NoBody]) -> Answer:
    """All namespaces."""
    found = await call.services.store.views.namespaces()
    return Answer(value=NamespaceList(items=[Namespace(name=name, jobs=jobs) for name, jobs in found]))


async def who_am_i(call: Call[NoParameters, NoBody]) -> Answer:
    """Who the caller is."""
    actor = call.actor
    return Answer(value=Identity(name=actor.name, scopes=sorted(actor.scopes), token_id=actor.token_id))


async def healthz(call: Call[NoParameters, NoBody]) -> Answer:
    """The process answers; nothing else is asked, so that a slow store does not get the server killed."""
    return Answer(value=Health(ok=True))


async def readyz(call: Call[NoParameters, NoBody]) -> Answer:
    """The store answers and the loops are alive."""
    try:
        await call.services.store.leases.now()
    except RotaError:
        # Without a token nobody learns more than that it is so; the cause is in the log.
        return Answer(value=Health(ok=False, problems=["the store does not answer"]), status=503)
    problems = await call.services.health()
    return Answer(value=Health(ok=not problems, problems=problems), status=503 if problems else 200)


async def metrics(call: Call[NoParameters, NoBody]) -> Answer:
    """Prometheus text."""
    services = call.services
    services.emit(await measure(services.store, services.server, services.clock))
    content = generate_latest(call.services.metrics)
    return Answer(raw=Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST}))


def _get(path: str, permission: str, summary: str, handler: Any, **more: Any) -> Route[Any, Any]:
    more.setdefault("parameters", NoParameters)
    return Route(method="GET", path=path, permission=permission, summary=summary, handler=handler, body=NoBody, **more)


_ROUTES: Final[list[Route[Any, Any]]] = [
    _get(PREFIX + "/next", "read", "What runs next", read_next, parameters=NextParameters, answer=UpcomingList),
    _get(
        PREFIX + "/explain/cron",
        "read",
        "A schedule in words",
        explain_cron,
        parameters=ExplainParameters,
        answer=Explanation,
    ),
    _get(PREFIX + "/workers", "read", "List workers", read_workers, answer=WorkerList),
    _get(PREFIX + "/summary", "read", "The installation at a glance", read_summary, answer=SummaryView),
    _get(PREFIX + "/namespaces", "read", "List namespaces", read_namespaces, answer=NamespaceList),
    _get(PREFIX + "/me", "read", "Who the caller is", who_am_i, answer=Identity),
    _get("/healthz", "public", "Whether the process answers", healthz, answer=Health),
    _get("/readyz", "public", "Whether the server can do its duty", readyz, answer=Health, errors=(503,)),
]


def routes(*, public_metrics: bool) -> list[Route[Any, Any]]:
    """The routes of this module; metrics need a scope of their own unless told otherwise."""
    permission = "public" if public_metrics else "metrics"
    return [*_ROUTES, _get("/metrics", permission, "Prometheus metrics", metrics, media_type="text/plain")]


def openapi_route(others: list[Route[Any, Any]], version: str) -> Route[Any, Any]:
    """The route that describes all routes, itself included."""
    described: dict[str, Any] = {}

    async def read_openapi(call: Call[NoParameters, NoBody]) -> Answer:
        """The OpenAPI document."""
        return Answer(value=described)

    route = _get(PREFIX + "/openapi.json", "read", "This description", read_openapi, answer=dict[str, Any])
    described.update(document([*others, route], version))
    return route
