"""The pages of who operates it: Workers, one worker, System."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rota.core.errors import Invalid, NotFound
from rota.core.model import Condition
from rota.core.query_language import quote
from rota.core.small_lists import matcher
from rota.server.api.services import ApiServices
from rota.server.queries.servers import ServerList, ServerView, backlog, list_servers
from rota.server.queries.workers import WorkerView, known_workers, list_workers
from rota.server.restore import CONDITION as RESTORED
from rota.server.ui.render import Visit, page
from rota.server.ui.words import counted

_ROWS: Final = 200
_POLL_SECONDS: Final = 5
_CLOCK_SECONDS: Final = 2.0
_LATE_SECONDS: Final = 5.0
_SLOW_SECONDS: Final = 1.0
_RENEWAL_SECONDS: Final = 2.5
_FIELDS: Final = {
    "name": lambda worker: worker["name"],
    "state": lambda worker: worker["state"],
    "label": lambda worker: ",".join(f"{name}={value}" for name, value in worker["labels"].items()),
}


class Slots(NamedTuple):
    """How full a worker is for one kind of attempts; `percent` of its capacity."""

    kind: str
    taken: int
    most: int
    percent: float


class Piece(NamedTuple):
    """A shard as a cell of the map: who leads it, by place among the servers; -1: nobody."""

    shard: int
    place: int
    leader: str


class Reading(NamedTuple):
    """A figure with what it must not exceed."""

    name: str
    value: float | None
    limit: float


async def show_workers(request: Request, services: ApiServices, visit: Visit) -> Response:
    """All workers, or those a query asks for: how full each is, and what waits for one."""
    query = request.query_params.get("q", "")
    after = request.query_params.get("after", "")
    found = (await list_workers(services.store, services.server.signs())).items
    problem: Invalid | None = None
    wanted: list[WorkerView] = []
    try:
        asked = matcher(query, _FIELDS)
        wanted = [worker for worker in found if asked(msgspec.to_builtins(worker)) and worker.name > after]
    except Invalid as error:
        problem = error
    return page(
        services,
        "workers.html",
        visit,
        422 if problem else 200,
        query=query,
        after=after,
        problem=problem,
        known=len(found),
        counts=Counter(worker.state for worker in found),
        workers=wanted[:_ROWS],
        more=wanted[_ROWS - 1].name if len(wanted) > _ROWS else None,
        names={server.id: server.name for server in (await services.store.leases.standing()).servers},
        slots_of=slots_of,
        backlog=await backlog(services.store, services.clock.now()),
        server_url=str(request.base_url).rstrip("/"),
        clock_limit=_CLOCK_SECONDS,
        poll=_POLL_SECONDS,
        topics="workers",
    )


async def show_worker(request: Request, services: ApiServices, visit: Visit) -> Response:
    """One worker: what it offers, what it runs, what it ran."""
    name = request.path_params["name"]
    found = (await list_workers(services.store, services.server.signs())).items
    worker = next((one for one in found if one.name == name), None)
    if worker is None:
        raise NotFound(f"there is no worker {name[:80]}", hint="rota workers shows all")
    queries = services.queries
    runs = await queries.runs(queries.run_query(f"worker:{quote(name)}", "24h"), "-due", None, 50)
    return page(
        services,
        "worker.html",
        visit,
        worker=worker,
        slots=slots_of(worker),
        runs_items=runs.items,
        server_name={server.id: server.name for server in (await services.store.leases.standing()).servers}.get(
            worker.server, worker.server
        ),
        clock_limit=_CLOCK_SECONDS,
        poll=_POLL_SECONDS,
        topics="workers",
    )


async def show_system(request: Request, services: ApiServices, visit: Visit) -> Response:
    """Whether the scheduler itself is all right: servers, shards, store, clocks, backlog, conditions."""
    servers = await list_servers(services.store, services.server, services.clock)
    workers = await known_workers(services.store, services.server.signs())
    live = [server for server in servers.items if server.state == "up"]
    present = [worker for worker, state in workers if state != "lost"]
    return page(
        services,
        "system.html",
        visit,
        servers=servers,
        live=live,
        shown=_newest(servers.items),
        readings_of=readings_of,
        shard_map=shard_map(servers, live),
        counts=Counter(state for _, state in workers),
        versions=sorted({server.version for server in live} | {worker.version for worker in present}),
        worst_clock=max((worker.clock_offset or 0.0 for worker in present), key=abs, default=None),
        clock_limit=_CLOCK_SECONDS,
        problems=_problems(servers, live, visit.conditions, len(present)),
        standing=visit.conditions,
        restored=any(condition.key == RESTORED for condition in visit.conditions),
        poll=_POLL_SECONDS,
        topics="workers",
    )


def slots_of(worker: WorkerView) -> list[Slots]:
    """How full it is, kind by kind."""
    return [
        Slots(kind, worker.reserved.get(kind, 0), most, min(100.0, 100 * worker.reserved.get(kind, 0) / max(most, 1)))
        for kind, most in sorted(worker.capacity.items())
    ]


def readings_of(server: ServerView) -> dict[str, Reading]:
    """What a server measures of itself, with the values from which on somebody should look."""
    return {
        "lag": Reading("planner lag", server.planner_lag, _LATE_SECONDS),
        "slow": Reading("slow answers of the store", server.store_slow, _SLOW_SECONDS),
        "renewal": Reading("age of the lease", server.renewal_age, _RENEWAL_SECONDS),
        "clock": Reading("clock offset", server.clock_offset, _CLOCK_SECONDS),
    }


def shard_map(servers: ServerList, live: Sequence[ServerView]) -> list[Piece]:
    """All shards in order, with who leads each."""
    leaders = {shard: (place, server.name) for place, server in enumerate(live) for shard in server.shards}
    return [Piece(shard, *leaders.get(shard, (-1, "nobody"))) for shard in range(servers.shards)]


def _newest(servers: Sequence[ServerView]) -> list[ServerView]:
    """Those that live, and of those that are gone the last of each name that did not come back."""
    gone: dict[str, ServerView] = {}
    for server in servers:
        if server.state != "up" and server.lease_until > getattr(gone.get(server.name), "lease_until", ""):
            gone[server.name] = server
    live = [server for server in servers if server.state == "up"]
    names = {server.name for server in live}
    return [*live, *(server for name, server in gone.items() if name not in names)]


def _problems(
    servers: ServerList, live: Sequence[ServerView], conditions: Sequence[Condition], workers: int
) -> list[str]:
    """What is not all right, in a few words each, without what stands as a condition: the page lists those."""
    found: list[str] = []
    if servers.unled:
        found.append(f"{counted(len(servers.unled), 'shard')} led by nobody")
    standing = {condition.key for condition in conditions}
    for server in live:
        found += [f"{server.name}: {problem}" for problem in server.problems]
        readings = readings_of(server)
        if f"server-clock/{server.name}" in standing:
            del readings["clock"]
        found += [
            f"{server.name}: {reading.name}"
            for reading in readings.values()
            if reading.value is not None and abs(reading.value) > reading.limit
        ]
    if not workers:
        found.append("no worker is connected")
    return found
