"""A run's timeline, and the runs that sentences name."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rota.core.ids import is_run_id
from rota.server.queries.shapes import ReasonView, RunView, moment
from rota.server.queries.why import Step
from rota.store.jobs import AuditEntry

_NOT_YET: Final = "9999"  # sorts behind every moment


class Line(NamedTuple):
    """One line of a timeline: a step of the run, or an act of a person, which is neither good nor bad."""

    at: str | None
    ok: bool | None
    glyph: str
    text: str
    code: str = ""


class Piece(NamedTuple):
    """A part of a sentence; `run` where it is the id of one."""

    text: str
    run: bool


def timeline(steps: Sequence[Step], acts: Sequence[AuditEntry], own: str) -> list[Line]:
    """What happened to the run `own` and what people did to it, by time.

    Steps keep their order, whatever clocks say. One without a time stands before the next that has one; where none
    follows it says how things are now, and comes last.
    """
    following, times = _NOT_YET, list[str]()
    for step in reversed(steps):
        following = step.at or following
        times.append(following)
    latest, lines = "", list[tuple[str, Line]]()
    for step, at in zip(steps, reversed(times), strict=True):
        latest = max(latest, at)
        glyph = "·" if step.ok is None else "✓" if step.ok else "✕"
        lines.append((latest, Line(step.at, step.ok, glyph, step.text, step.code)))
    for act in acts:
        at, detail = moment(act.at), f" ({act.detail})" if act.detail not in ("", own) else ""
        lines.append((at, Line(at, None, "◦", f"{act.actor}: {act.verb}{detail}")))
    return [line for _, line in sorted(lines, key=lambda one: one[0])]


def named_by(reason: ReasonView | None) -> set[str]:
    """The ids of the runs that a reason names."""
    return {value for value in reason.params.values() if _is_run(value)} if reason else set()


def named_on(run: RunView, acts: Sequence[AuditEntry]) -> set[str]:
    """The ids of the other runs that a run's page may name."""
    told = {run.retry_of, *(text for act in acts for text in (act.object, act.detail))}
    told |= named_by(run.reason) | named_by(run.cancel)
    return {text for text in told if text is not None and _is_run(text)} - {run.id}


def pieces(text: str, runs: Iterable[str]) -> list[Piece]:
    """A sentence cut at the ids of these runs."""
    known = sorted(runs)
    if not known:
        return [Piece(text, run=False)]
    parts = re.split("(" + "|".join(map(re.escape, known)) + ")", text)
    return [Piece(part, run=index % 2 == 1) for index, part in enumerate(parts) if part]


def _is_run(value: object) -> bool:
    return isinstance(value, str) and is_run_id(value)
