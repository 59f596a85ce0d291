"""Which worker takes a run: filter by what it can run, score by free room, choose; a reason for every refusal."""

from collections.abc import Sequence

from rota.core.model import Reason, Run, RunId, Value


class WorkerRoom(Value):
    """A connected worker as placement sees it: its session, and how many more attempts of each kind it takes."""

    name: str
    session: int
    room: dict[str, int]
    draining: bool = False


class Placed(Value):
    """A run and the worker chosen for it."""

    run: Run
    worker: str
    session: int


class Placement(Value):
    """What was placed, and why the rest was not."""

    placed: tuple[Placed, ...] = ()
    refused: dict[RunId, Reason] = {}


def place(runs: Sequence[Run], workers: Sequence[WorkerRoom]) -> Placement:
    """Choose a worker for each run, in the order given: the one with the most room, the first by name among equals."""
    room = {worker.name: dict(worker.room) for worker in workers if not worker.draining}
    sessions = {worker.name: worker.session for worker in workers}
    placed: list[Placed] = []
    refused: dict[RunId, Reason] = {}
    for run in runs:
        best = max(sorted(room), key=lambda name: room[name].get(run.kind, 0), default=None)
        if best is None or room[best].get(run.kind, 0) <= 0:
            refused[run.id] = _refusal(run, workers)
            continue
        room[best][run.kind] -= 1
        placed.append(Placed(run=run, worker=best, session=sessions[best]))
    return Placement(placed=tuple(placed), refused=refused)


def kinds_with_room(workers: Sequence[WorkerRoom]) -> dict[str, int]:
    """How many attempts of each kind the workers take together; kinds without room are absent."""
    total: dict[str, int] = {}
    for worker in workers:
        if not worker.draining:
            for kind, room in worker.room.items():
                total[kind] = total.get(kind, 0) + max(room, 0)
    return {kind: room for kind, room in total.items() if room > 0}


def _refusal(run: Run, workers: Sequence[WorkerRoom]) -> Reason:
    """Why no worker took the run."""
    able = [worker for worker in workers if run.kind in worker.room and not worker.draining]
    code = "NO_ROOM" if able else "NO_WORKER"
    return Reason(code=code, params={"kind": run.kind})
