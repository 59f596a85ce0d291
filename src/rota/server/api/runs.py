"""Routes on runs: list, read, trigger, cancel, retry, why, output, references."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from starlette.responses import StreamingResponse

from rota.core.errors import NotFound
from rota.core.model import Run
from rota.server.api.idempotency import run_key
from rota.server.api.jobs import JobParameters, Limit, Text
from rota.server.api.routes import PREFIX, Answer, Body, Call, NoBody, Parameters, Route
from rota.server.queries import logs
from rota.server.queries.shapes import RunList, RunView, View, run_view
from rota.server.queries.why import Why

RunReference = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class RunsParameters(Parameters):
    """Which runs, bounded in time: the last 24 hours unless told otherwise."""

    q: Text = ""
    since: Text | None = None
    until: Text | None = None
    sort: Literal["-due", "due"] = "-due"
    cursor: Text | None = None
    limit: Limit = 100


class RunParameters(Parameters):
    """One run."""

    id: RunReference


class LogParameters(RunParameters):
    """A window of one attempt's output (0: the newest attempt); a negative `from` counts from the end."""

    attempt: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    start: Annotated[int, msgspec.Meta(ge=-1_000_000, le=2**53)] = msgspec.field(name="from", default=0)
    limit: Limit = 1000
    find: Literal["error"] | None = None


class RawParameters(RunParameters):
    """One attempt's whole output (0: the newest attempt)."""

    attempt: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0


class ResolveParameters(Parameters):
    """A run id, `ns/job@latest`, `@last-failed`, `@TIME`, or a page's link."""

    ref: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class TriggerBody(Body):
    """Params over the job's own, and a time: in the future the run waits for it, in the past it is the run's due."""

    params: dict[str, str] = {}
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class CancelBody(Body):
    """Why."""

    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Resolved(View, kw_only=True):
    """What a reference means."""

    kind: str
    id: str
    job: str
    url: str
    run: RunView


async def list_runs(call: Call[RunsParameters, NoBody]) -> Answer:
    """Runs that a query asks for."""
    wanted, queries = call.parameters, call.services.queries
    query = queries.run_query(wanted.q, wanted.since, wanted.until)
    return Answer(value=await queries.runs(query, wanted.sort, wanted.cursor, wanted.limit))


async def read_run(call: Call[RunParameters, NoBody]) -> Answer:
    """One run."""
    return Answer(value=run_view(await call.services.queries.run(call.parameters.id)))


async def resolve(call: Call[ResolveParameters, NoBody]) -> Answer:
    """The run a reference means."""
    run = await call.services.queries.resolve(call.parameters.ref)
    return Answer(value=Resolved(kind="run", id=run.id, job=run.job, url=f"/r/{run.id}", run=run_view(run)))


async def trigger_run(call: Call[JobParameters, TriggerBody]) -> Answer:
    """Run a job once."""
    run = await call.services.commands.trigger(
        call.parameters.full_name,
        params=call.body.params,
        key=call.body.key or run_key(call.request, call.actor),
        at=call.body.at.astimezone(UTC) if call.body.at else None,
        actor=call.actor,
    )
    return _accepted(run, 201)


async def cancel_run(call: Call[RunParameters, CancelBody]) -> Answer:
    """End a run; 202 while its worker has not confirmed that."""
    run = await call.services.queries.run(call.parameters.id)
    ended = await call.services.commands.cancel(run.id, reason=call.body.reason, actor=call.actor)
    return _accepted(ended, 200 if ended.state.is_final else 202)


async def retry_run(call: Call[RunParameters, NoBody]) -> Answer:
    """Start a new run for the same due; the old one stays as it ended."""
    run = await call.services.queries.run(call.parameters.id)
    return _accepted(
        await call.services.commands.retry(run.id, actor=call.actor, key=run_key(call.request, call.actor)), 201
    )


async def why_run(call: Call[RunParameters, NoBody]) -> Answer:
    """How a run came to be where it is."""
    return Answer(value=await call.services.queries.why_run(call.parameters.id))


async def read_log(call: Call[LogParameters, NoBody]) -> Answer:
    """A window of an attempt's output."""
    wanted, store = call.parameters, call.services.store
    run = await call.services.queries.run(wanted.id)
    attempt = _attempt(run, wanted.attempt)
    found = await logs.first_error(store, run, attempt) if wanted.find else None
    start = max(0, found - 10) if found is not None else wanted.start
    window = await logs.read_window(store, run, attempt, start, wanted.limit)
    return Answer(value=msgspec.structs.replace(window, first_error=found))


async def read_raw_log(call: Call[RawParameters, NoBody]) -> Answer:
    """An attempt's whole output, as a file and never as a page."""
    run = await call.services.queries.run(call.parameters.id)
    attempt = _attempt(run, call.parameters.attempt)
    name = f"{run.job.replace('/', '.')}-{run.due:%Y%m%dT%H%M%SZ}-{attempt}.log"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = logs.raw_output(call.services.store, run, attempt)
    return Answer(raw=StreamingResponse(content, headers=headers, media_type="text/plain"))


def _attempt(run: Run, number: int) -> int:
    """The attempt that is meant; raises NotFound for one that never was."""
    if number > run.attempt:
        raise NotFound(
            f"run {run.id} has {run.attempt} attempts, not {number}", hint="leave attempt out for the newest"
        )
    return number or run.attempt


def _accepted(run: Run, status: int) -> Answer:
    return Answer(value=run_view(run), status=status, headers={"Location": f"{PREFIX}/runs/{run.id}"})


_ONE: Final = PREFIX + "/runs/{id}"
_REPEAT: Final = {"Idempotency-Key": "repeating the request with the same key changes nothing"}


def _get(path: str, summary: str, handler: Any, parameters: Any, answer: Any, **more: Any) -> Route[Any, Any]:
    return Route(
        method="GET",
        path=path,
        permission="read",
        summary=summary,
        handler=handler,
        parameters=parameters,
        body=NoBody,
        answer=answer,
        **more,
    )


def _post(path: str, summary: str, handler: Any, parameters: Any, body: Any, **more: Any) -> Route[Any, Any]:
    return Route(
        method="POST",
        path=path,
        permission="write",
        summary=summary,
        handler=handler,
        parameters=parameters,
        body=body,
        body_required=False,
        answer=RunView,
        errors=(404, 409),
        headers=_REPEAT,
        **more,
    )


ROUTES: Final[list[Route[Any, Any]]] = [
    _get(PREFIX + "/runs", "List runs", list_runs, RunsParameters, RunList),
    _get(_ONE, "Read a run", read_run, RunParameters, RunView, errors=(404,)),
    _get(_ONE + "/why", "How a run came to be where it is", why_run, RunParameters, Why, errors=(404,)),
    _get(_ONE + "/logs", "A window of an attempt's output", read_log, LogParameters, logs.LogWindow, errors=(404,)),
    _get(
        _ONE + "/logs/raw",
        "An attempt's whole output as text",
        read_raw_log,
        RawParameters,
        None,
        media_type="text/plain",
        errors=(404,),
    ),
    _get(PREFIX + "/resolve", "Which run a reference means", resolve, ResolveParameters, Resolved, errors=(404,)),
    _post(
        PREFIX + "/jobs/{namespace}/{name}/runs",
        "Run a job once",
        trigger_run,
        JobParameters,
        TriggerBody,
        status=201,
    ),
    _post(_ONE + "/cancel", "End a run", cancel_run, RunParameters, CancelBody),
    _post(_ONE + "/retry", "Run again what this run was for", retry_run, RunParameters, NoBody, status=201),
]
