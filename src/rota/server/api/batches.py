"""Routes that take many things at once: apply jobs, trigger runs. JSON or NDJSON, one result per item, in order."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from rota.core.errors import Conflict, Invalid, RotaError, TooLarge
from rota.core.model import Run
from rota.jobfile.parse import parse_spec
from rota.server.api.bodies import decode_json
from rota.server.api.idempotency import run_key
from rota.server.api.problems import Problem, problem_of
from rota.server.api.routes import BATCH_LIMIT, PREFIX, Answer, Body, Call, Parameters, Route
from rota.server.api.wording import in_words
from rota.server.commands import ApplyResult, TriggerRequest, WantedJob
from rota.server.queries.shapes import RunView, View, run_view

MOST_ITEMS: Final = 10_000
NDJSON: Final = "application/x-ndjson"
_BREATH: Final = 200  # items decoded between two breaths of the event loop

Item = dict[str, Any]


class BatchParameters(Parameters):
    """`atomic`: all or none. `prune`: sources whose other jobs are deleted (implies atomic), joined by commas."""

    atomic: bool = False
    prune: Annotated[str, msgspec.Meta(max_length=4096)] = ""


class NoneAtAll(Parameters):
    """Nothing."""


class WantedBody(Body):
    """A job as somebody wants it: `job` is its full name, `spec` what its job file says of it."""

    job: Annotated[str, msgspec.Meta(min_length=3, max_length=201)]
    spec: Item
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None


class WantedBatch(Body):
    """Many jobs."""

    jobs: list[msgspec.Raw]


class TriggerItem(Body):
    """Which job to run, with which params; `key` makes it one run however often it is asked for."""

    job: Annotated[str, msgspec.Meta(min_length=3, max_length=201)]
    params: dict[str, str] = {}
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class TriggerBatch(Body):
    """Many runs."""

    runs: list[msgspec.Raw]


class JobResult(View, kw_only=True):
    """What became of one job: created, changed, unchanged, removed or refused (then `problem` says why)."""

    job: str
    status: str
    problem: Problem | None = None


class JobResults(View, kw_only=True):
    """One result per job, in the order given; then those that were removed."""

    items: list[JobResult]
    created: int
    changed: int
    unchanged: int
    removed: int
    refused: int


class RunResult(View, kw_only=True):
    """The run that was started, or why there is none."""

    run: RunView | None
    problem: Problem | None


class RunResults(View, kw_only=True):
    """One result per trigger, in the order given."""

    items: list[RunResult]
    started: int
    refused: int


async def apply_jobs(call: Call[BatchParameters, bytes]) -> Answer:
    """Make many jobs what is wanted."""
    raw_items = _items(call, WantedBatch, "jobs")
    wanted: list[WantedJob] = []
    refused: dict[int, JobResult] = {}
    for index, raw in enumerate(raw_items):
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        name = f"item {index + 1}"
        try:
            item = decode_json(bytes(raw), WantedBody)
            name = item.job
            wanted.append(_wanted(item))
        except RotaError as error:
            refused[index] = JobResult(job=name, status="refused", problem=problem_of(error, call.request_id))
    sources = [source for source in call.parameters.prune.split(",") if source]
    if call.parameters.atomic or sources:
        return Answer(value=await _all_or_none(call, wanted, refused, sources))
    results = await _each(call, wanted)
    ordered = iter(results)
    items = [refused.get(index) or next(ordered) for index in range(len(raw_items))]
    return Answer(value=_counted(items))


async def trigger_runs(call: Call[NoneAtAll, bytes]) -> Answer:
    """Run many jobs once."""
    requests: list[TriggerRequest | RotaError] = []
    for index, raw in enumerate(_items(call, TriggerBatch, "runs")):
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        try:
            item = decode_json(bytes(raw), TriggerItem)
            at = item.at.astimezone(UTC) if item.at else None
            key = item.key or run_key(call.request, call.actor, index)
            requests.append(TriggerRequest(full_name=item.job, params=item.params, key=key, at=at))
        except RotaError as error:
            requests.append(error)
    good = [request for request in requests if isinstance(request, TriggerRequest)]
    answers = iter(await call.services.commands.trigger_many(good, actor=call.actor) if good else [])
    outcomes = [next(answers) if isinstance(request, TriggerRequest) else request for request in requests]
    items = [_run_result(outcome, call.request_id) for outcome in outcomes]
    started = sum(item.run is not None for item in items)
    return Answer(value=RunResults(items=items, started=started, refused=len(items) - started))


def _items(call: Call[Any, bytes], kind: type[Any], key: str) -> list[bytes]:
    """The items of the body, each still undecoded."""
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == NDJSON:
        items = [line for line in call.body.splitlines() if line.strip()]
    else:
        try:
            items = [bytes(raw) for raw in getattr(msgspec.json.decode(call.body, type=kind), key)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = f"the body is not what is expected here: {in_words(error)}"
            raise Invalid(what, hint=f'send {{"{key}": […]}}') from error
    if len(items) > MOST_ITEMS:
        raise TooLarge(f"{len(items)} items in one request; the most is {MOST_ITEMS}", hint="send them in parts")
    return items


def _wanted(item: WantedBody) -> WantedJob:
    namespace, _, name = item.job.partition("/")
    return WantedJob(full_name=item.job, spec=parse_spec(namespace, name, item.spec), source=item.source)


async def _all_or_none(
    call: Call[BatchParameters, bytes], wanted: Sequence[WantedJob], refused: dict[int, JobResult], sources: list[str]
) -> JobResults:
    """One apply; a single refused item refuses all."""
    if refused:
        first = next(iter(refused.values()))
        listed = [problem for one in refused.values() if one.problem for problem in _listed(one)]
        raise RefusedBatch(
            f"{len(refused)} of {len(refused) + len(wanted)} jobs are not valid; nothing was applied. {first.job}: "
            f"{first.problem.detail if first.problem else ''}",
            problems=listed,
        )
    result = await call.services.commands.apply(wanted, actor=call.actor, prune_sources=sources)
    return _counted(_results(result, [one.full_name for one in wanted]))


class RefusedBatch(Invalid):
    """Some jobs of an atomic batch are not valid; nothing was applied."""

    code = "BATCH_REFUSED"


def _listed(result: JobResult) -> list[dict[str, Any]]:
    assert result.problem is not None
    own = result.problem.problems or [{"code": result.problem.code, "message": result.problem.detail}]
    return [{"job": result.job, **problem} for problem in own]


async def _each(call: Call[Any, Any], wanted: Sequence[WantedJob]) -> list[JobResult]:
    """All at once where that works, else each by itself, so that one conflict does not refuse the rest."""
    if not wanted:
        return []
    names = [one.full_name for one in wanted]
    try:
        return _results(await call.services.commands.apply(wanted, actor=call.actor), names)
    except (Conflict, Invalid):
        pass
    results: list[JobResult] = []
    for one in wanted:
        try:
            result = await call.services.commands.apply([one], actor=call.actor)
            results += _results(result, [one.full_name])
        except (Conflict, Invalid) as error:
            problem = problem_of(error, call.request_id)
            results.append(JobResult(job=one.full_name, status="refused", problem=problem))
    return results


def _results(result: ApplyResult, names: Sequence[str]) -> list[JobResult]:
    status = dict.fromkeys(result.created, "created")
    status |= dict.fromkeys(result.changed, "changed")
    items = [JobResult(job=name, status=status.get(name, "unchanged")) for name in names]
    return items + [JobResult(job=name, status="removed") for name in result.removed]


def _counted(items: list[JobResult]) -> JobResults:
    words = ("created", "changed", "unchanged", "removed", "refused")
    counts = {word: sum(item.status == word for item in items) for word in words}
    return JobResults(items=items, **counts)


def _run_result(outcome: Run | RotaError, request_id: str) -> RunResult:
    if isinstance(outcome, RotaError):
        return RunResult(run=None, problem=problem_of(outcome, request_id))
    return RunResult(run=run_view(outcome), problem=None)


_REPEAT: Final = {"Idempotency-Key": "repeating the request with the same key changes nothing"}

ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="POST",
        path=PREFIX + "/jobs:batch",
        permission="write",
        summary="Apply up to 10,000 jobs, each by itself or all or none",
        handler=apply_jobs,
        parameters=BatchParameters,
        body=bytes,
        reads=("application/json", NDJSON),
        body_limit=BATCH_LIMIT,
        answer=JobResults,
        errors=(409,),
        headers=_REPEAT,
    ),
    Route(
        method="POST",
        path=PREFIX + "/runs:batch",
        permission="write",
        summary="Run up to 10,000 jobs once each",
        handler=trigger_runs,
        parameters=NoneAtAll,
        body=bytes,
        reads=("application/json", NDJSON),
        body_limit=BATCH_LIMIT,
        answer=RunResults,
        headers=_REPEAT,
    ),
]
