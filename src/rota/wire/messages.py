"""The messages between worker and server: typed, versioned, the same over every channel.

The worker dials; its first message is `Hello`, the server's first is `Welcome` or `Refused`. From then on reports
and output travel in batches with sequence numbers of their own and are re-sent until acknowledged; acknowledged
means committed. Everything about one attempt carries its fence.
"""

from datetime import datetime
from typing import Annotated, Any, dataclass_transform

import msgspec

from rota.core.model import OutputChunk, Task, Usage

PROTOCOL = 1

# What lies outside of these is refused where it is read: the other end of a network may say anything.
Id = Annotated[str, msgspec.Meta(max_length=64)]
Fence = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Base of every message; the class name is the tag on the wire."""


# ── worker → server ──────────────────────────────────────────────────────────────────────────────────────


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt a worker still holds when it says hello: waiting, running, or ended and not yet acknowledged."""

    run_id: Id
    attempt: Number
    fence: Fence


class SeenRenewal(Message):
    """The newest committed renewal of a server's lease that I was told of: no store that I may work for is older."""

    server: Id
    at: Moment  # by the store's clock, as the store has it


class Hello(Message):
    """Who I am, what I can carry, what I am still running."""

    worker: Id
    boot_id: Id  # new with every start of the agent
    version: Id
    protocol: Number = PROTOCOL
    dial: Number = 0  # grows with every hello of the process: one that a later one has overtaken says what is no more
    labels: dict[str, str] = {}
    capacity: dict[str, int] = {}  # kind ("http", "shell", "python") → attempts at once
    cpus: Number = 1
    memory: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    highest_fence: Fence = 0
    seen: SeenRenewal | None = None
    held: tuple[Held, ...] = ()


class Heartbeat(Message):
    """I am alive; `credit` is how many attempts of each kind I take in all, running and waiting on my side.

    It is at least the capacity and grows for kinds whose attempts are short, so that the next ones are at hand.
    """

    sent: float  # the worker's monotonic seconds, returned in the acknowledgement
    credit: dict[str, int] = {}
    draining: bool = False  # it takes nothing new
    clock_offset: float | None = None  # seconds its wall clock is ahead of the store's


class Started(Message):
    """The attempt runs. Sent only for attempts that outlive one batch of reports and for at-most-once runs."""

    run_id: Id
    attempt: Number
    fence: Fence
    started: Moment


class Finished(Message):
    """The attempt has ended and nothing of it lives on.

    `outcome` is "succeeded", "failed", "timed-out", "cancelled", "rejected" or "lost" (how it ended is not known);
    `failure` is the kind of failure in the words of `retry.when` (core.retry.FAILURE_KINDS).
    """

    run_id: Id
    attempt: Number
    fence: Fence
    outcome: Id
    started: Moment
    finished: Moment
    exit: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**32)] | None = None  # exit code, or HTTP status
    signal: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    failure: Id | None = None
    error: str | None = None
    result: Any = None
    usage: Usage = Usage()
    wrote_output: bool = False


class Returned(Message):
    """The attempt was never started and goes back unharmed (its runner was killed, it was revoked)."""

    run_id: Id
    attempt: Number
    fence: Fence
    why: str


class Ready(Message):
    """An at-most-once attempt is ready to start and waits for its permit."""

    run_id: Id
    attempt: Number
    fence: Fence


Report = Started | Finished | Returned | Ready


class Reports(Message):
    """A batch of reports; re-sent until `ReportsAcknowledged` carries its sequence."""

    sequence: Sequence
    items: tuple[Report, ...]


class Output(Message):
    """A batch of output of any attempts; its credit is its own, so logs never delay reports."""

    sequence: Sequence
    chunks: tuple[OutputChunk, ...]


class Goodbye(Message):
    """I have nothing left and close on purpose."""


# ── server → worker ──────────────────────────────────────────────────────────────────────────────────────


class Welcome(Message):
    """You are connected; `session` numbers this connection among all of yours."""

    session: int
    server: str
    now: datetime  # the store's clock
    lost: tuple[Held, ...] = ()  # of what you hold: no longer yours, end it
    renewal_age: float = 0.0  # seconds since the server's last committed renewal of its lease
    renewed: datetime | None = None  # that renewal, as the store has it


class Refused(Message):
    """You cannot connect, and why; `again`: it may be possible later, or at another server."""

    reason: str
    hint: str | None = None
    again: bool = False


class AttemptOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a worker needs to run one attempt."""

    run_id: str
    job: str
    due: datetime
    attempt: int
    fence: int
    task: Task
    timezone: str = "UTC"  # the job's zone, for ${due.date} and friends
    timeout: float | None = None
    kill_grace: float = 10.0
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}  # environment name → value; masked in output
    params: dict[str, str] = {}
    cwd: str | None = None
    user: str | None = None
    interpreter: str | None = None
    venv: str | None = None
    log_limit: int = 10 * 1024 * 1024
    permit: bool = False  # at-most-once: send Ready and wait for Permit
    not_before: datetime | None = None  # start it at this moment of the store's clock; None: at once
    continue_for: float = 0.0  # seconds it may go on beyond the worker's deadline


class Assign(Message):
    """Start these attempts."""

    orders: tuple[AttemptOrder, ...]


class Permit(Message):
    """This at-most-once attempt may start, once, within five seconds, in this boot of the worker."""

    run_id: str
    fence: int
    boot_id: str


class Revoke(Message):
    """Give this attempt back if it has not started; one that runs goes on."""

    run_id: str
    fence: int


class Cancel(Message):
    """End this attempt: TERM, its grace, KILL. An attempt not yet started is returned."""

    run_id: str
    fence: int


class ReportsAcknowledged(Message):
    """The batch of reports with this number is committed."""

    sequence: int


class OutputAcknowledged(Message):
    """The batch of output with this number is committed."""

    sequence: int


class HeartbeatAcknowledged(Message):
    """`sent` as received, the store's clock, and how old the server's last committed renewal of its lease is."""

    sent: float
    now: datetime
    renewal_age: float = 0.0
    renewed: datetime | None = None  # that renewal, as the store has it


class Moving(Message):
    """This server stops; connect to another one. Nothing of yours is lost by it."""


class Drain(Message):
    """Take nothing new; finish what runs within `grace` seconds; then say Goodbye."""

    grace: float


FromWorker = Hello | Heartbeat | Reports | Output | Goodbye
FromServer = (
    Welcome
    | Refused
    | Assign
    | Permit
    | Revoke
    | Cancel
    | ReportsAcknowledged
    | OutputAcknowledged
    | HeartbeatAcknowledged
    | Drain
    | Moving
)
