"""Reason codes: why a run is where it is, in words, and what to do about it.

Every run that waits or did not simply succeed carries a code with parameters. The words live here only, so that
pages, CLI, API and alerts say the same.
"""

import string
from typing import Any, Final

import msgspec

from rota.core.model import Reason


class ReasonText(msgspec.Struct, frozen=True):
    """The words of a code (with `{parameters}`), and what a person can do."""

    words: str
    advice: str = ""


REASONS: Final[dict[str, ReasonText]] = {
    "RETRY_WAIT": ReasonText("attempt {attempt} failed ({failure}); the next try is at {at}"),
    "REQUEUED": ReasonText("attempt {attempt} was lost with worker {worker}; it is tried again"),
    "WORKER_STOPPED": ReasonText("worker {worker} was stopped while attempt {attempt} ran; it is tried again"),
    "RETURNED": ReasonText("worker {worker} gave attempt {attempt} back before it started: {why}"),
    "NO_WORKER": ReasonText("no connected worker runs {kind} jobs", "start a worker: rota workers shows who is there"),
    "NO_ROOM": ReasonText("all {kind} slots are taken", "rota workers shows what holds them"),
    "MISSING_SECRET": ReasonText("the secret {name} does not exist", "rota secret set {name}"),
    "OVERLAP_SKIP": ReasonText(
        "another run of the job, {holder}, had not ended", "overlap: queue lets it wait; overlap: allow runs both"
    ),
    "RESTORE_HELD": ReasonText(
        "the database seems to have been restored; whether this at-most-once run was started before is not known",
        "look at what the job did, then: rota doctor --accept-restore",
    ),
    "OVERLAP_QUEUED": ReasonText("waits for another run of the job, {holder}, to end"),
    "QUEUE_FULL": ReasonText("{limit} runs of this job were waiting already", "overlap: queue-latest keeps one"),
    "SUPERSEDED": ReasonText("a newer instant of the job, {by}, took its place"),
    "REPLACED": ReasonText("ended to make room for the newer run {by} (overlap: replace)"),
    "REPLACING": ReasonText("waits until the run it replaces, {holder}, has ended"),
    "CATCH_UP": ReasonText("was due while Rota was not running; run afterwards ({policy})"),
    "CATCHUP_SKIPPED": ReasonText(
        "was due while nothing could run it, and the policy is {policy}", "missed: run-all within 6h would run it"
    ),
    "TOO_LATE": ReasonText("could not start for {late} and the policy is {policy}", "more slots, or missed: run-all"),
    "PAUSED": ReasonText("the job was paused by {by}{why}", "rota resume {job}"),
    "EDITED": ReasonText("the job was changed and this instant is not in its new schedule (revision {revision})"),
    "REPINNED": ReasonText("the job was changed; the instant is run under the new definition (revision {revision})"),
    "ASKED_BACK": ReasonText("waits a moment until a worker has given back {holder}, which is due later"),
    "MADE_ROOM": ReasonText("given back by its worker to let {by} go first, which was due earlier"),
    "DELETED": ReasonText("the job was deleted"),
    "SHADOW": ReasonText("the job is in shadow: instants are recorded, nothing runs", "remove shadow: true"),
    "CANCELLED": ReasonText("cancelled by {by}{why}"),
    "FAILED": ReasonText("{error}"),
    "TIMED_OUT": ReasonText("{error}"),
    "REJECTED": ReasonText("the worker refused it: {error}"),
    "LOST": ReasonText(
        "the worker {worker} vanished while it ran, {losses} times; the outcome is unknown", "rota retry {run}"
    ),
    "OUTCOME_UNKNOWN": ReasonText(
        "the worker {worker} vanished while it ran; delivery is at-most-once, so Rota does not start it again",
        "look at the target, then: rota retry {run}",
    ),
    "BROKEN": ReasonText("the schedule cannot be computed: {error}", "correct the job and apply it"),
}


class _Lenient(dict[str, Any]):
    """Parameters for a template; a missing one shows its name."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def explain(reason: Reason) -> str:
    """The reason in words; an unknown code is shown as it is."""
    text = REASONS.get(reason.code)
    return _fill(text.words, reason) if text else reason.code


def advice(reason: Reason) -> str:
    """What a person can do about it, or nothing."""
    text = REASONS.get(reason.code)
    return _fill(text.advice, reason) if text else ""


def _fill(template: str, reason: Reason) -> str:
    """`template` with the reason's parameters, which are data and never templates themselves."""
    return string.Formatter().vformat(template, (), _Lenient(reason.params))
