"""Routes on servers: who lives and leads what; and the hold after a restore, which a person lifts."""

from typing import Any, Final

from rota.server.api.routes import PREFIX, Answer, Call, NoBody, NoParameters, Route
from rota.server.queries.servers import ServerList, list_servers
from rota.server.queries.shapes import View


class RestoreView(View, kw_only=True):
    """Whether at-most-once work was held until now, because the store seems to have been restored."""

    was_held: bool


async def read_servers(call: Call[NoParameters, NoBody]) -> Answer:
    """All servers, with what waits for them."""
    return Answer(value=await list_servers(call.services.store, call.services.server, call.services.clock))


async def accept_restore(call: Call[NoParameters, NoBody]) -> Answer:
    """Let at-most-once work go on after a restore; nothing happens where nothing is held."""
    return Answer(value=RestoreView(was_held=await call.services.server.restore.accept(call.actor)))


ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="GET",
        path=PREFIX + "/servers",
        permission="read",
        summary="List servers, who leads what, and the backlog",
        handler=read_servers,
        parameters=NoParameters,
        body=NoBody,
        answer=ServerList,
    ),
    Route(
        method="POST",
        path=PREFIX + "/store:accept-restore",
        permission="admin",
        summary="Let at-most-once work go on after a restore",
        handler=accept_restore,
        parameters=NoParameters,
        body=NoBody,
        answer=RestoreView,
    ),
]
