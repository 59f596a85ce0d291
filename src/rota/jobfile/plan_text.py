"""A plan as people read it: one sign per job, old → new per key, and what it means in time."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from rota.core.units import format_rough
from rota.core.zones import zone_info
from rota.jobfile.plan import Change, Outlook, Plan, PlanItem

SIGNS: Final = {"added": "+", "changed": "~", "removed": "-", "kept": "=", "conflict": "✕"}
_LONGEST: Final = 60
_TIMING: Final = frozenset({"schedule", "at", "timezone", "dst"})
_PATIENCE: Final = ("retry.", "timeout")


def render_plan(plan: Plan) -> str:
    """The whole plan as text."""
    lines = [line for item in plan.items for line in _item_lines(item)]
    lines += [f"! {warning}" for warning in plan.warnings]
    unchanged = len(plan.of("unchanged"))
    if not lines:
        lines.append(f"no changes: {unchanged} job{'s' if unchanged != 1 else ''} as in the files")
    lines.append(_summary(plan))
    return "\n".join(lines)


def _summary(plan: Plan) -> str:
    counts = [f"{len(plan.of(kind))} {kind}" for kind in ("added", "changed", "removed", "unchanged") if plan.of(kind)]
    if plan.of("kept"):
        counts.append(f"{len(plan.of('kept'))} not in these files, kept (--prune deletes)")
    if plan.conflicts:
        counts.append(f"{len(plan.conflicts)} in conflict, nothing can be applied")
    if plan.warnings:
        counts.append(f"{len(plan.warnings)} warning{'s' if len(plan.warnings) > 1 else ''}")
    return f"{' · '.join(counts) or 'no jobs'}    plan {plan.id}"


def _item_lines(item: PlanItem) -> list[str]:
    head = f"{SIGNS.get(item.kind, ' ')} {item.job}"
    if item.kind == "added" and item.new:
        return [f"{head}   {_added(item.new)}"]
    if item.kind == "removed":
        return [f"{head}   removed, history kept{_fires(item.old, '−')}"]
    if item.kind == "kept":
        return [f"{head}   not in these files, kept; --prune deletes"]
    if item.kind == "conflict":
        return [f"{head}   {item.detail}"]
    if item.kind == "changed":
        revision = item.revision or 0
        only_file = all(change.field == "file" for change in item.changes)
        number = f"revision {revision}" if only_file else f"revision {revision} → {revision + 1}"
        return [f"{head}   {number}", *_change_lines(item)]
    return []


def _added(outlook: Outlook) -> str:
    return f"{outlook.words}   next fire {_moment(outlook.next, outlook.zone)}{_fires(outlook, '+')}"


def _fires(outlook: Outlook | None, sign: str) -> str:
    if outlook is None or not outlook.per_day:
        return ""
    return f"   {sign}{_rate(outlook.per_day)}"


def _rate(per_day: float) -> str:
    if per_day >= 0.95:
        return f"{round(per_day, 1):g} fires/day"
    return f"{round(per_day * 28):g} fires in 28 days"


def _change_lines(item: PlanItem) -> list[str]:
    shown = [(change.field, _short(change.old), _short(change.new)) for change in item.changes]
    first = max((len(field) for field, _, _ in shown), default=0)
    second = max((len(old) for _, old, _ in shown), default=0)
    third = max((len(new) for _, _, new in shown), default=0)
    effects = _effects(item)
    return [
        f"    {field:<{first}}  {old:<{second}} → {new:<{third}}   {effects.get(field, '')}".rstrip()
        for field, old, new in shown
    ]


def _effects(item: PlanItem) -> dict[str, str]:
    """What a change means, beside the first key that causes it."""
    effects: dict[str, str] = {}
    old, new = item.old, item.new
    if old is None or new is None:
        return effects
    timing = _first(item.changes, lambda field: field in _TIMING)
    if timing and (old.next != new.next or old.per_day != new.per_day or old.zone != new.zone):
        effects[timing] = f"next fire {_moment(new.next, new.zone)} (was {_moment(old.next, old.zone)})"
        if round(old.per_day, 2) != round(new.per_day, 2):
            effects[timing] += f", {_rate(old.per_day)} → {_rate(new.per_day)}"
    patience = _first(item.changes, lambda field: field.startswith(_PATIENCE))
    if patience and old.worst != new.worst:
        effects[patience] = f"worst case before failing: {_span(old.worst)} → {_span(new.worst)}"
    return effects


def _first(changes: tuple[Change, ...], fits: Callable[[str], bool]) -> str | None:
    return next((change.field for change in changes if fits(change.field)), None)


def _span(seconds: float | None) -> str:
    return "no limit" if seconds is None else format_rough(seconds)


def _moment(moment: datetime | None, zone: str) -> str:
    if moment is None:
        return "never"
    local = moment.astimezone(zone_info(zone))
    seconds = ":%S" if local.second else ""
    return f"{local.strftime('%a %Y-%m-%d %H:%M' + seconds)} {zone}"


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    line = " ⏎ ".join(value.splitlines())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
