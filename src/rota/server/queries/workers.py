"""Workers and what they hold."""

from collections import Counter

from rota.core.model import Run, Worker
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.store.bundle import Store


class WorkerView(View, kw_only=True):
    """A process that executes attempts. `reserved` counts the slots its runs hold, by kind."""

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


async def list_workers(store: Store) -> WorkerList:
    """All workers with the runs they hold."""
    held: dict[str, list[Run]] = {}
    for run in await store.held.all():
        if run.current is not None:
            held.setdefault(run.current.worker, []).append(run)
    return WorkerList(items=[_view(worker, held.get(worker.name, [])) for worker in await store.sessions.get()])


def _view(worker: Worker, runs: list[Run]) -> WorkerView:
    return WorkerView(
        id=worker.name,
        name=worker.name,
        state="up" if worker.disconnected is None else "lost",
        labels=worker.labels,
        capacity=worker.capacity,
        reserved=dict(Counter(run.kind for run in runs)),
        used={},
        cpus=worker.cpus,
        memory=worker.memory,
        running=[run.id for run in runs],
        version=worker.version,
        server=worker.server,
        clock_offset=None,
        connected=moment(worker.connected),
        disconnected=maybe_moment(worker.disconnected),
        last_seen=moment(worker.last_seen),
    )
