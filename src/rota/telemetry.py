"""Events in, log lines and metrics out. The only place that knows how either is written.

| event            | level   | metric                                                                     |
|------------------|---------|----------------------------------------------------------------------------|
| JobsPlanned      | debug   | rota_runs_planned_total, rota_gaps_total, rota_planner_lag_seconds         |
| LeaseRenewed     | debug   | rota_lease_renewal_seconds                                                 |
| LeaseLapsed      | warning | rota_lease_lapses_total                                                    |
| ShardsTaken      | info    | rota_shards_taken_total                                                    |
| ShardsReleased   | info ²  | rota_shards_released_total{why}                                            |
| InstallationMeasured | debug | the gauges                                                               |
| RunsAssigned     | debug   | rota_runs_assigned_total, rota_runs_left_out_total                         |
| RunsStaged       | debug   | rota_runs_staged_total                                                     |
| RunAskedBack     | debug   | rota_runs_asked_back_total                                                 |
| PermitsGiven     | debug   | rota_permits_total                                                         |
| WorkerConnected  | info    | rota_worker_connections_total{outcome="opened"}                            |
| WorkerDisconnected | info  | rota_worker_connections_total{outcome="ended"}                             |
| WorkerRefused    | warning | rota_worker_connections_total{outcome="refused"}                           |
| WorkerLost       | warning | rota_workers_lost_total, rota_attempts_lost_total                          |
| RestoreSuspected | warning | rota_restores_suspected_total                                              |
| WorkerCutOff, ServerLost, ServerUnreachable, DeadlinePassed, SpoolBroken, MachineShort | warning |      |
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
² warning when it was not this server's wish: taken by another server, or the lease could not be renewed.

Beside events, the store's answers are counted as they come: rota_store_seconds{contract},
rota_store_refusals_total{contract,code}.
"""

import functools
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rota.core.small_lists import ranges
from rota.events import (
    ClientLimited,
    ClockStepped,
    ConditionRaised,
    DeadlinePassed,
    Event,
    InstallationMeasured,
    JobsPlanned,
    JoinRefused,
    LeaseLapsed,
    LeaseRenewed,
    LoopFailed,
    MachineShort,
    NoticeFailed,
    NoticeSent,
    PermitsGiven,
    ReportRefused,
    RequestFailed,
    RequestLimited,
    RestoreSuspected,
    RunAskedBack,
    RunEnded,
    RunRequeued,
    RunsAssigned,
    RunsStaged,
    ScheduleBroken,
    ServerLost,
    ServerUnreachable,
    SessionUnknown,
    ShardsReleased,
    ShardsTaken,
    SpoolBroken,
    WorkerConnected,
    WorkerCutOff,
    WorkerDisconnected,
    WorkerJoined,
    WorkerLost,
    WorkerMisspoke,
    WorkerRefused,
)

LEVELS: Final[dict[type[Event], int]] = {
    JobsPlanned: logging.DEBUG,
    InstallationMeasured: logging.DEBUG,
    LeaseRenewed: logging.DEBUG,
    PermitsGiven: logging.DEBUG,
    RunAskedBack: logging.DEBUG,
    RunsAssigned: logging.DEBUG,
    RunsStaged: logging.DEBUG,
    LeaseLapsed: logging.WARNING,
    WorkerLost: logging.WARNING,
    WorkerRefused: logging.WARNING,
    WorkerCutOff: logging.WARNING,
    ServerLost: logging.WARNING,
    ServerUnreachable: logging.WARNING,
    SessionUnknown: logging.WARNING,
    DeadlinePassed: logging.WARNING,
    SpoolBroken: logging.WARNING,
    MachineShort: logging.WARNING,
    RestoreSuspected: logging.WARNING,
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


_QUICK: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_WANTED: Final = ("stopping", "given up")  # why a server leads shards no more, where it wished so


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OperationMetrics:
    """How servers, workers and store fare; gauges are set when somebody asks for metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = functools.partial(Counter, registry=registry)
        gauge = functools.partial(Gauge, registry=registry)
        self.renewal = Histogram(
            "rota_lease_renewal_seconds", "How long renewals of the lease took", buckets=_QUICK, registry=registry
        )
        self.lapses = counter("rota_lease_lapses", "Times the lease could not be renewed before it ended")
        self.taken = counter("rota_shards_taken", "Shards this server has taken")
        self.released = counter("rota_shards_released", "Shards this server leads no more, by reason", ["why"])
        self.left_out = counter("rota_runs_left_out", "Placements refused because the run or session had moved on")
        self.staged = counter("rota_runs_staged", "Runs given to workers ahead of their time")
        self.asked_back = counter("rota_runs_asked_back", "Runs asked back from a worker before they started")
        self.permits = counter("rota_permits", "At-most-once runs allowed to start")
        self.connections = counter("rota_worker_connections", "Sessions of workers, by what became", ["outcome"])
        self.workers_lost = counter("rota_workers_lost", "Workers that were silent for too long")
        self.attempts_lost = counter("rota_attempts_lost", "Attempts lost with silent workers")
        self.restores = counter("rota_restores_suspected", "Times a worker had seen a later life of the store")
        self.store_seconds = Histogram(
            "rota_store_seconds", "How long the store took to answer", ["contract"], buckets=_QUICK, registry=registry
        )
        self.store_refusals = counter("rota_store_refusals", "What the store refused, by code", ["contract", "code"])
        self.store_answers = gauge("rota_store_answers", "Whether the store answered when metrics were asked for")
        self.runs = gauge("rota_runs", "Unfinished runs of the installation by state", ["state"])
        self.jobs = gauge("rota_jobs", "Jobs of the installation by condition", ["condition"])
        self.oldest = gauge("rota_oldest_wait_seconds", "Of the run that has waited longest for a worker")
        self.workers = gauge("rota_workers", "Workers of the installation by state", ["state"])
        self.worker_clock = gauge("rota_worker_clock_offset_seconds", "The worst offset of a worker's clock")
        self.servers = gauge("rota_servers", "Servers of the installation that live")
        self.unled = gauge("rota_shards_unled", "Shards of the installation that nobody leads")
        self.led = gauge("rota_shards_led", "Shards this server leads")
        self.sessions = gauge("rota_worker_sessions", "Workers connected to this server")
        self.renewal_age = gauge("rota_lease_renewal_age_seconds", "Since this server last renewed its lease")
        self.clock = gauge("rota_clock_offset_seconds", "This server's wall clock ahead of the store's")
        self.lag = gauge("rota_planner_lag_seconds", "How late this server's planner is")

    def count(self, event: Event) -> None:
        """Let the event move the metrics it stands for."""
        match event:
            case LeaseRenewed():
                self.renewal.observe(event.seconds)
            case LeaseLapsed():
                self.lapses.inc()
            case ShardsTaken():
                self.taken.inc(len(event.shards))
            case ShardsReleased():
                self.released.labels(event.why).inc(len(event.shards))
            case RunsStaged():
                self.staged.inc(event.runs)
            case RunAskedBack():
                self.asked_back.inc()
            case PermitsGiven():
                self.permits.inc(event.runs)
            case RestoreSuspected():
                self.restores.inc()
            case InstallationMeasured():
                self._measure(event)
            case _:
                self._count_workers(event)

    def _count_workers(self, event: Event) -> None:
        """Sessions that begin and end."""
        match event:
            case WorkerConnected():
                self.connections.labels("opened").inc()
            case WorkerDisconnected():
                self.connections.labels("ended").inc()
            case WorkerRefused():
                self.connections.labels("refused").inc()
            case WorkerLost():
                self.workers_lost.inc()
                self.attempts_lost.inc(event.lost)
            case _:
                pass

    def _measure(self, event: InstallationMeasured) -> None:
        """Set the gauges; what is not known now keeps its last value, and the first of them says so."""
        self.store_answers.set(event.store_answers)
        self.renewal_age.set(event.renewal_age)
        self.clock.set(event.clock_offset)
        self.lag.set(event.planner_lag)
        self.led.set(event.shards_led)
        self.sessions.set(event.sessions)
        if not event.store_answers:
            return
        for gauge, values in ((self.runs, event.runs), (self.jobs, event.jobs), (self.workers, event.workers)):
            for name, value in values.items():
                gauge.labels(name).set(value)
        self.oldest.set(event.oldest_wait_seconds)
        self.worker_clock.set(event.worker_clock_offset)
        self.servers.set(event.servers)
        self.unled.set(event.shards_unled)


class Metrics:
    """The metrics of a process in a registry of their own."""

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
        self.operation = OperationMetrics(registry)
        self._states: dict[str, Counter] = {}

    def count(self, event: Event) -> None:
        """Let the event move the metrics it stands for."""
        match event:
            case RunEnded():
                self._count_end(event)
            case JobsPlanned():
                self.planned.inc(event.runs)
                self.gaps.inc(event.gaps)
                self.operation.lag.set(event.lag_seconds)
            case RunsAssigned():
                self.assigned.inc(event.runs)
                self.operation.left_out.inc(event.left_out)
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
                self.operation.count(event)
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
            if isinstance(event, ShardsTaken | ShardsReleased):
                fields["shards"] = ranges(event.shards)
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
        if not isinstance(value, int | float | bool | None):
            fields[key] = _CONTROL.sub(_escaped, _words(value))
    return fields


def _words(value: Any) -> str:
    """A value in words: of several, each after a comma."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return ",".join(str(one) for one in value) if isinstance(value, tuple) else str(value)


def _level_of(event: Event) -> int:
    """How much the event matters."""
    if isinstance(event, RunEnded):
        return logging.DEBUG if event.state == "succeeded" else logging.INFO
    if isinstance(event, ServerLost) and event.was_sent:
        return logging.INFO
    if isinstance(event, LoopFailed):
        return logging.DEBUG if event.in_row & (event.in_row - 1) else logging.ERROR
    if isinstance(event, ShardsReleased):
        return logging.INFO if event.why in _WANTED else logging.WARNING
    return LEVELS.get(type(event), logging.INFO)
