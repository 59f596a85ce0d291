"""Compares the sessions that a server has with those on record as its own: what only one side has, ends.

They differ when the answer to a commit was lost, when the store was away just after one, when it was set back, or when
others ended a session while this server was cut off.
"""

from collections.abc import Collection

from rota.core.model import Worker
from rota.events import Emit, SessionUnknown
from rota.server.hub import Hub
from rota.store.bundle import Store


async def end_unknown(store: Store, hub: Hub, workers: Collection[str], emit: Emit) -> None:
    """End the sessions of these workers that are not open on record under their number: the workers connect anew.

    Nothing would ever be given to them in these.
    """
    found = await store.sessions.get(sorted(workers))
    recorded = {worker.name: worker.session for worker in found if worker.disconnected is None}
    for session in hub.sessions():
        name, number = session.worker.name, session.worker.session
        if name in workers and not session.channel.is_local and recorded.get(name) != number:
            emit(SessionUnknown(worker=name, session=number))
            await session.cut_off()


async def strangers(store: Store, hub: Hub) -> list[Worker]:
    """Workers that are on record as connected here and are not: their session was not opened to its end.

    A worker that says hello again has a new session; of one that does not, nobody else would ever say that it is gone.
    """
    recorded = await store.sessions.unsettled(hub.server)
    here = {session.worker.name: session.worker.session for session in hub.all_sessions()}
    missing = {name: number for name, number in recorded.items() if here.get(name, 0) < number}
    found = await store.sessions.get(sorted(missing)) if missing else []
    return [worker for worker in found if worker.session == missing[worker.name]]
