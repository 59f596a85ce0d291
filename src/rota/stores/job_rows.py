"""Jobs and their definitions as rows."""

from functools import lru_cache
from typing import Final

import msgspec

from rota.core.model import Job, JobId, JobSpec, KeepPolicy
from rota.store.jobs import JobWrite, Revision
from rota.stores.rows import (
    Row,
    from_micros,
    optional_instant,
    optional_micros,
    pause_from_text,
    to_json,
    to_micros,
)

JOB_COLUMNS: Final = (
    "id", "namespace", "name", "full_name", "revision", "version", "shard", "source", "spec", "cursor", "next_at",
    "created", "updated", "pause", "broken", "deleted", "title", "owner", "schedule", "labels", "shadow", "at_start",
    "keeps",
)  # fmt: skip

_KEEP_AS_ALL: Final = KeepPolicy()
_spec = msgspec.json.Decoder(JobSpec).decode


@lru_cache(maxsize=8192)
def spec_from_text(text: str) -> JobSpec:
    """A definition of its JSON text, decoded once: the loops meet the same ones again and again."""
    return _spec(text)


def job_row(job: Job) -> Row:
    """A job as a row, with what lists filter by taken out of its definition."""
    spec = job.spec
    return (
        job.id,
        job.namespace,
        job.name,
        job.full_name,
        job.revision,
        job.version,
        job.shard,
        job.source,
        to_json(spec),
        to_micros(job.cursor),
        optional_micros(job.next_at),
        to_micros(job.created),
        to_micros(job.updated),
        None if job.pause is None else to_json(job.pause),
        job.broken,
        optional_micros(job.deleted),
        spec.title,
        spec.owner,
        spec.schedule if spec.schedule is not None else spec.at,
        to_json(spec.labels) if spec.labels else None,
        spec.shadow,
        _is_at_start(spec),
        spec.keep != _KEEP_AS_ALL,
    )


def job_from_row(row: Row) -> Job:
    """The job of a row."""
    (id_, namespace, name, _, revision, version, shard, source, spec, cursor, next_at,
     created, updated, pause, broken, deleted, *_) = row  # fmt: skip
    return Job(
        id=JobId(str(id_)),
        namespace=namespace,
        name=name,
        revision=revision,
        version=version,
        spec=spec_from_text(spec),
        cursor=from_micros(cursor),
        next_at=None if next_at is None else from_micros(next_at),
        created=from_micros(created),
        updated=from_micros(updated),
        shard=shard,
        source=source,
        pause=None if pause is None else pause_from_text(pause),
        broken=broken,
        deleted=optional_instant(deleted),
    )


def revision_row(write: JobWrite, actor: str) -> Row:
    """The definition of a write as a row of the revisions."""
    job = write.job
    return (job.id, job.revision, to_json(job.spec), to_micros(job.updated), actor, job.source)


def revision_from_row(row: Row) -> Revision:
    """A version of a definition."""
    job_id, revision, spec, changed, actor, source = row
    return Revision(
        job_id=JobId(str(job_id)),
        revision=revision,
        spec=spec_from_text(spec),
        changed=from_micros(changed),
        actor=actor,
        source=source,
    )


def _is_at_start(spec: JobSpec) -> bool:
    """Whether the schedule is `at start`, written in whatever way the phrase reader takes."""
    words = (spec.schedule or "").replace(",", " ").lower().split()
    return words[:2] == ["at", "start"]
