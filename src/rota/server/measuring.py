"""How the installation stands at a moment, for metrics: asked for by who scrapes them, measured by this server."""

from collections import Counter

from msgspec.structs import replace

from rota.clock import Clock
from rota.core.errors import StoreUnavailable
from rota.core.lease import is_live
from rota.events import InstallationMeasured
from rota.server.insight import Insight
from rota.server.queries.workers import known_workers
from rota.store.bundle import Store


async def measure(store: Store, server: Insight, clock: Clock) -> InstallationMeasured:
    """Ask the store and the server itself. While the store does not answer, what is known without it."""
    own = await server.readings()
    known = InstallationMeasured(
        store_answers=False,
        renewal_age=own.renewal_age,
        clock_offset=own.clock_offset,
        planner_lag=own.planner_lag,
        sessions=own.workers,
        shards_led=server.shards_led,
    )
    try:
        counts = await store.views.summary()
        standing = await store.leases.standing()
        workers = await known_workers(store, server.signs())
    except StoreUnavailable:
        return known
    live = {one.id for one in standing.servers if is_live(one, standing.now)}
    states = Counter(state for _, state in workers)
    offsets = [worker.clock_offset or 0.0 for worker, state in workers if state != "lost"]
    waited = (clock.now() - counts.oldest_queued).total_seconds() if counts.oldest_queued else 0.0
    return replace(
        known,
        store_answers=True,
        runs={"queued": counts.queued, "starting": counts.starting, "running": counts.running},
        jobs={"all": counts.jobs, "paused": counts.paused, "failing": counts.failing, "late": counts.late},
        oldest_wait_seconds=max(waited, 0.0),
        workers={state: states[state] for state in ("up", "draining", "lost")},
        worker_clock_offset=max(offsets, key=abs, default=0.0),
        servers=len(live),
        shards_unled=sum(shard.server not in live for shard in standing.shards),
    )
