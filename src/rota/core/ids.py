"""Ids: what identifies a job, a run, a message — as functions of what they stand for.

A run id is a UUID version 8 whose first 48 bits are milliseconds (of the due instant for scheduled runs, of
creation otherwise) and whose rest is a hash of (job id, due, trigger, key): creating a run twice gives the same row.
"""

import hashlib
import uuid
from datetime import UTC, datetime

from rota.core.model import JobId, RunId, Trigger

COUNTERS_PER_INCARNATION = 2**40


def job_id(namespace: str, name: str) -> JobId:
    """The id of the job of that name: the same before and after it was deleted, so its history stays with it."""
    digest = hashlib.sha256(f"job\0{namespace}\0{name}".encode()).digest()
    return JobId(_uuid_text(_stamp_version(bytearray(digest[:16]))))


def shard_of(job: JobId, shards: int) -> int:
    """Which of `shards` equal slices a job belongs to."""
    return int(job[-4:], 16) % shards


def run_id(job: JobId, due: datetime, trigger: Trigger, key: str, created: datetime) -> RunId:
    """The id of the run that answers `due` (schedule) or the trigger with `key` at `created` (all others)."""
    stamp = due if trigger in (Trigger.SCHEDULE, Trigger.BACKFILL) else created
    milliseconds = min(max(int(stamp.timestamp() * 1000), 0), 2**48 - 1)
    text = f"run\0{job}\0{due.isoformat()}\0{trigger.value}\0{key}"
    raw = bytearray(milliseconds.to_bytes(6, "big") + hashlib.sha256(text.encode()).digest()[:10])
    return RunId(_uuid_text(_stamp_version(raw)))


def run_day(run: RunId) -> datetime:
    """The UTC day a run id belongs to; history is partitioned by it."""
    milliseconds = int(run[:8] + run[9:13], 16)
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def is_run_id(text: str) -> bool:
    """Whether `text` is written like a run id (canonical lower-case UUID of version 8)."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return False
    return str(value) == text and value.version == 8


def fence(incarnation: int, counter: int) -> int:
    """The fence of one attempt: grows with every attempt and with every incarnation of the store."""
    return incarnation * COUNTERS_PER_INCARNATION + counter


def _stamp_version(raw: bytearray) -> bytes:
    """Write version 8 and the RFC 9562 variant into 16 raw bytes."""
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return bytes(raw)


def _uuid_text(raw: bytes) -> str:
    """Sixteen bytes in the canonical form of a UUID; written out because `uuid.UUID` costs more than the hash."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
