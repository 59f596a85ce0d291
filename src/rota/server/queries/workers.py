"""Workers and what they hold."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rota.core.lease import is_live
from rota.core.model import Run, Worker
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.store.bundle import Store
from rota.store.sessions import Sign


class WorkerView(View, kw_only=True):
    """A process that executes attempts. `reserved` counts the slots its runs hold, by kind.

    `server` is the id of the one it is, or was, connected to; its clock is `clock_offset` seconds ahead of the
    store's. What its own server says of a worker is of this moment, what another says of it up to a minute old.
    """

    id: str
    name: str
    state: str
    labels: dict[str, str]
    capacity: dict[str, int]
    reserved: dict[str, int]
    used: dict[str, float]
    cpus: int
    memory: int
    running: list[str]
    version: str
    server: str
    clock_offset: float | None
    connected: Moment
    disconnected: Moment | None
    last_seen: Moment


class WorkerList(View, kw_only=True):
    """All workers, by name."""

    items: list[WorkerView]


class KnownWorker(NamedTuple):
    """A worker as of the newest sign of it, and its state: up, draining or lost."""

    worker: Worker
    state: str


async def known_workers(store: Store, signs: Sequence[Sign] = ()) -> list[KnownWorker]:
    """All workers, by name; `signs` are newer than what the store knows."""
    standing = await store.leases.standing()
    gone = {server.id for server in standing.servers if not is_live(server, standing.now)}
    newest = {sign.name: sign for sign in signs}
    known = []
    for worker in await store.sessions.get():
        sign = newest.get(worker.name)
        seen = worker if sign is None else _as_of(worker, sign)
        known.append(KnownWorker(seen, _state(seen, gone)))
    return known


async def list_workers(store: Store, signs: Sequence[Sign] = ()) -> WorkerList:
    """All workers with the runs they hold; `signs` are newer than what the store knows."""
    held: dict[str, list[Run]] = {}
    for run in await store.held.all():
        if run.current is not None:
            held.setdefault(run.current.worker, []).append(run)
    known = await known_workers(store, signs)
    return WorkerList(items=[_view(worker, held.get(worker.name, []), state) for worker, state in known])


def _as_of(worker: Worker, sign: Sign) -> Worker:
    """The worker as of a sign of life."""
    offset = worker.clock_offset if sign.clock_offset is None else sign.clock_offset
    return replace(worker, last_seen=max(worker.last_seen, sign.at), draining=sign.draining, clock_offset=offset)


def _state(worker: Worker, gone: set[str]) -> str:
    """Whether it is there: connected, to a server that lives."""
    if worker.disconnected is not None or worker.server in gone:
        return "lost"
    return "draining" if worker.draining else "up"


def _view(worker: Worker, runs: list[Run], state: str) -> WorkerView:
    return WorkerView(
        id=worker.name,
        name=worker.name,
        state=state,
        labels=worker.labels,
        capacity=worker.capacity,
        reserved=dict(Counter(run.kind for run in runs)),
        used={},
        cpus=worker.cpus,
        memory=worker.memory,
        running=[run.id for run in runs],
        version=worker.version,
        server=worker.server,
        clock_offset=worker.clock_offset,
        connected=moment(worker.connected),
        disconnected=maybe_moment(worker.disconnected),
        last_seen=moment(worker.last_seen),
    )
