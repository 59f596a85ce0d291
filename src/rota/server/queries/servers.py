"""Servers: who lives, who leads what, what each measures of itself; and what waits to be done by all of them."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from rota.clock import Clock
from rota.core import reasons
from rota.core.lease import is_live
from rota.core.model import Run, Server, Standing
from rota.server.insight import Insight
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.store.bundle import Store
from rota.store.vitals import Readings, Vitals

_LOOKED_AT: Final = 500
_ABOUT_TO: Final = timedelta(seconds=6)  # a run that waits for something says so, and looks again within this


class ServerView(View, kw_only=True):
    """A process that decides. What it measures of itself is as of `measured`, null where it has said nothing yet.

    `shards` are those it leads. Seconds: its wall clock is `clock_offset` ahead of the store's, its planner
    `planner_lag` late, the lease renewed `renewal_age` ago; half of what it asks of the store takes less than
    `store_typical`, one in a hundred longer than `store_slow`.
    """

    id: str
    name: str
    url: str
    version: str
    state: str
    started: Moment
    renewed: Moment
    lease_until: Moment
    shards: list[int]
    measured: Moment | None
    clock_offset: float | None
    planner_lag: float | None
    renewal_age: float | None
    store_typical: float | None
    store_slow: float | None
    workers: int | None
    problems: list[str]


class WaitingView(View, kw_only=True):
    """So many runs whose time has come wait for the same thing."""

    kind: str
    code: str | None
    words: str
    count: int


class BacklogView(View, kw_only=True):
    """Unfinished runs; since when the one that has waited longest for a worker does; what the oldest ones wait for.

    `waiting_counted` says of how many that was found; it is all of them when it is less than 500.
    """

    queued: int
    starting: int
    running: int
    oldest: Moment | None
    waiting: list[WaitingView]
    waiting_counted: int


class ServerList(View, kw_only=True):
    """All servers of the last day, those that live first, by name; `unled` are shards that nobody plans for now."""

    items: list[ServerView]
    shards: int
    unled: list[int]
    backlog: BacklogView


async def list_servers(store: Store, own: Insight, clock: Clock) -> ServerList:
    """All servers, as far as the store knows; this one as of this moment."""
    standing = await store.leases.standing()
    vitals = {**await store.vitals.all(), own.id: Vitals(at=clock.now(), readings=await own.readings())}
    views = [_server(server, standing, vitals.get(server.id)) for server in standing.servers]
    live = {server.id for server in standing.servers if is_live(server, standing.now)}
    return ServerList(
        items=sorted(views, key=lambda view: (view.state != "up", view.name, view.id)),
        shards=len(standing.shards),
        unled=[shard.number for shard in standing.shards if shard.server not in live],
        backlog=await backlog(store, clock.now()),
    )


async def backlog(store: Store, now: datetime) -> BacklogView:
    """What is unfinished, and what the oldest that wait are waiting for."""
    counts = await store.views.summary()
    found = (await store.runs.waiting(now + _ABOUT_TO, None, _LOOKED_AT)).runs
    waiting = [run for run in found if run.due <= now]
    groups = Counter((run.kind, *_what_for(run)) for run in waiting)
    return BacklogView(
        queued=counts.queued,
        starting=counts.starting,
        running=counts.running,
        oldest=maybe_moment(counts.oldest_queued if counts.oldest_queued and counts.oldest_queued <= now else None),
        waiting=[
            WaitingView(kind=kind, code=code or None, words=words, count=count)
            for (kind, code, words), count in groups.most_common()
        ],
        waiting_counted=len(found),
    )


def _server(server: Server, standing: Standing, vitals: Vitals | None) -> ServerView:
    readings: Readings | None = vitals.readings if vitals else None
    return ServerView(
        id=server.id,
        name=server.name,
        url=server.url,
        version=server.version,
        state="up" if is_live(server, standing.now) else "gone",
        started=moment(server.started),
        renewed=moment(server.renewed),
        lease_until=moment(server.lease_until),
        shards=[shard.number for shard in standing.shards if shard.server == server.id],
        measured=moment(vitals.at) if vitals else None,
        clock_offset=readings.clock_offset if readings else None,
        planner_lag=readings.planner_lag if readings else None,
        renewal_age=readings.renewal_age if readings else None,
        store_typical=readings.store_typical if readings else None,
        store_slow=readings.store_slow if readings else None,
        workers=readings.workers if readings else None,
        problems=list(readings.problems) if readings else [],
    )


def _what_for(run: Run) -> tuple[str, str]:
    """Code and words of what a due run waits for; the same for all that wait for the same."""
    if run.reason is None or run.reason.code in _ANY_WORKER:
        return "", "a worker with room"
    if run.reason.code in ("NO_WORKER", "NO_ROOM", "RESTORE_HELD", "MISSING_SECRET"):
        return run.reason.code, reasons.explain(run.reason)
    return run.reason.code, _WORDS.get(run.reason.code, run.reason.code.lower().replace("_", " "))


_ANY_WORKER: Final = ("CATCH_UP", "REPINNED", "RETURNED", "REQUEUED", "WORKER_STOPPED", "RETRY_WAIT")
_WORDS: Final = {
    "OVERLAP_QUEUED": "another run of the same job",
    "REPLACING": "the end of the run it replaces",
    "ASKED_BACK": "a worker to give back a run that is due later",
}
