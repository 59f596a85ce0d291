"""What a due run may do while earlier runs of its job are unfinished: decided when it is released, not before."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, assert_never

from rota.core.model import Overlap, Reason, Run, RunId, RunState, Value

QUEUE_LIMIT: Final = 100  # runs of one job that may wait for each other


class Release(Value):
    """It may be given to a worker; `alone`: only if still no other run of the job is unfinished."""

    alone: bool


class Skip(Value):
    """It ends here, as `skipped`."""

    reason: Reason


class Wait(Value):
    """It waits; `end` are runs to be ended first (overlap: replace)."""

    reason: Reason
    end: tuple[RunId, ...] = ()


OverlapDecision = Release | Skip | Wait


def decide(policy: Overlap, run: Run, holders: Sequence[Run], waiting: Sequence[Run]) -> OverlapDecision:
    """Decide about `run`, due now.

    `holders` are the released, unfinished runs of its job; `waiting` its due, unreleased runs in order of due, the
    run itself among them. A run that was released before (a retry) always goes on: it is its own holder.
    """
    if policy is Overlap.ALLOW or run.released is not None:
        return Release(alone=False)
    newest = waiting[-1] if waiting else run
    keeps_newest_only = policy in (Overlap.QUEUE_LATEST, Overlap.REPLACE)
    if keeps_newest_only and newest.id != run.id:
        return Skip(reason=Reason(code="SUPERSEDED", params={"by": newest.id}))
    position = next((index for index, other in enumerate(waiting) if other.id == run.id), 0)
    if not holders and position > 0 and policy is Overlap.QUEUE:
        # It was looked at before the one in front of it (their polls differ); it must not overtake.
        return Wait(reason=Reason(code="OVERLAP_QUEUED", params={"holder": waiting[0].id}))
    if not holders:
        return Release(alone=True)
    holder = holders[0].id
    match policy:
        case Overlap.SKIP:
            return Skip(reason=Reason(code="OVERLAP_SKIP", params={"holder": holder}))
        case Overlap.QUEUE:
            if position >= QUEUE_LIMIT:
                return Skip(reason=Reason(code="QUEUE_FULL", params={"limit": QUEUE_LIMIT}))
            return Wait(reason=Reason(code="OVERLAP_QUEUED", params={"holder": holder}))
        case Overlap.QUEUE_LATEST:
            return Wait(reason=Reason(code="OVERLAP_QUEUED", params={"holder": holder}))
        case Overlap.REPLACE:
            end = tuple(other.id for other in holders if other.cancel is None)
            return Wait(reason=Reason(code="REPLACING", params={"holder": holder}), end=end)
        case _:
            assert_never(policy)


def waiting_in_order(runs: Sequence[Run], now: datetime) -> list[Run]:
    """Of all unfinished runs of a job: those that are due and not released, by due."""
    due = [run for run in runs if run.state is RunState.QUEUED and run.released is None and run.due <= now]
    return sorted(due, key=lambda run: (run.due, run.id))
