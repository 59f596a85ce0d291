"""The door of workers: a WebSocket on the API's port, opened by a worker's own token and by nothing else.

No cookie opens it, nothing that comes from a browser, no token in the address. What comes through is a channel, which
the server serves as it does the one inside `rota up`.
"""

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from rota.core.errors import NotAllowed, NotAuthenticated, RotaError
from rota.events import RequestFailed, WorkerCutOff
from rota.server.access import WORKER
from rota.server.admission import Identity
from rota.server.api.gate import bearer
from rota.server.api.limits import note_known
from rota.server.api.middleware import request_id_of
from rota.server.api.problems import Busy, internal_error, problem_response
from rota.server.api.routes import PREFIX, Answer, Call, NoBody, NoParameters, Route
from rota.server.api.services import ApiServices
from rota.server.web_protocols import ABORT
from rota.server.worker_input import BelievedChannel
from rota.store.access import TokenRecord
from rota.wire.server_socket import server_channel
from rota.wire.socket_channel import TOKEN_ENDED

PATH: Final = PREFIX + "/worker"
GREETING: Final = 500  # connections at once that have not said hello
GREETING_EACH: Final = 4  # of one token


class UpgradeRequired(RotaError):
    """Workers connect here, by WebSocket."""

    code: ClassVar[str] = "UPGRADE_REQUIRED"


async def need_upgrade(call: Call[NoParameters, NoBody]) -> Answer:
    """What a plain request gets that may come in."""
    raise UpgradeRequired("workers connect here, by WebSocket", hint="rota worker --server URL does")


class WorkerDoor:
    """The WebSocket at PATH, as an ASGI application."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._greeting: dict[str, int] = {}  # connections that have not said hello, by token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a worker in, or answer why not."""
        opened = WebSocket(scope, receive, send)
        request_id = request_id_of(scope)
        try:
            token = await self._holder(opened, request_id)
            self._make_room(token)
        except RotaError as error:
            await opened.send_denial_response(problem_response(error, request_id))
            return
        except Exception as error:  # noqa: BLE001 — the edge of a request: report, answer 500, serve the next
            await opened.send_denial_response(self._failed(error, request_id))
            return
        left = _Once(lambda: self._leave(token))
        try:
            await opened.accept()
            await self._serve(opened, token, left)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 — the edge of a session: report, close it, serve the others
            self._failed(error, request_id)
            if opened.application_state is WebSocketState.CONNECTED:
                scope["state"][ABORT]()
        finally:
            left()

    async def _holder(self, opened: WebSocket, request_id: str) -> TokenRecord:
        """The worker's token that came with the request."""
        if "origin" in opened.headers:
            raise NotAllowed("workers do not come from web pages", hint="rota worker --server URL")
        text = bearer(opened)
        if text is None:
            raise NotAuthenticated("no token came with the request", hint="send Authorization: Bearer <token>")
        try:
            token = await self._services.access.holder(text, request_id)
        except NotAuthenticated as error:
            hint = "it may have been revoked; remove its worker-token and let it join again: rota token create --join"
            raise NotAuthenticated("the worker's token is not valid here", hint=hint) from error
        note_known(opened.scope)
        if WORKER not in token.scopes or token.worker is None:
            held = ", ".join(sorted(token.scopes)) or "none"
            raise NotAllowed(
                f"this needs a worker's token; the credential has {held}", hint="rota token create --join makes workers"
            )
        return token

    async def _serve(self, opened: WebSocket, token: TokenRecord, greeted: "_Once") -> None:
        """Serve the channel until it ends, or its token does."""
        services = self._services
        assert token.worker is not None
        channel = server_channel(opened, opened.scope["state"][ABORT])
        believed = BelievedChannel(channel, token.worker, services.clock, services.emit, greeted)
        closing: list[asyncio.Task[None]] = []

        def end() -> None:
            if not closing:
                services.emit(WorkerCutOff(worker=str(token.worker)))
                closing.append(asyncio.create_task(channel.close_for(TOKEN_ENDED, "the worker's token has ended")))

        identity = Identity(name=token.worker, token_id=token.id, labels=token.labels)
        try:
            with services.watch.hold(token.id, end):
                await services.serve_worker(believed, identity)
        finally:
            await channel.close()
            await asyncio.gather(*closing)

    def _make_room(self, token: TokenRecord) -> None:
        """Of connections that have said nothing yet there are only so many."""
        own = self._greeting.get(token.id, 0)
        if own >= GREETING_EACH or sum(self._greeting.values()) >= GREETING:
            raise Busy("too many workers connect at this moment", hint="try again, here or at another server", after=1)
        self._greeting[token.id] = own + 1

    def _leave(self, token: TokenRecord) -> None:
        """It has said hello, or gone."""
        self._greeting[token.id] -= 1
        if not self._greeting[token.id]:
            del self._greeting[token.id]

    def _failed(self, error: Exception, request_id: str) -> Response:
        """Report what nobody expected."""
        self._services.emit(
            RequestFailed(
                request_id=request_id, method="GET", path=PATH, error=repr(error), traceback=traceback.format_exc()
            )
        )
        return internal_error(request_id)


class _Once:
    """Calls something the first time it is called."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do
        self._done = False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._do()


ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="GET",
        path=PATH,
        permission=WORKER,
        summary="The channel of a worker, as a WebSocket",
        handler=need_upgrade,
        parameters=NoParameters,
        body=NoBody,
        status=101,
        errors=(426, 429),
        is_websocket=True,
    ),
]
