"""What happens, as typed values. Code emits events; `telemetry` alone turns them into log lines and metrics.

An event's class name is its name in the log, its fields are the log line's fields; the docstring says what happened.
"""

from collections.abc import Callable
from datetime import datetime
from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something happened."""


Emit = Callable[[Event], None]


class ServerStarted(Event):
    """The server works from now on."""

    server: str


class ShardsTaken(Event):
    """The server leads these shards from now on."""

    server: str
    shards: tuple[int, ...]


class ShardsReleased(Event):
    """The server leads these shards no more: given up for balance, taken by another, or its lease has ended."""

    server: str
    shards: tuple[int, ...]
    why: str


class LeaseRenewed(Event):
    """The server's lease was renewed; it took so long and the server leads so many shards."""

    seconds: float
    shards: int


class LeaseLapsed(Event):
    """The server could not renew its lease in time; it leads nothing until it can."""

    server: str
    error: str


class ServerStopped(Event):
    """The server decides no more."""

    server: str


class LoopFailed(Event):
    """A background loop's work raised; it goes on after a rest. In the log only when `in_row` is a power of two."""

    loop: str
    error: str
    in_row: int  # how often it has failed since it last succeeded
    traceback: str  # empty where the store did not answer, which is no fault of the loop


class JobsPlanned(Event):
    """Cursors were moved: so many jobs, runs created, gap rows written."""

    jobs: int
    runs: int
    gaps: int
    lag_seconds: float  # how late the planner was for the oldest fresh instant


class ScheduleBroken(Event):
    """A job's schedule could not be computed; the job is set aside."""

    job: str
    error: str


class RunsAssigned(Event):
    """Runs were given to workers."""

    runs: int
    left_out: int  # had moved on meanwhile


class RunsStaged(Event):
    """Of the runs given to workers, so many were given ahead of their time."""

    runs: int


class RunAskedBack(Event):
    """A run that was given to a worker and had not started was asked back."""

    run: str
    worker: str


class PermitsGiven(Event):
    """At-most-once runs were allowed to start: their start is on record."""

    runs: int


class RunEnded(Event):
    """A run reached its final state."""

    run: str
    job: str
    state: str
    seconds: float | None
    waited_seconds: float | None


class RunRequeued(Event):
    """An attempt was lost or failed and the run waits for another."""

    run: str
    job: str
    reason: str


class ReportRefused(Event):
    """A report carried a fence that is not the current one; it changed nothing."""

    run: str
    fence: int


class WorkerConnected(Event):
    """A worker opened a session."""

    worker: str
    session: int


class WorkerDisconnected(Event):
    """A worker's session ended; so many runs were with it."""

    worker: str
    session: int
    held: int


class WorkerRefused(Event):
    """A worker was not allowed to connect."""

    worker: str
    reason: str


class WorkerJoined(Event):
    """A worker was given a token of its own, by a join token."""

    worker: str
    by: str


class JoinRefused(Event):
    """Somebody with a join token was not given a worker's token."""

    worker: str
    by: str
    reason: str


class WorkerRevoked(Event):
    """The token of a worker was ended by a person."""

    worker: str
    by: str


class WorkerCutOff(Event):
    """A worker's session was closed because its token has ended."""

    worker: str


class SessionUnknown(Event):
    """A worker's session is not the one the store has: it is connected elsewhere, or the store was set back.

    It is asked to connect again.
    """

    worker: str
    session: int


class WorkerMisspoke(Event):
    """A worker sent what none may send; it was cut off, or what it said was left out."""

    worker: str
    what: str
    cut_off: bool


class RequestLimited(Event):
    """A request was refused because there were too many."""

    client: str
    why: str


class ClientLimited(Event):
    """Requests of a client are refused because there are too many; said once a minute for each client."""

    client: str
    why: str


class WorkerLost(Event):
    """A worker was silent for too long; so many of its attempts were called lost."""

    worker: str
    session: int
    lost: int


class ServerReached(Event):
    """The worker has opened a session with a server."""

    server: str
    worker: str


class ServerLost(Event):
    """The worker's session with a server has ended; it looks for another."""

    server: str
    worker: str
    was_sent: bool  # by the server itself, to another one


class ServerUnreachable(Event):
    """The worker could not open a session with any server; it tries again."""

    worker: str
    error: str
    hint: str


class DeadlinePassed(Event):
    """No server was heard for so long that what ran here may be started elsewhere: so many attempts are ended."""

    worker: str
    attempts: int


class SpoolBroken(Event):
    """The worker cannot write down what is not acknowledged yet; it goes on, and a crash would lose reports."""

    worker: str
    folder: str


class MachineShort(Event):
    """The worker's machine lacks something for attempts of this kind; none is asked for during so many seconds."""

    worker: str
    kind: str
    error: str
    seconds: float


class RestoreSuspected(Event):
    """Somebody has seen a fence that the store never gave: the store is older than what was done with it."""

    who: str
    fence: int


class RestoreAccepted(Event):
    """A person has accepted that the store is older than what was done with it; at-most-once work goes on."""

    actor: str


class JobsChanged(Event):
    """Definitions were created, changed or removed."""

    actor: str
    created: int
    changed: int
    removed: int
    names: tuple[str, ...] = ()  # of what was removed, else of what was changed or created; at most twenty


class ConditionRaised(Event):
    """Something about the installation is wrong and stays so until it is put right."""

    key: str
    detail: str


class ConditionCleared(Event):
    """A condition is over."""

    key: str


class NoticeSent(Event):
    """A notice was taken by its channel."""

    event: str
    route: str
    job: str | None


class NoticeFailed(Event):
    """A channel did not take a notice; it is tried again until it is given up."""

    event: str
    route: str
    error: str
    tries: int
    given_up: bool


class HistoryPruned(Event):
    """Old history and output were deleted by age."""

    runs: int
    chunks: int


class ClockStepped(Event):
    """The wall clock jumped; scheduling follows the time that never goes backwards."""

    seconds: float
    at: datetime


class InstallationMeasured(Event):
    """Somebody has asked for metrics: how it stands at this moment, as far as the store answers."""

    store_answers: bool
    runs: dict[str, int] = {}  # unfinished, by state
    jobs: dict[str, int] = {}  # by condition
    oldest_wait_seconds: float = 0.0  # of the run that has waited longest for a worker
    workers: dict[str, int] = {}  # by state
    worker_clock_offset: float = 0.0  # the worst
    servers: int = 0  # that live
    shards_unled: int = 0
    shards_led: int = 0  # by this server
    sessions: int = 0  # of workers, at this server
    renewal_age: float = 0.0
    clock_offset: float = 0.0
    planner_lag: float = 0.0


class RequestFailed(Event):
    """Answering a request raised what nobody expected; it was answered 500 and the server goes on."""

    request_id: str
    method: str
    path: str
    error: str
    traceback: str
