"""The web application: the API's route table and the pages, behind one guard."""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as PathRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from rota.core.errors import NotFound
from rota.server.api import administration, batches, jobs, runs, servers, stream, system, worker, workers
from rota.server.api.endpoint import Endpoint
from rota.server.api.idempotency import Idempotency
from rota.server.api.middleware import Guard, request_id_of
from rota.server.api.problems import problem_response
from rota.server.api.routes import Route
from rota.server.api.services import ApiServices, ApiSettings
from rota.server.ui.pages import PageEndpoint, page_routes, show_nothing


def api_routes(settings: ApiSettings) -> list[Route[Any, Any]]:
    """Every route of the API, the public ones included."""
    routes = [
        *jobs.ROUTES,
        *batches.ROUTES,
        *runs.ROUTES,
        *administration.ROUTES,
        *servers.ROUTES,
        *stream.ROUTES,
        *worker.ROUTES,
        *workers.ROUTES,
        *system.routes(public_metrics=settings.public_metrics),
    ]
    return [*routes, system.openapi_route(routes, settings.version)]


def build_app(services: ApiServices) -> Starlette:
    """The application over `services`; serve it with `rota.server.web.serve`."""
    idempotency = Idempotency(services.store.access, services.clock)
    by_path: dict[str, list[Route[Any, Any]]] = {}
    for route in api_routes(services.settings):
        by_path.setdefault(route.path, []).append(route)
    paths: list[BaseRoute] = [
        PathRoute(path, Endpoint(routes, services, idempotency)) for path, routes in by_path.items()
    ]
    paths += [WebSocketRoute(worker.PATH, worker.WorkerDoor(services)), WebSocketRoute("/{path:path}", _NoDoor())]
    app = Starlette(
        routes=[*paths, *page_routes(services)],
        middleware=[Middleware(Guard, settings=services.settings, limits=services.limits)],
        exception_handlers={HTTPException: _Nothing(services).answer},
    )
    app.router.redirect_slashes = False
    return app


class _NoDoor:
    """Where somebody asks for a WebSocket and there is none."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as for any path that is not there."""
        missing = NotFound(f"there is no WebSocket at {scope['path'][:200]}", hint=f"workers connect at {worker.PATH}")
        await WebSocket(scope, receive, send).send_denial_response(problem_response(missing, request_id_of(scope)))


class _Nothing:
    """Where no route is: nothing is guessed from the path."""

    def __init__(self, services: ApiServices) -> None:
        self._page = PageEndpoint(show_nothing, services)

    async def answer(self, request: Request, error: Exception) -> Response:
        """A page for who looks for one with a browser, a problem for programs and under the API's paths."""
        path, accepted = request.url.path, request.headers.get("accept", "")
        if "text/html" in accepted and request.method in ("GET", "HEAD") and not path.startswith("/api/"):
            return await self._page.answer(request)
        missing = NotFound(f"there is nothing at {path[:200]}", hint="the paths are in /api/v1/openapi.json")
        return problem_response(missing, request_id_of(request.scope))
