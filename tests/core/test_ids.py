"""Ids are functions of what they stand for."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON, later

from rota.core import ids
from rota.core.model import JobId, Trigger

JOB = JobId("0d1c3f7e-0000-8000-8000-000000000000")
moments = st.datetimes(datetime(1970, 1, 2), datetime(2399, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))
whole_seconds = moments.map(lambda moment: moment.replace(microsecond=0))


def test_job_id_is_the_same_for_the_same_name_and_differs_otherwise() -> None:
    assert ids.job_id("web", "fetch") == ids.job_id("web", "fetch")
    assert len({ids.job_id("web", "fetch"), ids.job_id("we", "bfetch"), ids.job_id("fetch", "web")}) == 3
    assert uuid.UUID(ids.job_id("web", "fetch")).version == 8


def test_separators_keep_parts_apart() -> None:
    """No two different (namespace, name) pairs can be joined to the same text."""
    assert ids.job_id("a", "b/c") != ids.job_id("a/b", "c")
    assert ids.run_id(JOB, NOON, Trigger.MANUAL, "a", NOON) != ids.run_id(JOB, NOON, Trigger.MANUAL, "b", NOON)


@given(whole_seconds, moments, moments)
def test_scheduled_run_id_does_not_depend_on_when_it_was_created(due: datetime, one: datetime, two: datetime) -> None:
    first = ids.run_id(JOB, due, Trigger.SCHEDULE, "", one)
    assert first == ids.run_id(JOB, due, Trigger.SCHEDULE, "", two)
    assert ids.is_run_id(first)
    assert ids.run_day(first) == due.replace(hour=0, minute=0, second=0, microsecond=0)


@given(whole_seconds, whole_seconds)
def test_other_triggers_belong_to_the_day_of_their_creation(due: datetime, created: datetime) -> None:
    run = ids.run_id(JOB, due, Trigger.MANUAL, "key", created)
    assert ids.run_day(run).date() == created.date()


@given(st.lists(whole_seconds, min_size=2, max_size=20, unique=True))
def test_scheduled_ids_sort_by_due(dues: list[datetime]) -> None:
    made = [ids.run_id(JOB, due, Trigger.SCHEDULE, "", NOON) for due in sorted(dues)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_trigger_is_part_of_the_id() -> None:
    made = {ids.run_id(JOB, NOON, trigger, "", NOON) for trigger in Trigger}
    assert len(made) == len(Trigger)


def test_moment_before_1970_is_not_negative() -> None:
    old = datetime(1960, 1, 1, tzinfo=UTC)
    assert ids.run_day(ids.run_id(JOB, old, Trigger.SCHEDULE, "", old)) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "0d1c3f7e-0000-4000-8000-000000000000",  # version 4
        "0D1C3F7E-0000-8000-8000-000000000000",  # upper case
        "{0d1c3f7e-0000-8000-8000-000000000000}",
        "0d1c3f7e000080008000000000000000",
        "0d1c3f7e-0000-8000-8000-00000000000g",
    ],
)
def test_other_writings_are_no_run_ids(text: str) -> None:
    assert not ids.is_run_id(text)


@given(st.integers(1, 2**13 - 1), st.integers(0, 2**40 - 1))
def test_fences_fit_into_a_double_and_grow_with_the_incarnation(incarnation: int, counter: int) -> None:
    fence = ids.fence(incarnation, counter)
    assert fence < 2**53
    assert int(float(fence)) == fence
    assert ids.fence(incarnation, 2**40 - 1) < ids.fence(incarnation + 1, 0)


def test_fences_of_one_incarnation_grow_with_the_counter() -> None:
    assert ids.fence(1, 5) < ids.fence(1, 6)


def test_two_runs_a_millisecond_apart_differ() -> None:
    assert ids.run_id(JOB, NOON, Trigger.MANUAL, "k", NOON) != ids.run_id(
        JOB, NOON, Trigger.MANUAL, "k", NOON + timedelta(milliseconds=1)
    )
    assert later(0) == NOON
