"""Events become log lines and metrics."""

import io
import json
import logging
from datetime import UTC, datetime

import pytest
from prometheus_client import generate_latest

from rota import events
from rota.events import (
    ClockStepped,
    Event,
    InstallationMeasured,
    JobsChanged,
    JobsPlanned,
    LeaseLapsed,
    LoopFailed,
    NoticeFailed,
    NoticeSent,
    RunEnded,
    RunRequeued,
    ShardsReleased,
    ShardsTaken,
    WorkerLost,
)
from rota.telemetry import Metrics, Telemetry, make_log


class Lines:
    """What was logged, and counted."""

    def __init__(self, *, json_lines: bool = True, level: int = logging.DEBUG) -> None:
        self.stream = io.StringIO()
        self.metrics = Metrics()
        self.emit = Telemetry(self.metrics, make_log(self.stream, json=json_lines, level=level), level).emit

    def text(self) -> str:
        return self.stream.getvalue()

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def metric(self, name: str) -> float:
        found = [line for line in generate_latest(self.metrics.registry).decode().splitlines() if line.startswith(name)]
        return float(found[0].rsplit(" ", 1)[1])


def ended(state: str, seconds: float | None = 1.5) -> RunEnded:
    return RunEnded(run="r", job="a/b", state=state, seconds=seconds, waited_seconds=0.1)


def samples() -> list[Event]:
    """One of every event, its fields filled by type."""
    values = {
        str: "x",
        int: 3,
        float: 1.0,
        bool: True,
        datetime: datetime(2026, 6, 1, tzinfo=UTC),
        dict[int, int]: {0: 1},
        dict[str, int]: {"up": 1},
        tuple[int, ...]: (0, 1, 2, 5),
    }
    found = []
    for kind in Event.__subclasses__():
        hints = kind.__annotations__
        fields = {name: values.get(hint, "x" if "str" in str(hint) else 1.0) for name, hint in hints.items()}
        found.append(kind(**fields))
    return found


@pytest.mark.parametrize("event", samples(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("json_lines", [True, False])
def test_every_event_is_one_line_named_after_it(event: Event, json_lines: bool) -> None:
    lines = Lines(json_lines=json_lines)
    lines.emit(event)
    assert lines.text().count("\n") == 1
    assert type(event).__name__ in lines.text()
    assert type(event).__doc__


def test_line_carries_the_event_s_fields() -> None:
    lines = Lines()
    lines.emit(ended("failed"))
    (record,) = lines.records()
    assert (record["event"], record["level"], record["job"], record["seconds"]) == ("RunEnded", "info", "a/b", 1.5)


def test_field_named_event_does_not_hide_the_name() -> None:
    lines = Lines()
    lines.emit(NoticeSent(event="failed", route="mail:x", job="a/b"))
    assert (lines.records()[0]["event"], lines.records()[0]["what"]) == ("NoticeSent", "failed")


def test_success_is_quiet_failure_is_not() -> None:
    lines = Lines(level=logging.INFO)
    lines.emit(ended("succeeded"))
    assert lines.text() == ""
    lines.emit(ended("timed-out"))
    assert len(lines.records()) == 1


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (LoopFailed(loop="planner", error="x", in_row=1, traceback="y"), "error"),
        (ClockStepped(seconds=3.0, at=datetime(2026, 6, 1, tzinfo=UTC)), "warning"),
        (JobsPlanned(jobs=1, runs=1, gaps=0, lag_seconds=0.0), "debug"),
        (RunRequeued(run="r", job="a/b", reason="RETRY_WAIT"), "info"),
    ],
)
def test_levels(event: Event, level: str) -> None:
    lines = Lines()
    lines.emit(event)
    assert lines.records()[0]["level"] == level


def test_a_loop_that_goes_on_failing_is_written_down_ever_more_seldom() -> None:
    lines = Lines(level=logging.INFO)
    for number in range(1, 101):
        lines.emit(LoopFailed(loop="planner", error="x", in_row=number, traceback=""))
    assert [line["in_row"] for line in lines.records()] == [1, 2, 4, 8, 16, 32, 64]
    assert lines.metric('rota_loop_failures_total{loop="planner"}') == 100


@pytest.mark.parametrize("json_lines", [True, False])
def test_hostile_text_forges_no_line_and_moves_no_cursor(json_lines: bool) -> None:
    lines = Lines(json_lines=json_lines)
    lines.emit(
        LoopFailed(loop="x", error="a\nlevel=error event=Forged\r\x1b[2J\x00\x9b31m\u2028", in_row=1, traceback="t")
    )
    assert len(lines.text().splitlines()) == 1
    assert not set(lines.text()[:-1]) & set("\n\r\x1b\x00\x9b")


def test_several_values_are_told_in_words() -> None:
    lines = Lines(json_lines=False)
    lines.emit(JobsChanged(actor="anna", created=2, changed=0, removed=0, names=("demo/hello", "web/a\nb")))
    assert "names=demo/hello,web/a\\nb" in lines.text()
    lines.emit(InstallationMeasured(store_answers=True, runs={"queued": 2, "running": 1}))
    assert 'runs="queued=2,running=1"' in lines.text()


def test_metrics_follow_the_events() -> None:
    lines = Lines()
    for event in (
        ended("succeeded"),
        ended("succeeded"),
        ended("failed"),
        ended("skipped", None),
        JobsPlanned(jobs=2, runs=5, gaps=1, lag_seconds=0.25),
        events.RunsAssigned(runs=4, left_out=1),
        events.ReportRefused(run="r", fence=3),
        LoopFailed(loop="planner", error="x", in_row=1, traceback="y"),
        NoticeSent(event="failed", route="mail:x", job=None),
        NoticeFailed(event="failed", route="mail:x", error="x", tries=1, given_up=False),
        RunRequeued(run="r", job="a/b", reason="LOST"),
    ):
        lines.emit(event)
    expected = {
        'rota_runs_ended_total{state="succeeded"}': 2,
        'rota_runs_ended_total{state="failed"}': 1,
        "rota_run_seconds_count": 3,
        "rota_run_wait_seconds_count": 4,
        "rota_runs_planned_total": 5,
        "rota_gaps_total": 1,
        "rota_planner_lag_seconds": 0.25,
        "rota_runs_assigned_total": 4,
        "rota_reports_refused_total": 1,
        "rota_runs_requeued_total": 1,
        'rota_loop_failures_total{loop="planner"}': 1,
        'rota_notices_total{outcome="sent"}': 1,
        'rota_notices_total{outcome="failed"}': 1,
    }
    assert {name: lines.metric(name) for name in expected} == expected


def test_quiet_events_are_counted_all_the_same() -> None:
    lines = Lines(level=logging.ERROR)
    lines.emit(ended("succeeded"))
    assert lines.metric('rota_runs_ended_total{state="succeeded"}') == 1
    assert lines.text() == ""


def test_losses_are_warnings_and_what_was_wished_is_not() -> None:
    lines = Lines()
    for event in (
        LeaseLapsed(server="a", error="x"),
        WorkerLost(worker="w", session=1, lost=2),
        ShardsReleased(server="a", shards=(1, 2, 3, 9), why="taken by another server"),
        ShardsReleased(server="a", shards=(1,), why="given up"),
        ShardsTaken(server="a", shards=tuple(range(32))),
        events.ServerLost(server="a", worker="w", was_sent=False),
        events.ServerLost(server="a", worker="w", was_sent=True),
    ):
        lines.emit(event)
    records = lines.records()
    assert [one["level"] for one in records] == ["warning"] * 3 + ["info"] * 2 + ["warning", "info"]
    assert records[2]["shards"] == "1-3, 9"
    assert records[4]["shards"] == "0-31"
    assert lines.metric("rota_attempts_lost_total") == 2
    assert lines.metric("rota_shards_taken_total") == 32
    assert lines.metric('rota_shards_released_total{why="given up"}') == 1
    assert lines.metric("rota_lease_lapses_total") == 1
