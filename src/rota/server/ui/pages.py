"""The pages, and Jobs, Job, Runs, Run of them. Each asks the same queries as the API and renders what they answer."""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from rota.core.errors import Invalid, NotAuthenticated, NotFound, RotaError
from rota.core.ids import job_id
from rota.core.model import Run
from rota.core.query_language import quote as quote_value
from rota.events import RequestFailed
from rota.server.access import Session, authorize
from rota.server.api.gate import identify
from rota.server.api.limits import note_turned_away
from rota.server.api.middleware import request_id_of
from rota.server.api.problems import NoSuchMethod, problem_of
from rota.server.api.services import ApiServices
from rota.server.queries.shapes import LedgerGap, LedgerRun, run_view
from rota.server.ui import login, operations
from rota.server.ui.figures import waterfall
from rota.server.ui.render import Visit, as_yaml, page
from rota.server.ui.timeline import named_on, timeline
from rota.server.ui.words import parse
from rota.store.jobs import AuditEntry

PAGE_ROWS: Final = 50
_STATIC: Final = Path(__file__).parent / "static"
_LEDGER_DAYS: Final = 7
_LEDGER_ROWS: Final = 15
_LEDGER_MOST: Final = 200
_ACTS_LOOKED_AT: Final = 200
Handler = Callable[[Request, ApiServices, Visit], Awaitable[Response]]
PublicHandler = Callable[[Request, ApiServices], Awaitable[Response]]


async def show_jobs(request: Request, services: ApiServices, visit: Visit) -> Response:
    """All jobs, or those a query asks for."""
    query = request.query_params.get("q", "")
    sort = request.query_params.get("sort", "name")
    cursor = request.query_params.get("cursor") or None
    values: dict[str, Any] = {"query": query, "sort": sort, "cursor": cursor, "topics": "jobs,runs"}
    try:
        if sort not in ("name", "next", "last"):
            raise Invalid("jobs are sorted by name, next or last")
        jobs = await services.queries.jobs(query, sort, cursor, PAGE_ROWS)
        active = await _active(services, [job.job for job in jobs.items])
    except Invalid as error:
        return page(
            services, "jobs.html", visit, 422, jobs=None, jobs_items=[], active={}, problem=error, more=None, **values
        )
    more = "/jobs?" + urlencode({"q": query, "sort": sort, "cursor": jobs.next}) if jobs.next else None
    return page(
        services,
        "jobs.html",
        visit,
        jobs=jobs,
        jobs_items=jobs.items,
        active=active,
        problem=None,
        more=more,
        **values,
    )


async def _active(services: ApiServices, names: Sequence[str]) -> dict[str, Run]:
    """The newest unfinished run of each of these jobs, among those whose time has come."""
    ids = [job_id(*name.split("/", 1)) for name in names]
    now = services.clock.now()
    return {run.job: run for run in await services.store.runs.unfinished(ids) if run.due <= now}


async def show_job(request: Request, services: ApiServices, visit: Visit) -> Response:
    """One job: how it fares, when it runs next, what it did, what it is."""
    name = f"{request.path_params['namespace']}/{request.path_params['name']}"
    queries = services.queries
    job = await queries.job(name, 20)
    since = f"{_LEDGER_DAYS}d"
    runs = await queries.runs(queries.run_query(f"job:{quote_value(name)}", since), "-due", None, 20)
    ledger, has_older = await _newest_of_ledger(services, name)
    return page(
        services,
        "job.html",
        visit,
        job=job,
        runs_items=runs.items,
        ledger=ledger,
        ledger_more=has_older,
        yaml=as_yaml({job.name: job.spec}),
        topics=f"job:{name}",
    )


async def _newest_of_ledger(services: ApiServices, name: str) -> tuple[list[LedgerRun | LedgerGap], bool]:
    """A job's ledger, newest first, and whether the days it is shown for hold more.

    The ledger is read oldest first: where it is long, it is read from the oldest scheduled run that is shown.
    """
    queries, now = services.queries, services.clock.now()
    query = queries.run_query(f"job:{quote_value(name)} trigger:schedule", f"{_LEDGER_DAYS}d")
    newest = await queries.runs(query, "-due", None, _LEDGER_ROWS)
    since = parse(newest.items[-1].due) if newest.next else now - timedelta(days=_LEDGER_DAYS)
    ledger = await queries.ledger(name, since, now, None, _LEDGER_MOST)
    has_older = newest.next is not None or ledger.next is not None or len(ledger.items) > _LEDGER_ROWS
    return ledger.items[::-1][:_LEDGER_ROWS], has_older


async def show_runs(request: Request, services: ApiServices, visit: Visit) -> Response:
    """Runs across jobs, newest first, always bounded in time."""
    query = request.query_params.get("q", "since:24h")
    cursor = request.query_params.get("cursor") or None
    values: dict[str, Any] = {"query": query, "cursor": cursor, "topics": "runs"}
    try:
        runs = await services.queries.runs(services.queries.run_query(query), "-due", cursor, PAGE_ROWS)
    except Invalid as error:
        return page(services, "runs.html", visit, 422, runs=None, runs_items=[], problem=error, more=None, **values)
    more = "/runs?" + urlencode({"q": query, "cursor": runs.next}) if runs.next else None
    return page(services, "runs.html", visit, runs=runs, runs_items=runs.items, problem=None, more=more, **values)


async def show_run(request: Request, services: ApiServices, visit: Visit) -> Response:
    """One run: its attempts, its output, why it is where it is."""
    queries, now = services.queries, services.clock.now()
    run = await queries.run(request.path_params["id"])
    view = run_view(run)
    before, after = await services.store.views.neighbours(run.id)
    why, acts = await queries.why_run(run.id), await _acts(services, run.id)
    attempt = next((one for one in reversed(view.attempts)), None)
    return page(
        services,
        "run.html",
        visit,
        run=view,
        attempt=attempt,
        bars=waterfall(view, now),
        why=why,
        timeline=timeline(why.steps, acts, run.id),
        named=named_on(view, acts),
        before=before,
        after=after,
        final=run.state.is_final,
        queued_seconds=_queued_seconds(view.due, view.started),
        topics=f"run:{run.id},log:{run.id},job:{run.job}",
    )


async def _acts(services: ApiServices, run_id: str) -> list[AuditEntry]:
    """Who did something to this run, oldest first, among the newest acts."""
    newest = await services.store.access.audit_trail(_ACTS_LOOKED_AT)
    return [entry for entry in reversed(newest) if run_id in (entry.object, entry.detail)]


def _queued_seconds(due: str, started: str | None) -> float | None:
    """How long the run waited for its first start."""
    if started is None or started < due:
        return None
    return (parse(started) - parse(due)).total_seconds()


class PageEndpoint:
    """One page of signed-in people, as an ASGI application; errors become pages."""

    def __init__(self, handler: Handler, services: ApiServices) -> None:
        self._handler = handler
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """The page, or the page of what went wrong."""
        visit: Visit | None = None
        try:
            if request.method not in ("GET", "HEAD"):
                raise NoSuchMethod(f"{request.method[:20]} is not possible here", hint="use GET", allow="GET")
            visit = await _signed_in(request, self._services)
            return await self._handler(request, self._services, visit)
        except NotAuthenticated:
            return _to_login(request)
        except RotaError as error:
            return error_page(self._services, error, visit, request_id_of(request.scope))
        except Exception as error:  # noqa: BLE001 — the edge of a request: report, answer 500, serve the next
            return _unexpected(self._services, request, error, visit)


class PublicEndpoint:
    """Signing in and out: handlers by method."""

    def __init__(self, handlers: dict[str, PublicHandler], services: ApiServices) -> None:
        self._handlers = handlers
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request = Request(scope, receive)
        try:
            handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                allowed = ", ".join(self._handlers)
                raise NoSuchMethod(f"{request.method[:20]} is not possible here", hint=f"use {allowed}", allow=allowed)
            response = await handler(request, self._services)
        except NotAuthenticated:
            note_turned_away(scope)
            response = RedirectResponse("/login", 303)
        except RotaError as error:
            response = error_page(self._services, error, None, request_id_of(scope))
        except Exception as error:  # noqa: BLE001 — the edge of a request: report, answer 500, serve the next
            response = _unexpected(self._services, request, error, None)
        await response(scope, receive, send)


async def _signed_in(request: Request, services: ApiServices) -> Visit:
    actor, session = await identify(request, services.access, request_id_of(request.scope))
    authorize(actor, "read")
    session = session or Session(cookie="", csrf="", actor=actor, expires=services.clock.now())
    # Taken before anything is read: what changes from here on, the page's stream will say.
    position = services.hints.position
    return Visit(session=session, position=position, conditions=tuple(await services.store.alerts.conditions()))


def _to_login(request: Request) -> Response:
    note_turned_away(request.scope)
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    login_url = f"/login?next={quote(target)}"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": login_url})
    return RedirectResponse(login_url, 303)


def error_page(services: ApiServices, error: RotaError, visit: Visit | None, request_id: str) -> Response:
    """What went wrong, as a page."""
    problem = problem_of(error, request_id)
    return page(services, "error.html", visit, problem.status, problem=problem)


def _unexpected(services: ApiServices, request: Request, error: Exception, visit: Visit | None) -> Response:
    request_id = request_id_of(request.scope)
    services.emit(
        RequestFailed(
            request_id=request_id,
            method=request.method,
            path=request.url.path,
            error=repr(error),
            traceback=traceback.format_exc(),
        )
    )
    hint = "the server's log holds the cause under this request id"
    return error_page(
        services, RotaError("an internal error; nothing more is known here", hint=hint), visit, request_id
    )


async def show_nothing(request: Request, services: ApiServices, visit: Visit) -> Response:
    """What a person gets where no page is; the page of the error leads to Jobs."""
    raise NotFound(f"There is nothing at {request.url.path[:200]}", hint="Its address may be mistyped.")


async def _first_page(request: Request, services: ApiServices, visit: Visit) -> Response:
    return RedirectResponse("/jobs", 303)


def page_routes(services: ApiServices) -> list[BaseRoute]:
    """All pages, and the static files they use."""
    pages: dict[str, Handler] = {
        "/": _first_page,
        "/jobs": show_jobs,
        "/jobs/{namespace}/{name}": show_job,
        "/runs": show_runs,
        "/r/{id}": show_run,
        "/workers": operations.show_workers,
        "/workers/{name}": operations.show_worker,
        "/system": operations.show_system,
    }
    public: dict[str, dict[str, PublicHandler]] = {
        "/login": {"GET": login.show_login, "POST": login.log_in},
        "/logout": {"POST": login.log_out},
    }
    return [
        *(Route(path, PageEndpoint(handler, services)) for path, handler in pages.items()),
        *(Route(path, PublicEndpoint(handlers, services)) for path, handlers in public.items()),
        Mount("/static", StaticFiles(directory=_STATIC), name="static"),
    ]
