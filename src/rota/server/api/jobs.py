"""Routes on jobs: list, read, write one or many, delete, pause, resume, ledger, why."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from rota.core.errors import Conflict, Invalid
from rota.core.query_language import parse_time
from rota.core.zones import zone_info
from rota.jobfile.parse import parse_spec
from rota.jobfile.render import render_spec
from rota.server.api.problems import RevisionMoved
from rota.server.api.routes import PREFIX, Answer, Body, Call, NoBody, Parameters, Route
from rota.server.queries.shapes import JobList, JobView, LedgerList, Moment, View, moment
from rota.server.queries.why import Why

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_ETAG: Final = re.compile(r'(?:W/)?"?([0-9]{1,9})"?', re.ASCII)


class JobsParameters(Parameters):
    """Which jobs, in which order, from where on."""

    q: Text = ""
    sort: Literal["name", "next", "last"] = "name"
    cursor: Text | None = None
    limit: Limit = 100


class JobParameters(Parameters):
    """One job."""

    namespace: Name
    name: Name

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class JobReadParameters(JobParameters):
    """One job and how many of its next instants to give."""

    next: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5


class LedgerParameters(JobParameters):
    """A stretch of a job's ledger."""

    since: Text | None = None
    until: Text | None = None
    cursor: Text | None = None
    limit: Limit = 100


class WhyParameters(JobParameters):
    """The instant to explain, as a time (in the job's zone unless it says its own)."""

    at: Text


class PauseBody(Body):
    """Until when (null: until resumed) and why."""

    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class PauseAnswer(View, kw_only=True):
    """The paused job, and the runs that may still start: a worker has them already, or they are between two tries."""

    job: JobView
    may_still_start: list[str]


async def list_jobs(call: Call[JobsParameters, NoBody]) -> Answer:
    """Jobs that a query asks for."""
    wanted = call.parameters
    return Answer(value=await call.services.queries.jobs(wanted.q, wanted.sort, wanted.cursor, wanted.limit))


async def read_job(call: Call[JobReadParameters, NoBody]) -> Answer:
    """One job."""
    view = await call.services.queries.job(call.parameters.full_name, call.parameters.next)
    return Answer(value=view, headers={"ETag": f'"{view.revision}"'})


async def put_job(call: Call[JobParameters, dict[str, Any]]) -> Answer:
    """Create or change one job."""
    target = call.parameters
    expected = if_match(call)
    spec = parse_spec(target.namespace, target.name, call.body)
    before = await call.services.store.jobs.get([target.full_name])
    try:
        await call.services.commands.put_job(target.full_name, spec, if_revision=expected, actor=call.actor)
    except Conflict as error:
        raise _precondition(error) from error
    view = await call.services.queries.job(target.full_name)
    return Answer(value=view, status=200 if before else 201, headers={"ETag": f'"{view.revision}"'})


async def delete_job(call: Call[JobParameters, NoBody]) -> Answer:
    """Delete a definition; its history stays."""
    try:
        await call.services.commands.delete_job(call.parameters.full_name, if_revision=if_match(call), actor=call.actor)
    except Conflict as error:
        raise _precondition(error) from error
    return Answer(status=204)


async def pause_job(call: Call[JobParameters, PauseBody]) -> Answer:
    """Stop planning a job."""
    result = await call.services.commands.pause(
        call.parameters.full_name,
        until=call.body.until.astimezone(UTC) if call.body.until else None,
        reason=call.body.reason,
        actor=call.actor,
    )
    view = await call.services.queries.job(call.parameters.full_name)
    answer = PauseAnswer(job=view, may_still_start=list(result.may_still_start))
    return Answer(value=answer, status=202 if result.may_still_start else 200)


async def resume_job(call: Call[JobParameters, NoBody]) -> Answer:
    """Plan a job again."""
    await call.services.commands.resume(call.parameters.full_name, actor=call.actor)
    return Answer(value=await call.services.queries.job(call.parameters.full_name))


async def read_ledger(call: Call[LedgerParameters, NoBody]) -> Answer:
    """What answered each instant of a job."""
    wanted, queries = call.parameters, call.services.queries
    now, zone = queries.clock.now(), zone_info(call.services.settings.timezone)
    since = parse_time(wanted.since, now, zone) if wanted.since else None
    until = parse_time(wanted.until, now, zone) if wanted.until else None
    return Answer(value=await queries.ledger(wanted.full_name, since, until, wanted.cursor, wanted.limit))


async def why_job(call: Call[WhyParameters, NoBody]) -> Answer:
    """Why a job did or did not run at a time."""
    queries = call.services.queries
    job, _ = await queries.job_and_stats(call.parameters.full_name)
    instant = parse_time(call.parameters.at, queries.clock.now(), zone_info(job.spec.timezone))
    return Answer(value=await queries.why_at(call.parameters.full_name, instant))


class RevisionView(View, kw_only=True):
    """One version of a job's definition."""

    revision: int
    changed: Moment
    actor: str
    source: str | None
    spec: dict[str, Any]


class RevisionList(View, kw_only=True):
    """The newest revisions of a job."""

    items: list[RevisionView]


async def read_revisions(call: Call[JobParameters, NoBody]) -> Answer:
    """The newest 100 revisions of a job."""
    job, _ = await call.services.queries.job_and_stats(call.parameters.full_name)
    found = await call.services.store.jobs.revisions(job.id, 100)
    items = [
        RevisionView(
            revision=one.revision,
            changed=moment(one.changed),
            actor=one.actor,
            source=one.source,
            spec=render_spec(one.spec),
        )
        for one in found
    ]
    return Answer(value=RevisionList(items=items))


def if_match(call: Call[Any, Any]) -> int | None:
    """The revision that If-Match asks for; None without the header."""
    text = call.request.headers.get("if-match")
    if text is None or text.strip() == "*":
        return None
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise Invalid(f'If-Match "{text[:40]}" is not a revision', hint='send the job\'s revision: If-Match: "3"')
    return int(match[1])


def _precondition(error: Conflict) -> Conflict:
    """A moved revision answers If-Match with 412; other conflicts stay what they are."""
    if "revision" in error.facts:
        return RevisionMoved(error.detail, hint=error.hint, **error.facts)
    return error


_ONE: Final = PREFIX + "/jobs/{namespace}/{name}"
_IF_MATCH: Final = {"If-Match": "the revision the change was made against"}
_REPEAT: Final = {"Idempotency-Key": "repeating the request with the same key changes nothing"}

ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="GET",
        path=PREFIX + "/jobs",
        permission="read",
        summary="List jobs",
        handler=list_jobs,
        parameters=JobsParameters,
        body=NoBody,
        answer=JobList,
    ),
    Route(
        method="GET",
        path=_ONE,
        permission="read",
        summary="Read a job",
        handler=read_job,
        parameters=JobReadParameters,
        body=NoBody,
        answer=JobView,
        errors=(404,),
    ),
    Route(
        method="PUT",
        path=_ONE,
        permission="write",
        summary="Create or change a job",
        handler=put_job,
        parameters=JobParameters,
        body=dict[str, Any],
        answer=JobView,
        errors=(409, 412),
        headers=_IF_MATCH,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        permission="write",
        summary="Delete a job's definition; its history stays",
        handler=delete_job,
        parameters=JobParameters,
        body=NoBody,
        status=204,
        errors=(404, 409, 412),
        headers=_IF_MATCH,
    ),
    Route(
        method="POST",
        path=_ONE + "/pause",
        permission="write",
        summary="Stop planning a job",
        handler=pause_job,
        parameters=JobParameters,
        body=PauseBody,
        body_required=False,
        answer=PauseAnswer,
        errors=(404, 409),
        headers=_REPEAT,
    ),
    Route(
        method="POST",
        path=_ONE + "/resume",
        permission="write",
        summary="Plan a job again",
        handler=resume_job,
        parameters=JobParameters,
        body=NoBody,
        answer=JobView,
        errors=(404, 409),
        headers=_REPEAT,
    ),
    Route(
        method="GET",
        path=_ONE + "/ledger",
        permission="read",
        summary="What answered each instant: runs and gap rows",
        handler=read_ledger,
        parameters=LedgerParameters,
        body=NoBody,
        answer=LedgerList,
        errors=(404,),
    ),
    Route(
        method="GET",
        path=_ONE + "/revisions",
        permission="read",
        summary="The newest revisions of a job",
        handler=read_revisions,
        parameters=JobParameters,
        body=NoBody,
        answer=RevisionList,
        errors=(404,),
    ),
    Route(
        method="GET",
        path=_ONE + "/why",
        permission="read",
        summary="Why a job did or did not run at a time",
        handler=why_job,
        parameters=WhyParameters,
        body=NoBody,
        answer=Why,
        errors=(404,),
    ),
]
