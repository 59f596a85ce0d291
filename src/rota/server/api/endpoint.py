"""Where a request meets its route: identify, authorise, read, call the handler, answer; errors become problems."""

import traceback
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rota.core.errors import RotaError
from rota.events import RequestFailed
from rota.server.api.bodies import check_media_type, decode_json, read_body, read_parameters
from rota.server.api.gate import admit
from rota.server.api.idempotency import Idempotency
from rota.server.api.limits import BodyShare
from rota.server.api.middleware import request_id_of
from rota.server.api.problems import NoSuchMethod, internal_error, problem_response
from rota.server.api.routes import Answer, Call, NoBody, Route
from rota.server.api.services import ApiServices


class Endpoint:
    """All routes of one path, as an ASGI application."""

    def __init__(self, routes: Sequence[Route[Any, Any]], services: ApiServices, idempotency: Idempotency) -> None:
        self._routes = {route.method: route for route in routes}
        self._services = services
        self._idempotency = idempotency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request = Request(scope, receive)
        request_id = request_id_of(scope)
        try:
            response = await self._respond(request, request_id)
        except RotaError as error:
            response = problem_response(error, request_id)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 — the edge of a request: report, answer 500, serve the next
            self._services.emit(
                RequestFailed(
                    request_id=request_id,
                    method=request.method,
                    path=request.url.path,
                    error=repr(error),
                    traceback=traceback.format_exc(),
                )
            )
            response = internal_error(request_id)
        await response(scope, receive, send)

    async def _respond(self, request: Request, request_id: str) -> Response:
        route = self._routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join(sorted(self._routes))
            raise NoSuchMethod(f"{request.method[:20]} is not possible here", hint=f"use {allowed}", allow=allowed)
        actor, _ = await admit(
            request,
            self._services.access,
            method=request.method,
            permission=route.permission,
            request_id=request_id,
        )
        parameters = read_parameters(request, route.parameters)
        with self._services.limits.body() as share:
            body, raw = await _read(request, route, share)
            call = Call(request, self._services, actor, parameters, body, request_id)

            async def work() -> Response:
                return respond(await route.handler(call))

            if not route.remembered:
                return await work()
            return await self._idempotency.answer(request, actor, raw, work)


async def _read(request: Request, route: Route[Any, Any], share: BodyShare) -> tuple[Any, bytes]:
    """The body as the route wants it, and as it came."""
    raw = await read_body(request, route.body_limit, share)
    if not route.has_body:
        return NoBody(), raw
    if not raw and not route.body_required:
        return decode_json(b"{}", route.body), raw
    media_type = check_media_type(request, route)
    if media_type != "application/json" or route.body is bytes:
        return raw, raw
    return decode_json(raw, route.body), raw


def respond(answer: Answer) -> Response:
    """The response of an answer."""
    if answer.raw is not None:
        return answer.raw
    if answer.status == 204:
        return Response(status_code=204, headers=answer.headers)
    return Response(msgspec.json.encode(answer.value), answer.status, answer.headers, media_type="application/json")
