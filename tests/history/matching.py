"""Pass 2: instants against starts, without believing any name that the system gave a run.

Each instant is a window from its moment to some time later, each run is the moment at which it was first seen to start.
Starts are given to windows by earliest deadline first, which matches as many as any assignment could.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tests.history.checker import PLANNED_AHEAD, instants
from tests.history.oracle import expected
from tests.history.records import History, JobHistory

EARLY = timedelta(seconds=0.1)  # by how much clocks, and the hundredths of a probe, may differ
NOT_RUN = {"skipped", "missed", "lost", "cancelled"}


def match(windows: Sequence[tuple[float, float]], starts: Sequence[float]) -> tuple[list[int], list[int]]:
    """The indexes of the windows that got no start, and those of the starts that got no window."""
    order = sorted(range(len(windows)), key=lambda index: windows[index][0])
    waiting: list[tuple[float, int]] = []
    left, extra = [], []
    upcoming = 0
    for index in sorted(range(len(starts)), key=lambda index: starts[index]):
        moment = starts[index]
        while upcoming < len(order) and windows[order[upcoming]][0] <= moment:
            heapq.heappush(waiting, (windows[order[upcoming]][1], order[upcoming]))
            upcoming += 1
        while waiting and waiting[0][0] < moment:
            left.append(heapq.heappop(waiting)[1])
        if waiting:
            heapq.heappop(waiting)
        else:
            extra.append(index)
    return sorted([*left, *(index for _, index in waiting), *order[upcoming:]]), extra


def starts_match_instants(history: History, epoch: datetime, within: timedelta) -> Iterator[str]:
    """Of each job the starts match its instants: no start without one, none without a start but those told not to run.

    `epoch` is the wall clock's time at the uptime zero, `within` how late a start may be. Jobs that are triggered by
    hand are left out.
    """
    by_hand = {row.job for row in history.rows if row.trigger != "schedule"}
    first: dict[str, tuple[str, float]] = {}
    for event in history.events:
        if event.kind == "start":
            _, known = first.get(event.run, ("", float("inf")))
            first[event.run] = (event.job, min(known, event.uptime))
    starts: defaultdict[str, list[float]] = defaultdict(list)
    for name, moment in first.values():
        starts[name].append(moment)
    excused: defaultdict[str, int] = defaultdict(int)
    for row in history.rows:
        could_not_start = history.roomless and row.state == "failed" and row.id not in first
        excused[row.job] += row.state in NOT_RUN or could_not_start
    for gap in history.gaps:
        excused[gap.job] += gap.count
    for name, job in history.jobs.items():
        if name in by_hand:
            continue
        must, may = instants(job, history.until, history.clock_error)
        begun = starts[name]
        possible = must | may | (_asked_back(job) if history.asks_in_vain else set())
        # Whatever must be there is matched without what may be: an assignment that does well by both sides exists
        # where one exists for each (Mendelsohn and Dulmage).
        _, extra = match(_windows(sorted(possible), epoch, within), begun)
        left, _ = match(_windows(sorted(must), epoch, within), begun)
        for index in extra:
            moment = epoch + timedelta(seconds=begun[index])
            yield f"{name}: a start at {moment.astimezone(UTC).time()} is that of no instant"
        unmatched = [sorted(must)[index] for index in left]
        if len(unmatched) > excused[name]:
            yield (
                f"{name}: {len(unmatched)} instants have no start within {within.total_seconds():g} s, but only "
                f"{excused[name]} were told not to run; the first: {unmatched[0]}"
            )


def _windows(dues: list[datetime], epoch: datetime, within: timedelta) -> list[tuple[float, float]]:
    return [((due - EARLY - epoch).total_seconds(), (due + within - epoch).total_seconds()) for due in dues]


def _asked_back(job: JobHistory) -> set[datetime]:
    """Instants that a change took away when their runs may have been with a worker that could not be asked."""
    found: set[datetime] = set()
    for before, change in pairwise(job.definitions):
        if before.expression is not None:
            last = change.window.answered + PLANNED_AHEAD
            found |= set(expected(before.expression, change.window.asked, last, before.zone))
    return found
