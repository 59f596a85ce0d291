"""Figures drawn as SVG from values: the strip of a job's recent runs, the waterfall of a run's attempts."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from rota.server.queries.shapes import RecentRun, RunView
from rota.server.ui.words import duration, parse

STRIP_CELLS: Final = 24
CELL_WIDTH: Final = 6
STRIP_HEIGHT: Final = 20
_LEAST_PERCENT: Final = 0.4


class Cell(NamedTuple):
    """One run of a strip."""

    x: int
    y: int
    height: int
    state: str


class Bar(NamedTuple):
    """One stretch of a waterfall, in percent of its width."""

    x: str
    width: str
    kind: str
    label: str
    row: int


def strip(recent: Sequence[RecentRun]) -> list[Cell]:
    """The cells of a strip, newest right; height grows with the logarithm of the duration."""
    shown = list(recent)[-STRIP_CELLS:]
    first = STRIP_CELLS - len(shown)
    cells = []
    for index, run in enumerate(shown, first):
        height = 4 + run.level if run.state not in ("skipped", "missed") else 4
        cells.append(Cell(index * CELL_WIDTH, STRIP_HEIGHT - height, height, run.state))
    return cells


def strip_summary(recent: Sequence[RecentRun]) -> str:
    """The strip in words."""
    if not recent:
        return "no runs yet"
    counts = Counter(run.state for run in recent)
    told = ", ".join(f"{count} {state.replace('-', ' ')}" for state, count in counts.most_common())
    return f"last {len(recent)} runs: {told}"


def waterfall(run: RunView, now: datetime) -> list[Bar]:
    """What the run's time went into: waiting, starting, running, waiting for a retry."""
    begin = min(parse(run.due), parse(run.attempts[0].created)) if run.attempts else parse(run.due)
    end = parse(run.finished) if run.finished else max(now, begin)
    total = max((end - begin).total_seconds(), 0.001)
    bars: list[Bar] = []

    def add(start: datetime, stop: datetime, kind: str, label: str, row: int) -> None:
        seconds = (stop - start).total_seconds()
        if seconds <= 0 and kind != "attempt":
            return
        x = max(0.0, (start - begin).total_seconds() / total * 100)
        width = min(max(seconds / total * 100, _LEAST_PERCENT), 100 - min(x, 100 - _LEAST_PERCENT))
        x = min(x, 100 - width)
        bars.append(Bar(f"{x:.2f}%", f"{width:.2f}%", kind, f"{label} {duration(max(0.0, seconds))}", row))

    waiting_since = begin
    for row, attempt in enumerate(run.attempts):
        created = parse(attempt.created)
        add(waiting_since, created, "queued" if row == 0 else "retry", "queued" if row == 0 else "retry wait", row)
        started = parse(attempt.started) if attempt.started else None
        stopped = parse(attempt.finished) if attempt.finished else end
        add(created, started or stopped, "starting", "starting", row)
        if started is not None:
            add(started, stopped, attempt.state, f"attempt {attempt.number} {attempt.state}", row)
        waiting_since = stopped
    if not run.attempts:
        add(begin, end, "queued", "queued", 0)
    elif run.finished is None and run.state == "queued":
        add(waiting_since, end, "retry", "retry wait", len(run.attempts))
    return bars
