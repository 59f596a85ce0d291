"""Events in, log lines and metrics out. The only place that knows how either is written.

| event            | level   | metric                                                                     |
|------------------|---------|----------------------------------------------------------------------------|
| JobsPlanned      | debug   | rota_runs_planned_total, rota_gaps_total, rota_planner_lag_seconds         |
| LeaseRenewed     | debug   |                                                                            |
| RunsAssigned     | debug   | rota_runs_assigned_total                                                   |
| RunEnded         | info ¹  | rota_runs_ended_total{state}, rota_run_seconds, rota_run_wait_seconds      |
| RunRequeued      | info    | rota_runs_requeued_total                                                   |
| ReportRefused    | warning | rota_reports_refused_total                                                 |
| LoopFailed       | error   | rota_loop_failures_total{loop}                                             |
| RequestFailed    | error   | rota_requests_failed_total                                                 |
| NoticeSent       | info    | rota_notices_total{outcome="sent"}                                         |
| NoticeFailed     | warning | rota_notices_total{outcome="failed"}                                       |
| WorkerMisspoke   | warning | rota_workers_misspoke_total{cut_off}                                       |
| JoinRefused      | warning | rota_joins_total{outcome="refused"}                                        |
| WorkerJoined     | info    | rota_joins_total{outcome="joined"}                                         |
| RequestLimited   | debug   | rota_requests_limited_total                                                |
| ClientLimited    | warning |                                                                            |
| every other      | info    |                                                                            |

¹ debug when the run succeeded: a busy server does not log each success.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rota.events import (
    ClientLimited,
    ClockStepped,
    ConditionRaised,
    Event,
    JobsPlanned,
    JoinRefused,
    LeaseRenewed,
    LoopFailed,
    NoticeFailed,
    NoticeSent,
    ReportRefused,
    RequestFailed,
    RequestLimited,
    RunEnded,
    RunRequeued,
    RunsAssigned,
    ScheduleBroken,
    WorkerJoined,
    WorkerMisspoke,
)

_LEVELS: Final[dict[type[Event], int]] = {
    JobsPlanned: logging.DEBUG,
    LeaseRenewed: logging.DEBUG,
    RunsAssigned: logging.DEBUG,
    RequestLimited: logging.DEBUG,
    ClientLimited: logging.WARNING,
    JoinRefused: logging.WARNING,
    WorkerMisspoke: logging.WARNING,
    ReportRefused: logging.WARNING,
    ScheduleBroken: logging.WARNING,
    ConditionRaised: logging.WARNING,
    ClockStepped: logging.WARNING,
    NoticeFailed: logging.WARNING,
    LoopFailed: logging.ERROR,
    RequestFailed: logging.ERROR,
}
_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15, 60, 300, 1800, 7200)


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Metrics:
    """The server's metrics in a registry of their own; `summary` gauges are set when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, registry = Counter, self.registry
        self.planned = counter("rota_runs_planned", "Runs created by the planner", registry=registry)
        self.gaps = counter("rota_gaps", "Gap rows written by the planner", registry=registry)
        self.assigned = counter("rota_runs_assigned", "Attempts given to workers", registry=registry)
        self.ended = counter("rota_runs_ended", "Runs that reached a final state", ["state"], registry=registry)
        self.requeued = counter("rota_runs_requeued", "Attempts that led to another one", registry=registry)
        self.refused = counter("rota_reports_refused", "Reports with an old fence", registry=registry)
        self.loop_failures = counter("rota_loop_failures", "Ticks that raised", ["loop"], registry=registry)
        self.requests_failed = counter("rota_requests_failed", "Requests answered 500", registry=registry)
        self.requests_limited = counter("rota_requests_limited", "Requests answered 429", registry=registry)
        self.joins = counter("rota_joins", "Workers that asked to join, by outcome", ["outcome"], registry=registry)
        self.misspoke = counter(
            "rota_workers_misspoke", "Messages of workers that none may send", ["cut_off"], registry=registry
        )
        self.notices = counter("rota_notices", "Notices by outcome", ["outcome"], registry=registry)
        self.seconds = Histogram("rota_run_seconds", "Start to end", buckets=_SECONDS, registry=registry)
        self.waited = Histogram("rota_run_wait_seconds", "Due to start", buckets=_SECONDS, registry=registry)
        self.lag = Gauge("rota_planner_lag_seconds", "Lateness of the planner's last batch", registry=registry)
        self.runs = Gauge("rota_runs", "Unfinished runs by state", ["state"], registry=registry)
        self.jobs = Gauge("rota_jobs", "Jobs by condition", ["condition"], registry=registry)
        self._states: dict[str, Counter] = {}

    def count(self, event: Event) -> None:
        """Let the event move the metrics it stands for."""
        match event:
            case RunEnded():
                self._count_end(event)
            case JobsPlanned():
                self.planned.inc(event.runs)
                self.gaps.inc(event.gaps)
                self.lag.set(event.lag_seconds)
            case RunsAssigned():
                self.assigned.inc(event.runs)
            case RunRequeued():
                self.requeued.inc()
            case ReportRefused():
                self.refused.inc()
            case LoopFailed():
                self.loop_failures.labels(event.loop).inc()
            case RequestFailed():
                self.requests_failed.inc()
            case NoticeSent():
                self.notices.labels("sent").inc()
            case NoticeFailed():
                self.notices.labels("failed").inc()
            case _:
                self._count_strangers(event)

    def _count_strangers(self, event: Event) -> None:
        """What came over the network and was not wanted."""
        match event:
            case RequestLimited():
                self.requests_limited.inc()
            case WorkerJoined():
                self.joins.labels("joined").inc()
            case JoinRefused():
                self.joins.labels("refused").inc()
            case WorkerMisspoke():
                self.misspoke.labels(str(event.cut_off).lower()).inc()
            case _:
                pass

    def _count_end(self, event: RunEnded) -> None:
        """A run's end: the hot one, so label children are kept."""
        child = self._states.get(event.state)
        if child is None:
            child = self._states[event.state] = self.ended.labels(event.state)
        child.inc()
        if event.seconds is not None:
            self.seconds.observe(event.seconds)
        if event.waited_seconds is not None:
            self.waited.observe(max(event.waited_seconds, 0.0))


class Telemetry:
    """Turns events into log lines and metrics; `emit` is what everything else is given."""

    def __init__(self, metrics: Metrics, log: Callable[..., Any], level: int) -> None:
        self._metrics = metrics
        self._log = log
        self._level = level

    def emit(self, event: Event) -> None:
        """Count the event; write it down if its level asks for it."""
        self._metrics.count(event)
        level = _level_of(event)
        if level >= self._level:
            fields = msgspec.structs.asdict(event)
            name = fields.pop("event", None)
            if name is not None:
                fields["what"] = name
            self._log(level, type(event).__name__, **fields)


def make_log(stream: TextIO, *, json: bool, level: int) -> Callable[..., Any]:
    """A function that writes one line per call to `stream`, as `key=value` or as JSON."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], sort_keys=False)
    )
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _plain_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    log: Callable[..., Any] = logger.log
    return log


def _escaped(match: re.Match[str]) -> str:
    """A control character as it is written in a program."""
    return match[0].encode("unicode_escape").decode()


def _plain_values(_logger: Any, _name: str, fields: Any) -> Any:
    """Values a log line can hold on one line; control characters cannot forge a second one."""
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = _CONTROL.sub(_escaped, value)
        elif not isinstance(value, int | float | bool | None):
            fields[key] = str(value)
    return fields


def _level_of(event: Event) -> int:
    """How much the event matters."""
    if isinstance(event, RunEnded):
        return logging.DEBUG if event.state == "succeeded" else logging.INFO
    return _LEVELS.get(type(event), logging.INFO)
