"""One attempt on this worker: its order, where it stands, and how it ends. It ends exactly once."""

from datetime import datetime
from typing import Any, Protocol

import msgspec

from rota.core.model import Usage
from rota.core.retry import STOPPED
from rota.wire.messages import AttemptOrder
from rota.worker.output import Capture
from rota.worker.shortage import is_shortage


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, in the words of `wire.messages.Finished`."""

    outcome: str
    exit: int | None = None
    signal: int | None = None
    failure: str | None = None
    error: str | None = None
    result: Any = None
    usage: Usage = Usage()


def failed(failure: str, error: str, **facts: Any) -> Outcome:
    """The outcome of an attempt that failed in the way `failure` (core.retry.FAILURE_KINDS)."""
    return Outcome(outcome="failed", failure=failure, error=error, **facts)


def rejected(error: str) -> Outcome:
    """The outcome of an attempt that this worker's own rules do not allow."""
    return Outcome(outcome="rejected", failure="rejected", error=error)


def timed_out(timeout: float | None, **facts: Any) -> Outcome:
    """The outcome of an attempt that ran longer than it may."""
    limit = "" if timeout is None else f" of {timeout:g} s"
    return Outcome(outcome="timed-out", failure="timeout", error=f"still running at its time-out{limit}", **facts)


def silenced(**facts: Any) -> Outcome:
    """The outcome of an attempt that was ended at the worker's deadline: it may run elsewhere by now."""
    return Outcome(outcome="lost", error="ended because no server was heard for too long", **facts)


class AttemptOwner(Protocol):
    """Who is told what becomes of an attempt."""

    def attempt_began(self, attempt: "Attempt", ago: float) -> None:
        """It has been running for so many seconds."""

    def attempt_ended(self, attempt: "Attempt", outcome: Outcome) -> None:
        """It is over and nothing of it lives on."""

    def attempt_returned(self, attempt: "Attempt", why: str, *, short: bool = False) -> None:
        """It was never started; `short`: no other of its kind can be started here for a while."""


class Attempt:
    """One try of a run, from its order to its end."""

    __slots__ = (
        "begun", "finished", "is_over", "kind", "order", "output", "owner", "prepared", "started", "stopping", "taken",
    )  # fmt: skip

    def __init__(self, order: AttemptOrder, output: Capture, owner: AttemptOwner, taken: float) -> None:
        self.order = order
        self.kind = str(order.task.__struct_config__.tag)  # what executor it needs: "http", "shell", "python"
        self.output = output
        self.owner = owner
        self.taken = taken  # monotonic: when the order arrived, or when it was due if that is later
        self.begun: float | None = None  # monotonic: when it started to run
        self.started: datetime | None = None
        self.finished: datetime | None = None
        self.stopping: str | None = None  # why it is ended from outside: "cancelled", "lost" or "stopped"
        self.is_over = False
        self.prepared: Any = None  # what its executor needs to start it, made beforehand

    def begin(self, ago: float = 0.0) -> None:
        """It has been running for so many seconds; later beginnings are ignored."""
        if self.begun is None:
            self.owner.attempt_began(self, ago)

    def end(self, outcome: Outcome) -> None:
        """It is over; later ends are ignored."""
        if not self.is_over:
            self.is_over = True
            self.owner.attempt_ended(self, outcome)

    def give_back(self, why: str, *, short: bool = False) -> None:
        """It was never started; `short`: the machine lacks what attempts of its kind need."""
        if not self.is_over:
            self.is_over = True
            self.owner.attempt_returned(self, why, short=short)

    def cannot_start(self, error: str, number: int | None = None) -> None:
        """Nothing of it could be started; `number` is the system's error, if there was one."""
        if is_shortage(number):
            self.give_back(self.output.masked(error) or error, short=True)
        else:
            self.end(failed("start", error))

    def stopped(self, **facts: Any) -> Outcome:
        """The outcome of an attempt that was ended from outside."""
        if self.stopping == "lost":
            return silenced(**facts)
        if self.stopping == STOPPED:
            return Outcome(outcome="lost", failure=STOPPED, error="its worker was stopped before it had ended", **facts)
        return Outcome(outcome="cancelled", error="cancelled", **facts)
