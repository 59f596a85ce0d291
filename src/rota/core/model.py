"""The values everything speaks of: jobs, runs, attempts, gaps, and the policies of a job.

All values are frozen. Instants are aware UTC datetimes, durations are seconds (float), sizes are bytes (int).
The names are the ones of the API, the job file and the tables; `docs/reference/words.md` lists them.
"""

import enum
from datetime import datetime
from typing import Any, NewType, dataclass_transform

import msgspec

from rota.core.schedule import DstPolicy

JobId = NewType("JobId", str)
RunId = NewType("RunId", str)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every domain value: frozen, keyword only, compact when encoded."""


# ── what a job runs ──────────────────────────────────────────────────────────────────────────────────────


class HttpExpect(Value):
    """What the answer must be for the attempt to succeed; empty fields ask for nothing."""

    status: tuple[str, ...] = ("2xx",)  # "200", "2xx", "200..204"
    headers: dict[str, str] = {}  # name → text the value must contain
    json: tuple[str, ...] = ()  # "$.rates.EUR exists", "$.ok == true", "$.n >= 3"
    body: str | None = None  # text the body must contain
    max_body: int | None = None  # a longer (decompressed) body fails the attempt


class HttpTask(Value, tag="http", tag_field="kind"):
    """One HTTP request. `${…}` values in url, headers and body are filled per run."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: str | None = None
    expect: HttpExpect = HttpExpect()
    follow_redirects: int = 5


class ShellTask(Value, tag="shell", tag_field="kind"):
    """A script for /bin/sh."""

    command: str
    stdin: str | None = None


class PythonTask(Value, tag="python", tag_field="kind"):
    """A function `package.module:name` called in a warm process of the chosen interpreter."""

    function: str
    arguments: dict[str, Any] = {}  # the key `with:` of the job file


Task = HttpTask | ShellTask | PythonTask


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────


class Overlap(enum.Enum):
    """What happens to a due run while an earlier run of the job is unfinished."""

    SKIP = "skip"
    QUEUE = "queue"
    QUEUE_LATEST = "queue-latest"
    REPLACE = "replace"
    ALLOW = "allow"


class MissedMode(enum.Enum):
    """Which of the instants that passed unanswered are run afterwards."""

    SKIP = "skip"
    RUN_LATEST = "run-latest"
    RUN_ALL = "run-all"


class Delivery(enum.Enum):
    """How often an attempt may be started when its outcome is not known."""

    AT_LEAST_ONCE = "at-least-once"
    AT_MOST_ONCE = "at-most-once"


class MissedPolicy(Value):
    """`run-latest within 1h` and its relatives; `within` None means without limit."""

    mode: MissedMode = MissedMode.RUN_LATEST
    within: float | None = 3600.0
    at_most: int = 100


class RetryPolicy(Value):
    """`tries` counts the first attempt. The wait doubles from `wait_min` up to `wait_max`."""

    tries: int = 1
    wait_min: float = 30.0
    wait_max: float = 600.0
    jitter: float = 0.2  # fraction of the wait, added or taken away at random
    when: tuple[str, ...] = ()  # kinds of failure that are retried; empty: all


class AlertPolicy(Value):
    """Who is told (`channel:target`) and of what."""

    to: tuple[str, ...] = ()
    when: tuple[str, ...] = ("failed", "recovered")
    runbook: str | None = None


class KeepPolicy(Value):
    """How long history and logs are kept, in seconds; may only shorten the server's own limits."""

    history: float | None = None
    logs: float | None = None


class JobSpec(Value):
    """All that a job file says about one job; a change of it makes a new revision."""

    task: Task
    schedule: str | None = None
    at: str | None = None
    timezone: str = "UTC"
    dst: DstPolicy = DstPolicy.VIXIE
    title: str | None = None
    owner: str | None = None
    labels: dict[str, str] = {}
    timeout: float | None = None
    kill_grace: float = 10.0
    retry: RetryPolicy = RetryPolicy()
    overlap: Overlap = Overlap.SKIP
    missed: MissedPolicy = MissedPolicy()
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    on_disconnect: float | None = None  # how long an attempt goes on without its server; None: it is stopped
    late_after: float | None = None
    alert: AlertPolicy = AlertPolicy()
    keep: KeepPolicy = KeepPolicy()
    log_limit: int = 10 * 1024 * 1024
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}  # environment name → secret name
    params: dict[str, str] = {}  # default values; a trigger may override them
    cwd: str | None = None
    user: str | None = None
    venv: str | None = None
    interpreter: str | None = None
    shadow: bool = False  # instants are recorded as skipped, nothing runs
    paused: bool = False  # how the job starts when it is first applied


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────


class Pause(Value):
    """A job that is not planned, since when, by whom, and until when (None: until resumed)."""

    since: datetime
    by: str
    reason: str = ""
    until: datetime | None = None


class Job(Value):
    """One job definition and how far it has been planned.

    Every instant with due ≤ `cursor` is answered by a run or a gap. `version` is raised by every cursor move,
    edit, pause, resume and delete; writers compare it.
    """

    id: JobId
    namespace: str
    name: str
    revision: int
    version: int
    spec: JobSpec
    cursor: datetime
    next_at: datetime | None
    created: datetime  # also the anchor of intervals that do not divide a day
    updated: datetime
    shard: int = 0
    source: str | None = None  # the file the job came from
    pause: Pause | None = None
    broken: str | None = None  # why the schedule cannot be computed; the job is not planned
    deleted: datetime | None = None

    @property
    def full_name(self) -> str:
        """`namespace/name`, unique among all jobs."""
        return f"{self.namespace}/{self.name}"


class JobStats(Value):
    """What has become of a job's runs; kept beside the definition and moved by outcomes only."""

    job_id: JobId
    recent: str = ""  # two characters per run, newest last, at most 24 runs: outcome and duration (core.job_stats)
    fails_in_row: int = 0
    streak: RunId | None = None  # first run of the present row of failures; all its notices share this thread
    alerted_at: datetime | None = None  # when somebody was last told of the present row of failures
    last_run: RunId | None = None
    last_state: "RunState | None" = None
    last_due: datetime | None = None
    last_finished: datetime | None = None
    last_success: datetime | None = None  # due of the newest run that succeeded
    late_since: datetime | None = None  # due of the instant that has not succeeded in time
    version: int = 0  # raised by every write; writers compare it. 0: never written


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


class RunState(enum.Enum):
    """Where a run stands. The last seven are final."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    MISSED = "missed"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to the run any more."""
        return self not in (RunState.QUEUED, RunState.STARTING, RunState.RUNNING)


class AttemptState(enum.Enum):
    """Where one try of a run stands."""

    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    LOST = "lost"
    REJECTED = "rejected"


class Trigger(enum.Enum):
    """Why a run exists."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    RETRY = "retry"
    BACKFILL = "backfill"
    STEP = "step"
    AFTER = "after"
    START = "start"  # `schedule: at start`


class Reason(Value):
    """A code of `core.reasons` with its parameters; words are made from it where people read."""

    code: str
    params: dict[str, Any] = {}


class Usage(Value):
    """What an attempt consumed: CPU seconds of its whole tree, peak resident bytes of its largest process."""

    cpu_seconds: float | None = None
    peak_memory: int | None = None


class Attempt(Value):
    """One try of a run on one worker."""

    number: int
    fence: int
    worker: str
    state: AttemptState
    created: datetime
    continue_for: float = 0.0  # seconds it may go on beyond its worker's deadline (`on-disconnect: continue for`)
    started: datetime | None = None
    finished: datetime | None = None
    exit: int | None = None
    signal: int | None = None
    error: str | None = None
    failure: str | None = None  # kind of failure, the vocabulary of `retry.when` (core.retry)
    usage: Usage = Usage()


class Run(Value):
    """The answer to one instant or to one manual trigger.

    `attempts` holds the past attempts and `current` the one under way; `ready_at` is when the run may be placed
    next. A run is *released* once it has been given its first attempt: from then to its end it counts for overlap.
    """

    id: RunId
    job_id: JobId
    job: str
    revision: int
    due: datetime
    nominal: datetime
    trigger: Trigger
    state: RunState
    kind: str  # "http" | "shell" | "python": what a worker must be able to run
    created: datetime
    ready_at: datetime
    reason: Reason | None = None
    late_at: datetime | None = None  # when the run counts as late unless it has ended; None once that was said
    retry_of: RunId | None = None
    key: str = ""  # distinguishes manual triggers of one moment
    attempts: tuple[Attempt, ...] = ()
    current: Attempt | None = None
    failures: int = 0  # attempts that used up a try
    losses: int = 0  # attempts that were lost; they have their own cap
    released: datetime | None = None
    cancel: Reason | None = None  # somebody asked for the end
    withdrawn: Reason | None = None  # it was asked back from its worker, unless it has started; why
    session: int | None = None  # number of the worker session that holds the current attempt
    started: datetime | None = None
    finished: datetime | None = None
    params: dict[str, str] = {}
    result: Any = None
    actor: str | None = None  # who triggered it
    version: int = 1  # raised by every write; writers compare it

    @property
    def attempt(self) -> int:
        """Number of the newest attempt, 0 before the first."""
        if self.current is not None:
            return self.current.number
        return self.attempts[-1].number if self.attempts else 0

    @property
    def fence(self) -> int:
        """Fence of the current attempt, 0 when there is none."""
        return self.current.fence if self.current is not None else 0

    def is_staged(self, now: datetime) -> bool:
        """Whether a worker has it already and will start it when it is due."""
        return self.state is RunState.STARTING and self.due > now and self.started is None

    @property
    def last_attempt(self) -> Attempt | None:
        """The attempt under way, or else the newest past one."""
        return self.current or (self.attempts[-1] if self.attempts else None)


class Gap(Value):
    """A stretch of instants that were answered together: `after` < due ≤ `until`, `count` of them."""

    job_id: JobId
    after: datetime
    until: datetime
    count: int
    reason: Reason
    created: datetime


class OutputLine(msgspec.Struct, frozen=True, array_like=True):
    """A piece of output: microseconds since the epoch, stream (0 stdout, 1 stderr, 2 Rota itself), bytes.

    A piece ends with its newline where the program wrote one; a longer line comes in several pieces.
    """

    time: int
    stream: int
    data: bytes


class OutputChunk(Value):
    """Consecutive lines of one attempt. `sequence` counts the attempt's chunks from 0; `first_line` its lines from 0.

    `offset` is the byte offset of the first line in the attempt's whole output as kept.
    """

    run_id: RunId
    attempt: int
    sequence: int
    first_line: int
    offset: int
    lines: tuple[OutputLine, ...]


class Worker(Value):
    """A process that executes attempts, as last heard of.

    `disconnected`: its session's channel has ended. `settled`: what it held then has been dealt with, by its
    goodbye or by calling it lost. `boot_session`: the first session of the process; what was given away in an
    earlier one went to a process that is no more. `dial`: which of the process's connections it is, by its own count.
    """

    name: str
    boot_id: str
    session: int
    server: str  # id of the server it is, or was, connected to
    version: str
    connected: datetime
    last_seen: datetime
    labels: dict[str, str] = {}
    capacity: dict[str, int] = {}
    cpus: int = 1
    memory: int = 0
    draining: bool = False
    clock_offset: float | None = None  # seconds its wall clock is ahead of the store's
    disconnected: datetime | None = None
    settled: datetime | None = None
    boot_session: int = 1
    dial: int = 0


class Server(Value):
    """A process that decides. It lives as long as its lease, which it renews; all servers are equal."""

    id: str  # new with every start
    name: str
    url: str
    version: str
    started: datetime
    renewed: datetime
    lease_until: datetime


class Shard(Value):
    """A fixed slice of the jobs, led by one server at a time. The epoch is raised by every change of its leader."""

    number: int
    server: str  # id; empty: nobody leads it
    epoch: int


class Renewal(Value):
    """A lease was renewed. `at` and `before`: this renewal and the last, as the store has them; `now`: its clock."""

    at: datetime
    before: datetime
    now: datetime  # never earlier than a time given before, though `at` may be when the store's clock was set back


class Standing(Value):
    """Who leads what at one moment of the store's clock, and how many workers are connected to each server (by id)."""

    now: datetime
    servers: tuple[Server, ...]
    shards: tuple[Shard, ...]
    workers: dict[str, int] = {}


class Notice(Value):
    """A message that must reach somebody: a row of the alert outbox.

    `id` is a function of what it says (event, run, route), so the same notice is never queued twice and its
    Message-ID is stable. `thread` is the id all notices of one streak of failures share.
    """

    id: str
    event: str  # "failed" | "recovered" | "missed" | "late" | "output" | "test" | "condition"
    route: str  # "mail:ops@example.com"
    created: datetime
    thread: str
    job: str | None = None
    run_id: RunId | None = None
    facts: dict[str, Any] = {}  # what the message is built from, as it was when the event happened
    state: str = "pending"  # "pending" | "sent" | "given-up"
    tries: int = 0
    next_try: datetime | None = None
    sent: datetime | None = None
    error: str | None = None


class Condition(Value):
    """Something wrong with the installation that lasts until it is put right (a bad watched file, a full disk)."""

    key: str
    detail: str
    since: datetime
    hint: str | None = None
