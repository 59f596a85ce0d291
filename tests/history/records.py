"""What was done and what was found: the material the checker judges."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.history.probe import Event


@dataclass(frozen=True, kw_only=True)
class Window:
    """Something that took effect at an unknown moment between asking and the answer."""

    asked: datetime
    answered: datetime


@dataclass(frozen=True, kw_only=True)
class Definition:
    """From `window` on, the job's instants are those of `expression`; None: it has none (paused, or by hand only)."""

    window: Window
    expression: str | None
    zone: str = "UTC"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run as the system tells it."""

    id: str
    job: str
    due: datetime
    trigger: str
    state: str
    attempts: tuple[tuple[int, int], ...] = ()  # (number, fence), oldest first


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """Instants answered together: after < due ≤ until."""

    job: str
    after: datetime
    until: datetime
    count: int


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A manual trigger that was answered with this run."""

    key: str
    run: str
    window: Window | None = None  # between which moments it took effect


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A kill -9: it fell after `struck`, and by `buried` whatever died of it had been seen dead (uptimes)."""

    struck: float
    buried: float


@dataclass(frozen=True, kw_only=True)
class Rewind:
    """The database went back: what it acknowledged inside `lost` may be gone, and what ran then may be on no record.

    From the uptime `struck` on commits were lost; by `known` those who work know. What starts in between may be on no
    record, or beside what is on none, and its fence may be one that a server had in hand, lower than one forgotten.
    """

    lost: Window
    struck: float
    known: float


@dataclass(kw_only=True)
class JobHistory:
    """What was asked of one job, oldest first, and what may be expected of its attempts."""

    name: str
    definitions: list[Definition] = field(default_factory=list)
    overlaps: bool = True  # whether two runs of it may be under way at once
    pauses: list[tuple[Window, Window | None]] = field(default_factory=list)  # (pause, resume)
    at_most_once: bool = False
    probes_its_end: bool = True


@dataclass(kw_only=True)
class History:
    """Everything."""

    jobs: dict[str, JobHistory] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    until: datetime | None = None  # instants after this one are not judged
    clock_error: timedelta = timedelta(0)  # by how much the clocks by which things were decided may be wrong
    asks_in_vain: bool = False  # whether a run planned ahead may begin though it was asked back from its worker
    only_kills_lose: bool = True  # whether an attempt can be lost only by one of `kills`
    frozen: list[Kill] = field(default_factory=list)  # stretches in which a whole machine stood still
    roomless: bool = False  # whether attempts may fail before they start, because a worker had no room to prepare them
    rewinds: list[Rewind] = field(default_factory=list)  # when the database forgot what it had acknowledged
