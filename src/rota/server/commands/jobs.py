"""Commands on definitions: apply many or one, delete, pause, resume. All or nothing, no instant lost on the way."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from rota.core import definition
from rota.core.actor import Actor
from rota.core.definition import Change
from rota.core.errors import Conflict, Invalid, RotaError
from rota.core.ids import shard_of
from rota.core.model import Job, JobId, JobSpec, JobStats, Run, RunId, RunState, Value
from rota.core.record import settle
from rota.core.schedule import Schedule, compile_schedule
from rota.events import JobsChanged
from rota.server.commands.base import Command
from rota.server.definitions import compile_job
from rota.store.jobs import JobWrite, RunChange

LARGEST_APPLY: Final = 10_000


class WantedJob(Value):
    """A job as somebody wants it. `source` is the file it comes from, None when it has none."""

    full_name: str
    spec: JobSpec
    source: str | None = None


class ApplyResult(Value):
    """What an apply did, by full name."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class PauseResult(Value):
    """The paused job, and its runs that were already sent to a worker or wait between two tries."""

    job: Job
    may_still_start: tuple[RunId, ...] = ()


class JobCommands(Command):
    """Create, change, delete, pause, resume."""

    async def apply(
        self,
        specs: Sequence[WantedJob],
        *,
        actor: Actor,
        prune_sources: Sequence[str] = (),
        watcher: bool = False,
        if_revision: int | None = None,
    ) -> ApplyResult:
        """Make these jobs what is wanted, all or nothing; with `if_revision` only if each is at that revision.

        Jobs of `prune_sources` that are not among them are deleted. A job that belongs to a watched file is only
        changed by the watcher of that file. Raises Conflict, Invalid or ScheduleError; nothing is then changed.
        """
        _refuse_doubles(specs)

        async def attempt() -> ApplyResult:
            async with self._services.planning:
                for one in specs if if_revision is not None else ():
                    await self._check_revision(one.full_name, if_revision)
                return await self._apply(specs, actor, prune_sources, watcher)

        result = await self._until_settled(attempt)
        self._after_change(actor, result)
        return result

    async def put_job(self, full_name: str, spec: JobSpec, *, if_revision: int | None, actor: Actor) -> Job:
        """Create or change one job; with `if_revision` only if that is its present revision (0: does not exist)."""
        await self.apply([WantedJob(full_name=full_name, spec=spec)], actor=actor, if_revision=if_revision)
        return await self._job(full_name)

    async def delete_job(self, full_name: str, *, if_revision: int | None, actor: Actor) -> None:
        """Delete a definition; its history stays. What runs goes on to its end."""

        async def attempt() -> None:
            async with self._services.planning:
                job = await self._job(full_name)
                await self._check_revision(full_name, if_revision)
                self._refuse_watched([job], watcher=False)
                waiting = await self._waiting([job.id])
                change = definition.delete(job, _old(job), waiting=waiting.get(job.id, ()), now=self._clock.now())
                await self._commit([change], actor, "job.delete")

        await self._until_settled(attempt)
        self._after_change(actor, ApplyResult(removed=(full_name,)))

    async def pause(self, full_name: str, *, until: datetime | None, reason: str, actor: Actor) -> PauseResult:
        """Stop planning a job, until then or until it is resumed; its scheduled runs that wait are skipped."""
        now = self._clock.now()
        if until is not None and until <= now:
            raise Invalid(f"the pause would end at {until.isoformat()}, which is past", hint="give a later time")

        async def attempt() -> None:
            async with self._services.planning:
                job = await self._job(full_name)
                waiting = await self._waiting([job.id])
                change = definition.pause(
                    job,
                    _old(job),
                    until=until,
                    why=reason,
                    by=actor.name,
                    waiting=_unstarted(waiting.get(job.id, ())),
                    now=self._clock.now(),
                )
                await self._commit([change], actor, "job.pause", reason)

        await self._until_settled(attempt)
        self._after_change(actor, ApplyResult(changed=(full_name,)))
        job = await self._job(full_name)
        unfinished = await self._store.runs.unfinished([job.id])
        released = [run.id for run in unfinished if run.released is not None and run.state is not RunState.RUNNING]
        return PauseResult(job=job, may_still_start=tuple(released))

    async def resume(self, full_name: str, *, actor: Actor) -> Job:
        """Plan a job again from now on; the instants of the pause lie in one gap row. Not paused: no change."""

        async def attempt() -> bool:
            async with self._services.planning:
                job = await self._job(full_name)
                if job.pause is None:
                    return False
                await self._commit([definition.resume(job, _old(job), now=self._clock.now())], actor, "job.resume")
                return True

        if await self._until_settled(attempt):
            self._after_change(actor, ApplyResult(changed=(full_name,)))
        return await self._job(full_name)

    async def _apply(
        self, specs: Sequence[WantedJob], actor: Actor, prune_sources: Sequence[str], watcher: bool
    ) -> ApplyResult:
        """One try of an apply."""
        stored = await self._store.jobs.get_with_deleted([wanted.full_name for wanted in specs])
        existing = {name: job for name, job in stored.items() if job.deleted is None}
        changed = [one for one in specs if one.full_name in existing and _differs(existing[one.full_name], one)]
        gone = await self._gone(specs, prune_sources)
        touched = [existing[one.full_name] for one in changed]
        self._refuse_watched([*touched, *gone], watcher=watcher)
        if not watcher:
            _refuse_second_source(changed, existing)
        waiting = await self._waiting([job.id for job in (*touched, *gone)])
        now = self._clock.now()
        created = [one for one in specs if one.full_name not in existing]
        changes = [self._create(one, stored.get(one.full_name), actor, now) for one in created]
        changes += [_edit(existing[one.full_name], one, waiting, now) for one in changed]
        changes += [definition.delete(job, _old(job), waiting=waiting.get(job.id, ()), now=now) for job in gone]
        if changes:
            await self._commit(changes, actor, "job.apply")
        named = {one.full_name for one in (*created, *changed)}
        return ApplyResult(
            created=tuple(one.full_name for one in created),
            changed=tuple(one.full_name for one in changed),
            unchanged=tuple(one.full_name for one in specs if one.full_name not in named),
            removed=tuple(job.full_name for job in gone),
        )

    def _create(self, wanted: WantedJob, before: Job | None, actor: Actor, now: datetime) -> Change:
        """The change that makes a job; a schedule that never fires is refused here."""
        schedule = _compile(wanted.full_name, wanted.spec, now)
        change = definition.create(
            wanted.full_name, wanted.spec, schedule, source=wanted.source, by=actor.name, before=before, now=now
        )
        return replace(change, job=replace(change.job, shard=shard_of(change.job.id, self._store.shards)))

    async def _gone(self, specs: Sequence[WantedJob], sources: Iterable[str]) -> list[Job]:
        """Jobs of these sources that are not wanted any more."""
        wanted = {one.full_name for one in specs}
        found = [job for source in sources for job in await self._store.jobs.by_source(source)]
        return [job for job in found if job.full_name not in wanted and job.deleted is None]

    async def _waiting(self, job_ids: Sequence[JobId]) -> dict[JobId, list[Run]]:
        """The queued and the staged runs of these jobs."""
        now = self._clock.now()
        waiting: dict[JobId, list[Run]] = {}
        for run in await self._store.runs.unfinished(job_ids) if job_ids else []:
            if run.state is RunState.QUEUED or run.is_staged(now):
                waiting.setdefault(run.job_id, []).append(run)
        return waiting

    async def _commit(self, changes: Sequence[Change], actor: Actor, verb: str, detail: str = "") -> None:
        """Write changes with the counters and notices that follow from them."""
        ended = [change.job.id for change in changes if change.ended]
        audit = [self._audit(actor, verb, change.job.full_name, detail) for change in changes]
        async with self._services.counters:
            stats: Mapping[JobId, JobStats] = await self._store.runs.stats(ended) if ended else {}
            writes = [_as_write(change, stats, self._clock.now()) for change in changes]
            try:
                await self._store.jobs.apply(writes, audit)
            except Conflict as error:
                raise Conflict(error.detail, hint=error.hint, moved=True, **error.facts) from error
        for run in (run for change in changes for run in change.waiting if run.withdrawn is not None):
            await self._services.revoke_attempt(run)

    async def _check_revision(self, full_name: str, if_revision: int | None) -> None:
        """Refuse an edit made against another revision than the present one."""
        if if_revision is None:
            return
        job = (await self._store.jobs.get([full_name])).get(full_name)
        present = job.revision if job else 0
        if present != if_revision:
            detail = f"{full_name} is at revision {present}, not {if_revision}"
            raise Conflict(detail, hint="read it again, then repeat the change", revision=present)

    def _refuse_watched(self, jobs: Sequence[Job], *, watcher: bool) -> None:
        """A job of a watched file has one source: that file."""
        if watcher:
            return
        for job in jobs:
            if job.source is not None and self._services.is_watched(job.source):
                detail = f"{job.full_name} belongs to {job.source}, which is watched"
                raise Conflict(
                    detail, hint="change it in that file; saved changes apply by themselves", job=job.full_name
                )

    def _after_change(self, actor: Actor, result: ApplyResult) -> None:
        """Wake who works with definitions and tell who looks at them."""
        names = (*result.created, *result.changed, *result.removed)
        if not names:
            return
        self._services.wake()
        for name in names[:100]:
            self._services.publish(f"job:{name}")
        self._services.publish("jobs")
        self._services.emit(
            JobsChanged(
                actor=actor.name,
                created=len(result.created),
                changed=len(result.changed),
                removed=len(result.removed),
                names=(*result.removed, *result.changed, *result.created)[:20],
            )
        )


def _unstarted(waiting: Sequence[Run]) -> list[Run]:
    """Of waiting runs those that no attempt has been made of."""
    return [run for run in waiting if not run.attempts and (run.released is None or run.current is not None)]


def _differs(job: Job, wanted: WantedJob) -> bool:
    """Whether an apply would change the job."""
    return job.spec != wanted.spec or job.source != wanted.source or job.broken is not None


def _refuse_second_source(specs: Sequence[WantedJob], existing: Mapping[str, Job]) -> None:
    """A job comes from one file; which of two would be right nobody could tell."""
    for one in specs:
        present = existing[one.full_name].source
        if present is not None and one.source is not None and one.source != present:
            detail = f"{one.full_name} comes from {present}; {one.source} defines it too"
            hint = f"take it out of one of them; to move it, first: rota apply {present} --prune"
            raise Conflict(detail, hint=hint, job=one.full_name)


def _edit(job: Job, wanted: WantedJob, waiting: Mapping[JobId, Sequence[Run]], now: datetime) -> Change:
    """The change of an existing job; runs between two tries keep their revision."""
    unstarted = _unstarted(waiting.get(job.id, ()))
    schedule = _compile(wanted.full_name, wanted.spec, job.created)
    return definition.edit(job, _old(job), wanted.spec, schedule, source=wanted.source, waiting=unstarted, now=now)


def _compile(full_name: str, spec: JobSpec, anchor: datetime) -> Schedule:
    """The schedule of a definition that is not stored yet."""
    return compile_schedule(
        spec.schedule, at=spec.at, timezone=spec.timezone, dst=spec.dst, name=full_name, anchor=anchor
    )


def _old(job: Job) -> Schedule:
    """The schedule in force; one that cannot be computed has no instants to answer."""
    if job.broken is None:
        return compile_job(job)
    try:
        schedule = compile_job(job)  # what broke it may be gone, a zone that is known again for instance
        schedule.next(job.cursor)
        return schedule
    except (RotaError, ArithmeticError, ValueError, LookupError):
        return compile_schedule(None)


def _as_write(change: Change, stats: Mapping[JobId, JobStats], now: datetime) -> JobWrite:
    """A change as the store takes it."""
    job = change.job
    after = settle(change.ended, {job.id: job}, stats, now)
    return JobWrite(
        job=job,
        expected_version=change.expected_version,
        runs=change.runs,
        gaps=change.gaps,
        changes=tuple(RunChange(run=run) for run in change.waiting),
        stats=after.stats[0] if after.stats else None,
        notices=after.notices,
    )


def _refuse_doubles(specs: Sequence[WantedJob]) -> None:
    """One apply, one definition per job."""
    if len(specs) > LARGEST_APPLY:
        raise Invalid(f"{len(specs)} jobs in one apply; the most is {LARGEST_APPLY}", hint="apply them in parts")
    seen: dict[str, str | None] = {}
    for one in specs:
        if one.full_name in seen:
            places = f"{seen[one.full_name] or 'the request'} and {one.source or 'the request'}"
            raise Invalid(f"{one.full_name} is defined twice, in {places}", hint="keep one of them", job=one.full_name)
        seen[one.full_name] = one.source
