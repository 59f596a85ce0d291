"""Commands on runs: trigger, cancel, retry; and the ends that `overlap: replace` asks for."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from rota.core.actor import Actor
from rota.core.catch_up import task_kind
from rota.core.errors import Conflict, Invalid, NotFound, RotaError, TooLarge
from rota.core.ids import run_id
from rota.core.model import Job, Reason, Run, RunId, RunState, Trigger, Value
from rota.core.run_state import Settle, advance
from rota.server.commands.base import Command
from rota.store.jobs import AuditEntry, RunChange

LARGEST_TRIGGER: Final = 10_000
LARGEST_PARAMS: Final = 64 * 1024  # bytes of all names and values of one run; they travel in its environment
LONGEST_KEY: Final = 256


class TriggerRequest(Value):
    """A wish to run a job. `key` makes it unique: the same key for the same job is the same run, for ever."""

    full_name: str
    params: dict[str, str] = {}
    key: str | None = None
    at: datetime | None = None


class RunCommands(Command):
    """Trigger, cancel, retry."""

    async def trigger(
        self, full_name: str, *, params: dict[str, str], key: str | None, at: datetime | None, actor: Actor
    ) -> Run:
        """Run a job once, now or `at`. `at` in the past sets the run's due and starts it now."""
        request = TriggerRequest(full_name=full_name, params=params, key=key, at=at)
        result = (await self.trigger_many([request], actor=actor))[0]
        if isinstance(result, RotaError):
            raise result
        return result

    async def trigger_many(self, requests: Sequence[TriggerRequest], *, actor: Actor) -> list[Run | RotaError]:
        """Run many jobs once; each request succeeds or fails by itself. Committed when this returns."""
        if len(requests) > LARGEST_TRIGGER:
            raise TooLarge(f"{len(requests)} triggers in one request; the most is {LARGEST_TRIGGER}")
        jobs = await self._store.jobs.get(list({request.full_name for request in requests}))
        now = self._clock.now()
        results: list[Run | RotaError] = [
            _prepare(request, request.key or self._fresh_key(), jobs, actor, now) for request in requests
        ]
        runs = [one for one in results if isinstance(one, Run)]
        audit = [self._audit(actor, "run.trigger", run.job, run.id) for run in runs]
        stored = iter(await self._store.runs.create(runs, audit) if runs else [])
        self._services.wake()
        for name in {run.job for run in runs}:
            self._services.publish(f"job:{name}")
        self._services.publish("runs")
        return [next(stored) if isinstance(one, Run) else one for one in results]

    async def cancel(self, run_id: RunId, *, reason: str, actor: Actor) -> Run:
        """End a run. One that waits ends at once; for one with a worker this is a request, which the worker answers."""
        why = Reason(code="CANCELLED", params={"by": actor.name, "why": f": {reason}" if reason else ""})

        async def attempt() -> Run:
            run = await self._run(run_id)
            if run.state.is_final:
                raise Conflict(f"run {run_id} has already ended: {run.state.value}", state=run.state.value)
            return await self._end(run, why, self._audit(actor, "run.cancel", run_id, reason))

        return await self._until_settled(attempt)

    async def replace_runs(self, end: Mapping[RunId, RunId]) -> None:
        """End runs that a newer one replaces (`overlap: replace`); one that has ended meanwhile is as wanted."""
        for holder, newer in end.items():
            why = Reason(code="REPLACED", params={"by": newer})

            async def attempt(holder: RunId = holder, why: Reason = why) -> Run:
                run = await self._run(holder)
                return run if run.state.is_final or run.cancel is not None else await self._end(run, why, None)

            await self._until_settled(attempt)

    async def retry(self, run_id: RunId, *, actor: Actor, key: str | None = None) -> Run:
        """A new run for the same due, under the job's present definition; the old one stays as it ended.

        The same `key` for the same job is the same run, for ever.
        """
        old = await self._run(run_id)
        if not old.state.is_final:
            detail = f"run {run_id} has not ended yet: {old.state.value}"
            raise Conflict(detail, hint=f"rota cancel {run_id} ends it", state=old.state.value)
        job = await self._job(old.job)
        run = _new_run(job, Trigger.RETRY, self._fresh_key(), old.due, old.params, actor, self._clock.now())
        run = replace(run, retry_of=old.id, nominal=old.nominal, key=key or "")
        created = await self._store.runs.create([run], [self._audit(actor, "run.retry", old.id, run.id)])
        self._services.wake()
        self._services.publish(f"job:{job.full_name}")
        self._services.publish("runs")
        return created[0]

    async def _run(self, run_id: RunId) -> Run:
        """The run of that id, or NotFound."""
        run = (await self._store.runs.get([run_id])).get(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}", hint="rota runs shows recent runs", run=run_id)
        return run

    async def _end(self, run: Run, why: Reason, audit: AuditEntry | None) -> Run:
        """End a waiting run, or ask the worker that holds it to."""
        entries = [audit] if audit else []
        if run.state is RunState.QUEUED:
            ended = advance(run, Settle(state=RunState.CANCELLED, at=self._clock.now(), reason=why))
            await self._services.settler.settle([ended], entries)
            stored = await self._run(run.id)
            if (stored.state, stored.reason) != (ended.state, ended.reason):
                raise Conflict("the run moved on meanwhile", moved=True)
            return stored
        if run.cancel is None:
            asked = replace(run, cancel=why, version=run.version + 1)
            try:
                await self._store.runs.record([RunChange(run=asked)], [], [], entries)
            except Conflict as error:
                raise Conflict(error.detail, moved=True) from error
            run = asked
        await self._services.cancel_attempt(run)
        self._services.publish(f"run:{run.id}")
        return run


def _prepare(
    request: TriggerRequest, key: str, jobs: Mapping[str, Job], actor: Actor, now: datetime
) -> Run | RotaError:
    """The run a request asks for, or why there is none."""
    job = jobs.get(request.full_name)
    if job is None:
        return NotFound(f"there is no job {request.full_name}", hint="rota ls shows all jobs", job=request.full_name)
    problem = _check_params(request) or _check_declared(request, job)
    if problem is not None:
        return problem
    params = {**job.spec.params, **request.params}
    run = _new_run(job, Trigger.MANUAL, key, request.at or now, params, actor, now)
    return replace(run, key=request.key or "")


def _check_params(request: TriggerRequest) -> RotaError | None:
    """Why the params or the key of a request cannot be taken; they become environment variables."""
    if request.key is not None and not 0 < len(request.key) <= LONGEST_KEY:
        return Invalid(f"a key has 1 to {LONGEST_KEY} characters, this one has {len(request.key)}")
    if request.key is not None and not _is_text(request.key):
        return Invalid(f"a key is text; {request.key!r} contains half of a surrogate pair")
    for name, value in request.params.items():
        if not _is_text(name + value):
            return Invalid(f"param {name!r}: it contains half of a surrogate pair, which is no text")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in request.params.items())
    if size > LARGEST_PARAMS:
        return TooLarge(f"the params of one run have {size} bytes; the most is {LARGEST_PARAMS}")
    for name, value in request.params.items():
        if not name.replace("-", "_").isidentifier() or not name.isascii():
            return Invalid(f"param {name!r}: a name has letters, digits, - and _ and does not start with a digit")
        if "\0" in value:
            return Invalid(f"param {name}: the value contains a NUL character, which no program can be given")
    return None


def _check_declared(request: TriggerRequest, job: Job) -> RotaError | None:
    """Where a job declares its params, another name is a slip of the pen; a job that declares none takes any."""
    declared = job.spec.params
    if not declared:
        return None
    unknown = next((name for name in request.params if name not in declared), None)
    if unknown is None:
        return None
    close = difflib.get_close_matches(unknown, declared, n=1)
    hint = f"did you mean {close[0]}?" if close else f"its params are {', '.join(declared)}"
    return Invalid(f"{job.full_name} has no param {unknown}", hint=hint)


def _is_text(text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _new_run(
    job: Job, trigger: Trigger, key: str, due: datetime, params: Mapping[str, str], actor: Actor, now: datetime
) -> Run:
    """A queued run that no schedule asked for."""
    return Run(
        id=run_id(job.id, due, trigger, key, now),
        job_id=job.id,
        job=job.full_name,
        revision=job.revision,
        due=due,
        nominal=due,
        trigger=trigger,
        state=RunState.QUEUED,
        kind=task_kind(job.spec),
        created=now,
        ready_at=max(due, now),
        params=dict(params),
        actor=actor.name,
    )


def at_start_run(job: Job, boot: str, now: datetime) -> Run:
    """The run of a job with `schedule: at start` for one start of the server."""
    actor = Actor(name="schedule", scopes=frozenset())
    run = _new_run(job, Trigger.START, boot, now, job.spec.params, actor, now)
    if not job.spec.shadow:
        return run
    return replace(run, state=RunState.SKIPPED, reason=Reason(code="SHADOW"), finished=now)
