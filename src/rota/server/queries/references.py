"""Run references: a full id, `NS/JOB@latest`, `@last-failed`, `@last`, `@2026-11-23T03:00`, a pasted page link."""

import re
from datetime import datetime
from typing import Final
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from rota.core.errors import Invalid, NotFound
from rota.core.ids import is_run_id
from rota.core.job_stats import FAILED_STATES
from rota.core.model import Gap, Job, Run, RunId
from rota.core.query_language import QueryError, parse_time
from rota.core.zones import zone_info
from rota.store.bundle import Store

_JOB: Final = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*", re.ASCII)
_FORMS: Final = "write a full run id, ns/job@latest, ns/job@last-failed, ns/job@2026-11-23T03:00 or a page's link"


async def find_job(store: Store, full_name: str, *, deleted: bool = False) -> Job:
    """The job of that name, or NotFound."""
    get = store.jobs.get_with_deleted if deleted else store.jobs.get
    job = (await get([full_name])).get(full_name)
    if job is None:
        raise NotFound(f"there is no job {full_name[:200]}", hint="rota ls shows all jobs", job=full_name[:200])
    return job


async def find_run(store: Store, run_id: str) -> Run:
    """The run of that id, or NotFound."""
    run = (await store.runs.get([RunId(run_id)])).get(RunId(run_id)) if is_run_id(run_id) else None
    if run is None:
        raise NotFound(f"there is no run {run_id[:100]}", hint=_FORMS, run=run_id[:100])
    return run


async def resolve_run(store: Store, reference: str, now: datetime) -> Run:
    """The run that a reference means; raises NotFound or Invalid."""
    text = _from_link(reference.strip())
    if is_run_id(text):
        return await find_run(store, text)
    full_name, separator, which = text.partition("@")
    if not _JOB.fullmatch(full_name):
        raise Invalid(f'"{reference[:100]}" is not a reference to a run', hint=_FORMS)
    job = await find_job(store, full_name, deleted=True)
    which = which if separator else "latest"
    if which in ("latest", "last"):
        planned_ahead = await store.views.last_run(job.id)
        run = await store.views.last_run(job.id, due_by=now) or planned_ahead
    elif which == "last-failed":
        run = await store.views.last_run(job.id, FAILED_STATES)
    else:
        return await _run_at(store, job, which, now)
    if run is None:
        raise NotFound(f"{full_name} has no such run yet", hint=f"rota run {full_name} starts one", job=full_name)
    return run


async def _run_at(store: Store, job: Job, which: str, now: datetime) -> Run:
    """The run whose due or nominal is the instant `which`, read in the job's zone."""
    try:
        moment = parse_time(which, now, ZoneInfo("UTC") if which.endswith("Z") else zone_info(job.spec.timezone))
    except QueryError as error:
        raise Invalid(f'"@{which[:60]}" is not latest, last-failed or a time', hint=_FORMS) from error
    found = await store.views.run_at(job.id, moment)
    if isinstance(found, Run):
        return found
    covered = " (a gap row answers it)" if isinstance(found, Gap) else ""
    why = f"rota why {job.full_name} --at {moment:%Y-%m-%dT%H:%M:%SZ} says why"
    raise NotFound(f"{job.full_name} has no run due at {moment:%Y-%m-%d %H:%M:%S} UTC{covered}", hint=why)


def _from_link(text: str) -> str:
    """The run id inside a page's link, or the text itself."""
    if not text.startswith(("http://", "https://", "/r/", "/runs/")):
        return text
    parts = [unquote(part) for part in urlsplit(text).path.split("/") if part]
    return next((part for part in reversed(parts) if is_run_id(part)), text)
