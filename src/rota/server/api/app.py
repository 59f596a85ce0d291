"""The web application: the API's route table and the pages, behind one guard."""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as PathRoute

from rota.core.errors import NotFound
from rota.server.api import administration, batches, jobs, runs, stream, system
from rota.server.api.endpoint import Endpoint
from rota.server.api.idempotency import Idempotency
from rota.server.api.middleware import Guard, request_id_of
from rota.server.api.problems import problem_response
from rota.server.api.routes import Route
from rota.server.api.services import ApiServices, ApiSettings
from rota.server.ui.pages import page_routes


def api_routes(settings: ApiSettings) -> list[Route[Any, Any]]:
    """Every route of the API, the public ones included."""
    routes = [
        *jobs.ROUTES,
        *batches.ROUTES,
        *runs.ROUTES,
        *administration.ROUTES,
        *stream.ROUTES,
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
    app = Starlette(
        routes=[*paths, *page_routes(services)],
        middleware=[Middleware(Guard, settings=services.settings)],
        exception_handlers={HTTPException: _not_found},
    )
    app.router.redirect_slashes = False
    return app


async def _not_found(request: Request, error: Exception) -> Response:
    """The answer where no route is: nothing is guessed from the path."""
    missing = NotFound(f"there is nothing at {request.url.path[:200]}", hint="the paths are in /api/v1/openapi.json")
    return problem_response(missing, request_id_of(request.scope))
