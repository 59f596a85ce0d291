"""The verdict about a life: what the checker says, and a table of what each harm did."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tests.history.checker import check, instants, may_be_forgotten
from tests.history.matching import starts_match_instants
from tests.history.records import History

HEADINGS: Final = ("expected", "created", "in gaps", "missed", "doubled", "lost", "again", "latest")


@dataclass(kw_only=True)
class Phase:
    """A stretch of a life, named for what was done in it; it lasts until the next one."""

    name: str
    began: datetime


@dataclass(kw_only=True)
class Tally:
    """What became of the instants of one phase."""

    name: str
    expected: int = 0  # instants by the oracle
    created: int = 0  # that have a run
    in_gaps: int = 0  # that lie in a gap row
    missed: int = 0  # that have neither
    doubled: int = 0  # runs too many, and starts too many under one fence
    lost: int = 0  # triggers that were acknowledged and are not there, runs that never ended
    again: int = 0  # runs that were tried again because an attempt was lost
    latest: float = 0.0  # seconds from an instant to the first start of its run, at most

    def cells(self) -> list[str]:
        """As a table shows it."""
        numbers = [self.expected, self.created, self.in_gaps, self.missed, self.doubled, self.lost, self.again]
        return [self.name, *map(str, numbers), f"{self.latest:.1f} s"]


class Verdict:
    """Everything that can be said of a history."""

    def __init__(self, history: History, phases: list[Phase], epoch: datetime, within: timedelta) -> None:
        self._history = history
        self._phases = phases
        self._epoch = epoch
        self.forgotten = 0  # acknowledged triggers that a database lost which went back: allowed, and told
        self.violations = [*check(history), *starts_match_instants(history, epoch, within)]
        self.tallies = self._count()
        self.states = Counter(row.state for row in history.rows)

    @property
    def total(self) -> Tally:
        """All phases together."""
        sums = {
            name: sum(getattr(tally, name) for tally in self.tallies)
            for name in ("expected", "created", "in_gaps", "missed", "doubled", "lost", "again")
        }
        return Tally(name="all", latest=max(tally.latest for tally in self.tallies), **sums)

    def tally(self, name: str) -> Tally:
        """That of the phase with this name."""
        return next(tally for tally in self.tallies if tally.name == name)

    def story(self, most: int = 3) -> str:
        """The violations, and of the first jobs they are about all that was done and seen, in order."""
        lines = self.violations[:20]
        about = [name for name in self._history.jobs if any(one.startswith(f"{name}:") for one in self.violations)]
        for name in about[:most]:
            lines += [f"── {name}", *(f"{moment.time()}  {what}" for moment, what in sorted(self._told(name)))]
        return "\n".join(lines)

    def _told(self, name: str) -> Iterator[tuple[datetime, str]]:
        """Everything about one job."""
        job = self._history.jobs[name]
        for definition in job.definitions:
            yield definition.window.asked, f"asked: {definition.expression}"
            yield definition.window.answered, f"answered: {definition.expression}"
        for pause, resume in job.pauses:
            for window, what in ((pause, "pause"), (resume, "resume")):
                if window is not None:
                    yield window.asked, f"asked: {what}"
                    yield window.answered, f"answered: {what}"
        for row in self._history.rows:
            if row.job == name:
                yield row.due, f"due: run {row.id[9:18]} {row.trigger}, {row.state}, attempts {row.attempts}"
        for gap in self._history.gaps:
            if gap.job == name:
                yield gap.after, f"gap of {gap.count} until {gap.until.time()}"
        for event in self._history.events:
            if event.job == name:
                yield (
                    self._epoch + timedelta(seconds=event.uptime),
                    f"{event.kind}: run {event.run[9:18]} {event.fence}",
                )

    def _count(self) -> list[Tally]:
        tallies = [Tally(name=phase.name) for phase in self._phases]
        history = self._history
        rows = defaultdict(list)
        for row in history.rows:
            if row.trigger == "schedule":
                rows[row.job, row.due].append(row)
        for job in history.jobs.values():
            gaps = [gap for gap in history.gaps if gap.job == job.name]
            for due in instants(job, history.until, history.clock_error)[0]:
                tally = self._of(tallies, due)
                found = rows[job.name, due]
                covered = any(gap.after < due <= gap.until for gap in gaps)
                tally.expected += 1
                tally.created += bool(found)
                tally.in_gaps += covered and not found
                tally.missed += not found and not covered
                tally.doubled += max(0, len(found) - 1)
        self._count_attempts(tallies)
        known = {row.id for row in history.rows}
        gone = {one.key: one for one in history.acknowledged if one.run not in known}.values()
        self.forgotten = sum(may_be_forgotten(one, history) for one in gone)
        tallies[-1].lost += len(gone) - self.forgotten
        return tallies

    def _count_attempts(self, tallies: list[Tally]) -> None:
        first: dict[str, float] = {}
        starts: Counter[tuple[str, int]] = Counter()
        for event in self._history.events:
            if event.kind == "start":
                first[event.run] = min(first.get(event.run, event.uptime), event.uptime)
                starts[event.run, event.fence] += 1
        for row in self._history.rows:
            tally = self._of(tallies, row.due)
            tally.again += len(row.attempts) > 1
            tally.lost += row.state in ("queued", "starting", "running")
            tally.doubled += sum(max(0, starts[row.id, fence] - 1) for _, fence in row.attempts)
            if row.id in first and row.trigger == "schedule":
                late = first[row.id] - (row.due - self._epoch).total_seconds()
                tally.latest = max(tally.latest, late)

    def _of(self, tallies: list[Tally], moment: datetime) -> Tally:
        """The tally of the phase that had begun by then."""
        begun = sum(phase.began <= moment for phase in self._phases)
        return tallies[max(0, begun - 1)]


def table(tallies: list[Tally], total: Tally) -> list[str]:
    """The lines of the table."""
    rows = [["", *HEADINGS], *(tally.cells() for tally in tallies), total.cells()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    rule = "─" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]
