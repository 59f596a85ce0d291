"""What a run's end does to its job's counters, and the strip of recent runs.

The strip is text: two characters per run, newest last, at most 24 runs. First character: the outcome (OUTCOMES);
second: a hexadecimal digit that grows with the logarithm of the duration (0 = below 10 ms or never ran, f ≥ 1 day).
"""

import math
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from rota.core.model import JobId, JobStats, Run, RunState

OUTCOMES: Final = {
    RunState.SUCCEEDED: "s",
    RunState.FAILED: "f",
    RunState.TIMED_OUT: "t",
    RunState.CANCELLED: "c",
    RunState.SKIPPED: "k",
    RunState.MISSED: "m",
    RunState.LOST: "l",
}
FAILED_STATES: Final = (RunState.FAILED, RunState.TIMED_OUT, RunState.LOST)
_RECENT_RUNS: Final = 24
_LONGEST: Final = math.log10(86_400 / 0.01)


def counters_of(job: JobId, stats: Mapping[JobId, JobStats]) -> JobStats:
    """A job's counters among these; empty ones for a job that has none yet."""
    return stats.get(job) or JobStats(job_id=job)


def written(after: JobStats, before: Mapping[JobId, JobStats]) -> JobStats:
    """Counters as they are handed to the store: one version above what was read, however often they were folded."""
    return replace(after, version=counters_of(after.job_id, before).version + 1)


def duration_digit(seconds: float | None) -> str:
    """The digit of the strip for a run that took so long."""
    if seconds is None or seconds < 0.01:
        return "0"
    return f"{min(15, max(1, round(math.log10(seconds / 0.01) / _LONGEST * 15))):x}"


def fold(stats: JobStats, run: Run) -> JobStats:
    """The counters after `run` ended.

    A run older than the newest one changes only the strip and the success mark, and one that was cancelled before it
    was due only the strip: it is not what last happened, and must not stand before the runs that come before its time.
    """
    took = (run.finished - run.started).total_seconds() if run.finished and run.started else None
    mark = OUTCOMES[run.state] + duration_digit(took)
    recent = (stats.recent + mark)[-2 * _RECENT_RUNS :]
    stats = replace(stats, recent=recent)
    if run.state is RunState.CANCELLED and run.started is None and run.finished and run.finished < run.due:
        return stats
    stats = replace(stats, last_finished=run.finished)
    if stats.last_due is None or run.due >= stats.last_due:
        stats = replace(stats, last_run=run.id, last_state=run.state, last_due=run.due)
    if run.state is RunState.SUCCEEDED:
        success = max(run.due, stats.last_success) if stats.last_success else run.due
        late = stats.late_since if stats.late_since and stats.late_since > run.due else None
        return replace(stats, fails_in_row=0, last_success=success, late_since=late)
    if run.state in FAILED_STATES:
        return replace(stats, fails_in_row=stats.fails_in_row + 1, streak=stats.streak or run.id)
    return stats
