"""The time zone database's version: instants are computed with the highest one the store has seen.

Zone rules change a few times a year. When a server brings a newer database, the next instants of all jobs are computed
again, shard by shard as it comes to lead them; instants that were answered stay answered, because cursors do not move.
A server with an older database than the store has seen leads no shard: it would contradict what was promised.
"""

from typing import Final

from rota.core.errors import RotaError, StoreUnusable
from rota.core.model import Job, JobId
from rota.core.zones import tz_version
from rota.server.definitions import compile_job
from rota.store.bundle import Store
from rota.store.jobs import Plan

FACT: Final = "tzdata"
_BATCH: Final = 500


async def check_tzdata(store: Store, *, own: str | None = None) -> None:
    """Remember this server's zone database as the highest; raises StoreUnusable when the store has seen a newer one."""
    own = own or tz_version()
    seen = await store.leases.fact(FACT)
    if seen is None or _order(seen) < _order(own):
        await store.leases.remember(FACT, own)
    elif _order(seen) > _order(own):
        detail = f"the schedules in this store were computed with time zone database {seen}; this server has {own}"
        raise StoreUnusable(detail, hint="install a newer tzdata: pip install --upgrade tzdata")


async def follow_tzdata(store: Store, shard: int, epoch: int, *, own: str | None = None) -> int:
    """Bring the jobs of a shard to this server's zone database; returns how many got another next instant."""
    own = own or tz_version()
    fact = f"{FACT}/{shard}"
    if await store.leases.fact(fact) == own:
        return 0
    moved = 0
    after: JobId | None = None
    while jobs := await store.jobs.in_shard(shard, after, _BATCH):
        after = jobs[-1].id
        plans = [plan for job in jobs if (plan := _replanned(job)) is not None]
        if plans:
            moved += len(await store.jobs.commit_plan(plans, {shard: epoch}))
    await store.leases.remember(fact, own)
    return moved


def _replanned(job: Job) -> Plan | None:
    """The job's cursor where it is, with the next instant as it is now; None when that is the same."""
    if job.pause is not None or job.broken is not None:
        return None
    try:
        upcoming = compile_job(job).next(job.cursor)
    except (RotaError, ArithmeticError, ValueError, LookupError):
        return None  # the planner sets a broken job aside and says so
    next_at = upcoming.due if upcoming else None
    if next_at == job.next_at:
        return None
    return Plan(job_id=job.id, expected_version=job.version, cursor=job.cursor, next_at=next_at)


def _order(version: str) -> tuple[int, int, str]:
    """`2026.6` or `2026b` as something that compares: year, then number or letters (10 after 9)."""
    year, rest = version[:4], version[4:].lstrip(".")
    return (int(year) if year.isdigit() else 0, len(rest), rest)
