"""Plans: what would change, what it means in time, and an id that only depends on that."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from tests.jobfile.spec_strategies import specs

from rota.core.model import Delivery, HttpTask, JobSpec, RetryPolicy, ShellTask
from rota.jobfile.plan import Current, Plan, Wanted, changes_between, plan, worst_case
from rota.jobfile.plan_text import render_plan

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAILY = JobSpec(
    task=HttpTask(method="GET", url="https://example.com/"),
    schedule="every day at 03:00",
    timezone="Europe/Prague",
    timeout=60.0,
    retry=RetryPolicy(tries=2, wait_min=30.0, wait_max=600.0, jitter=0.0),
)


def changed(spec: JobSpec, **values: object) -> JobSpec:
    return msgspec.structs.replace(spec, **values)


def plan_of(old: JobSpec | None, new: JobSpec | None, **options: object) -> Plan:
    current = {} if old is None else {"web/a": Current(old, 12, "/jobs/web.yaml")}
    wanted = {} if new is None else {"web/a": Wanted(new, "/jobs/web.yaml")}
    return plan(current, wanted, NOW, **options)  # type: ignore[arg-type]


def test_a_new_job_shows_when_it_fires() -> None:
    one = plan_of(None, DAILY)
    (item,) = one.items
    assert item.kind == "added"
    assert item.new is not None
    assert (item.new.next, item.new.per_day) == (datetime(2026, 11, 24, 2, 0, tzinfo=UTC), 1.0)
    assert one.has_changes
    assert render_plan(one).splitlines()[0] == (
        "+ web/a   every day at 03:00   next fire Tue 2026-11-24 03:00 Europe/Prague   +1 fires/day"
    )


def test_a_changed_job_shows_each_key_and_what_it_means() -> None:
    new = changed(DAILY, schedule="every day at 03:10", retry=changed(DAILY.retry, tries=4))  # type: ignore[arg-type]
    one = plan_of(DAILY, new)
    (item,) = one.items
    assert [(change.field, change.old, change.new) for change in item.changes] == [
        ("schedule", "every day at 03:00", "every day at 03:10"),
        ("retry.tries", "2", "4"),
    ]
    lines = render_plan(one).splitlines()
    assert lines[0] == "~ web/a   revision 12 → 13"
    assert "next fire Tue 2026-11-24 03:10 Europe/Prague (was Tue 2026-11-24 03:00 Europe/Prague)" in lines[1]
    assert lines[2].endswith("worst case before failing: 2m 30s → 7m 30s")
    assert lines[-1].startswith("1 changed")


def test_a_key_that_was_absent_shows_its_default() -> None:
    changes = changes_between(DAILY, changed(DAILY, timezone="UTC", kill_grace=20.0, delivery=Delivery.AT_MOST_ONCE))
    assert {(change.field, change.old, change.new) for change in changes} == {
        ("timezone", "Europe/Prague", "UTC"),
        ("kill-grace", "10s", "20s"),
        ("delivery", "at-least-once", "at-most-once"),
    }
    (titled,) = changes_between(DAILY, changed(DAILY, title="x"))
    assert (titled.old, titled.new) == (None, "x")


def test_an_unchanged_job_is_no_change() -> None:
    one = plan_of(DAILY, DAILY)
    assert [item.kind for item in one.items] == ["unchanged"]
    assert not one.has_changes
    assert render_plan(one).startswith("no changes: 1 job as in the files\n")


def test_a_job_that_left_its_file_is_kept_without_prune() -> None:
    other = {"web/b": Wanted(DAILY, "/jobs/web.yaml")}
    current = {"web/a": Current(DAILY, 3, "/jobs/web.yaml"), "web/x": Current(DAILY, 1, "/jobs/other.yaml")}
    kept = plan(current, other, NOW)
    assert [(item.kind, item.job) for item in kept.items] == [("kept", "web/a"), ("added", "web/b")]
    assert "= web/a   not in these files, kept; --prune deletes" in render_plan(kept)
    pruned = plan(current, other, NOW, prune=True)
    assert [(item.kind, item.job) for item in pruned.items] == [("removed", "web/a"), ("added", "web/b")]
    assert "- web/a   removed, history kept   −1 fires/day" in render_plan(pruned)
    assert kept.id != pruned.id


def test_a_file_that_is_gone_can_be_named_as_a_source() -> None:
    current = {"web/a": Current(DAILY, 3, "/jobs/gone.yaml"), "api/x": Current(DAILY, 1, None)}
    assert plan(current, {}, NOW, prune=True).items == ()
    one = plan(current, {}, NOW, prune=True, sources=["/jobs/gone.yaml"])
    assert [(item.kind, item.job) for item in one.items] == [("removed", "web/a")]


def test_a_job_of_another_file_is_a_conflict() -> None:
    one = plan({"web/a": Current(DAILY, 3, "/other.yaml")}, {"web/a": Wanted(DAILY, "/jobs/web.yaml")}, NOW)
    assert [item.kind for item in one.conflicts] == ["conflict"]
    assert "✕ web/a   belongs to /other.yaml; a job comes from one file" in render_plan(one)


def test_a_job_may_move_between_files_of_one_plan_and_come_from_the_api() -> None:
    current = {"web/a": Current(DAILY, 3, "/jobs/1.yaml"), "web/b": Current(DAILY, 1, None)}
    wanted = {
        "web/a": Wanted(DAILY, "/jobs/2.yaml"),
        "web/b": Wanted(DAILY, "/jobs/2.yaml"),
        "web/c": Wanted(DAILY, "/jobs/1.yaml"),
    }
    one = plan(current, wanted, NOW)
    assert [(item.kind, [change.field for change in item.changes]) for item in one.items] == [
        ("changed", ["file"]),
        ("changed", ["file"]),
        ("added", []),
    ]
    assert "~ web/a   revision 3\n" in render_plan(one)


def test_the_id_depends_on_what_would_happen_and_not_on_the_time() -> None:
    later = plan({}, {"web/a": Wanted(DAILY, "/f")}, NOW + timedelta(days=3))
    assert plan({}, {"web/a": Wanted(DAILY, "/f")}, NOW).id == later.id
    assert plan({}, {"web/a": Wanted(changed(DAILY, title="x"), "/f")}, NOW).id != later.id
    assert len(later.id) == 8


def test_surprises_of_changed_schedules_are_warned_of() -> None:
    odd = changed(DAILY, schedule="*/7 * * * *")
    assert any("uneven" in warning for warning in plan_of(DAILY, odd).warnings)
    assert plan_of(odd, odd).warnings == ()
    assert "1 warning" in render_plan(plan_of(None, odd))


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (changed(DAILY, timeout=None), None),
        (changed(DAILY, retry=RetryPolicy()), 60.0),
        (changed(DAILY, retry=RetryPolicy(tries=4, wait_min=30.0, wait_max=90.0, jitter=0.0)), 240 + 30 + 60 + 90),
        (changed(DAILY, retry=RetryPolicy(tries=2, wait_min=100.0, wait_max=100.0, jitter=0.5)), 120 + 150),
    ],
)
def test_the_worst_case(spec: JobSpec, seconds: float | None) -> None:
    assert worst_case(spec) == seconds


def test_intervals_count_from_when_the_job_was_made() -> None:
    spec = changed(DAILY, schedule="every 7m")
    anchor = NOW - timedelta(minutes=3)
    one = plan({"web/a": Current(spec, 1, None, anchor)}, {"web/a": Wanted(changed(spec, title="x"), None)}, NOW)
    (item,) = one.items
    assert item.new is not None
    assert item.new.next == anchor + timedelta(minutes=7)


def test_a_rare_job_shows_its_rate_in_days() -> None:
    assert "4 fires in 28 days" in render_plan(plan_of(None, changed(DAILY, schedule="every mon at 03:00")))


def test_a_broken_schedule_does_not_hide_the_plan() -> None:
    broken = changed(DAILY, schedule="no such thing")
    (item,) = plan_of(broken, DAILY).items
    assert item.kind == "changed"


def test_long_values_are_cut() -> None:
    script = ShellTask(command="echo x\n" * 200)
    line = render_plan(plan_of(JobSpec(task=ShellTask(command="true")), JobSpec(task=script))).splitlines()[1]
    assert "⏎" in line
    assert len(line) < 140


@given(specs(), specs())
@settings(max_examples=60, deadline=None)
def test_specs_differ_exactly_when_there_are_changes(old: JobSpec, new: JobSpec) -> None:
    assert bool(changes_between(old, new)) == (old != new)
    assert changes_between(old, old) == ()
    render_plan(plan_of(old, new))
