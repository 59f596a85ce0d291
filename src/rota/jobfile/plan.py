"""What applying job files would change: pure arithmetic on two sets of specs.

A plan names every job once: added, changed (field by field), removed, kept although the files no longer have it,
unchanged, or in conflict because it belongs to another file. Nothing here reads a clock or a store.
"""

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import msgspec

from rota.core.model import JobSpec, RetryPolicy
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.fields import JOB_KEYS
from rota.jobfile.part_fields import ALERT_KEYS, EXPECT_KEYS, HTTP_KEYS, KEEP_KEYS, RETRY_KEYS
from rota.jobfile.render import render_spec
from rota.jobfile.when_keys import job_schedule

ItemKind = Literal["added", "changed", "removed", "kept", "unchanged", "conflict"]

WINDOW: Final = timedelta(days=28)
_PARTS: Final = {"http": HTTP_KEYS, "retry": RETRY_KEYS, "alert": ALERT_KEYS, "keep": KEEP_KEYS, "expect": EXPECT_KEYS}
_DATA_KEYS: Final = frozenset({"json", "with"})


class Current(NamedTuple):
    """A job as it is now; `anchor` is when it was created."""

    spec: JobSpec
    revision: int
    source: str | None = None
    anchor: datetime | None = None


class Wanted(NamedTuple):
    """A job as the files have it."""

    spec: JobSpec
    source: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a job that gets another value; both as texts, None where the key was or will be absent."""

    field: str
    old: str | None
    new: str | None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a spec means in time: its next instant, instants per day, and how long a run may take to fail."""

    next: datetime | None
    per_day: float
    worst: float | None  # seconds until the last try has failed; None: no limit
    zone: str
    words: str
    warnings: tuple[str, ...] = ()


class PlanItem(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one job."""

    kind: ItemKind
    job: str
    revision: int | None = None
    old: Outlook | None = None
    new: Outlook | None = None
    changes: tuple[Change, ...] = ()
    source: str | None = None
    detail: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All items, by name, and an id that is the same as long as the same would happen."""

    id: str
    items: tuple[PlanItem, ...]
    warnings: tuple[str, ...]

    def of(self, kind: ItemKind) -> tuple[PlanItem, ...]:
        """The items of one kind."""
        return tuple(item for item in self.items if item.kind == kind)

    @property
    def has_changes(self) -> bool:
        """Whether applying it would do anything."""
        return any(item.kind in ("added", "changed", "removed") for item in self.items)

    @property
    def conflicts(self) -> tuple[PlanItem, ...]:
        """Jobs that keep the plan from being applied."""
        return self.of("conflict")


def plan(
    current: Mapping[str, Current],
    wanted: Mapping[str, Wanted],
    now: datetime,
    *,
    prune: bool = False,
    sources: Collection[str] | None = None,
) -> Plan:
    """What applying `wanted` would do to `current`.

    Only jobs that came from one of `sources` (default: the files of `wanted`) can be removed or named as kept; others
    belong to other files.
    """
    own_sources = set(sources or ()) | {one.source for one in wanted.values() if one.source}
    items = [_item(name, current.get(name), one, now, own_sources) for name, one in wanted.items()]
    for name, old in current.items():
        if name not in wanted and old.source in own_sources:
            outlook = _outlook(name, old.spec, now, old.anchor)
            kind: ItemKind = "removed" if prune else "kept"
            items.append(PlanItem(kind=kind, job=name, revision=old.revision, old=outlook, source=old.source))
    items.sort(key=lambda item: item.job)
    warnings = [
        f"{item.job}: {warning}"
        for item in items
        if item.kind in ("added", "changed") and item.new
        for warning in item.new.warnings
    ]
    return Plan(id=_plan_id(items, wanted), items=tuple(items), warnings=tuple(warnings))


def _item(name: str, old: Current | None, new: Wanted, now: datetime, own_sources: Collection[str]) -> PlanItem:
    outlook = _outlook(name, new.spec, now, now if old is None else old.anchor)
    if old is None:
        return PlanItem(kind="added", job=name, new=outlook, source=new.source)
    if old.source is not None and old.source != new.source and old.source not in own_sources:
        detail = f"belongs to {old.source}; a job comes from one file"
        return PlanItem(kind="conflict", job=name, revision=old.revision, source=new.source, detail=detail)
    before = _outlook(name, old.spec, now, old.anchor)
    changes = changes_between(old.spec, new.spec)
    kind: ItemKind = "changed" if old.spec != new.spec else "unchanged"
    if old.source != new.source:
        kind = "changed"
        changes = (*changes, Change(field="file", old=old.source, new=new.source))
    return PlanItem(
        kind=kind, job=name, revision=old.revision, old=before, new=outlook, changes=changes, source=new.source
    )


def changes_between(old: JobSpec, new: JobSpec) -> tuple[Change, ...]:
    """The keys of a job file that differ, in the order of the file."""
    before, after = _flat(render_spec(old)), _flat(render_spec(new))
    names = [*after, *(name for name in before if name not in after)]
    return tuple(
        Change(field=name, old=before.get(name, _usual(name)), new=after.get(name, _usual(name)))
        for name in names
        if before.get(name) != after.get(name)
    )


def _flat(keys: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`retry.tries` → "4"; what is data and not keys stays one value."""
    flat: dict[str, str] = {}
    for name, value in keys.items():
        if isinstance(value, Mapping) and name not in _DATA_KEYS:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return flat


def _usual(name: str) -> str | None:
    """The default of a key as people read it, None where there is none."""
    *above, last = name.split(".")
    table = _PARTS.get(above[-1], {}) if above else JOB_KEYS
    field = table.get(last)
    return None if field is None or field.default in ("—", "none") else field.default


def _outlook(name: str, spec: JobSpec, now: datetime, anchor: datetime | None) -> Outlook:
    try:
        schedule = job_schedule(spec, name, anchor)
    except ScheduleError as error:
        # A job that was applied under an older tz database may no longer compile; the plan still shows it.
        return Outlook(next=None, per_day=0.0, worst=worst_case(spec), zone=spec.timezone, words=error.detail)
    upcoming = schedule.next(now)
    return Outlook(
        next=None if upcoming is None else upcoming.due,
        per_day=schedule.count(now, now + WINDOW) / WINDOW.days,
        worst=worst_case(spec),
        zone=spec.timezone,
        words=schedule.words,
        warnings=tuple(schedule.warnings(now)),
    )


def worst_case(spec: JobSpec) -> float | None:
    """Seconds from the start of a run until its last try has failed; None without a timeout."""
    if spec.timeout is None:
        return None
    return spec.retry.tries * spec.timeout + sum(_waits(spec.retry))


def _waits(policy: RetryPolicy) -> list[float]:
    """The longest wait before each further try."""
    longest = 1 + policy.jitter
    return [
        min(policy.wait_min * 2 ** min(number, 62), policy.wait_max) * longest for number in range(policy.tries - 1)
    ]


def _plan_id(items: Collection[PlanItem], wanted: Mapping[str, Wanted]) -> str:
    """A short hash of what would happen, without what only depends on the time of asking."""
    parts = [
        (item.kind, item.job, item.revision, item.source, wanted[item.job].spec if item.job in wanted else None)
        for item in items
    ]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:8]
