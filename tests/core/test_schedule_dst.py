"""Daylight saving as the reference promises it: the whole `dst:` table, the star rule, and odd zones."""

from datetime import UTC, datetime

import pytest

from rota.core.schedule import DstPolicy, compile_schedule
from rota.core.schedule_errors import ScheduleError
from rota.core.zones import zone_info

BERLIN = "Europe/Berlin"
SPRING = datetime(2027, 3, 28, tzinfo=zone_info(BERLIN))  # 02:00 → 03:00
AUTUMN = datetime(2027, 10, 31, tzinfo=zone_info(BERLIN))  # 03:00 → 02:00
GAP_END = "01:00"
FIRST, SECOND = "00:30", "01:30"


def utc_times(text: str, day: datetime, policy: DstPolicy = DstPolicy.VIXIE) -> list[str]:
    """The UTC clock times of one local day of Berlin."""
    schedule = compile_schedule(text, timezone=BERLIN, dst=policy)
    end = day.replace(hour=23, minute=59, second=59)
    start = datetime.fromtimestamp(day.timestamp() - 1, UTC)
    return [f"{found.due:%H:%M}" for found in schedule.between(start, end, 1000)]


@pytest.mark.parametrize(
    ("policy", "gap", "repeated"),
    [
        (DstPolicy.VIXIE, [GAP_END], [FIRST]),
        (DstPolicy.SKIP, [], [FIRST]),
        (DstPolicy.RUN_TWICE, [GAP_END], [FIRST, SECOND]),
        (DstPolicy.SECOND, [GAP_END], [SECOND]),
    ],
)
@pytest.mark.parametrize("text", ["30 2 * * *", "every day at 02:30", "0 30 2 * * *", "30 2 * * sun"])
def test_the_table_of_policies(text: str, policy: DstPolicy, gap: list[str], repeated: list[str]) -> None:
    assert utc_times(text, SPRING, policy) == gap
    assert utc_times(text, AUTUMN, policy) == repeated


@pytest.mark.parametrize("policy", DstPolicy)
@pytest.mark.parametrize(
    ("text", "spring", "autumn"),
    [
        ("*/30 2 * * *", [], ["00:00", "00:30", "01:00", "01:30"]),
        ("30 */2 * * *", 11, 13),
        ("0 * * * *", 23, 25),
        ("hourly at :30", 23, 25),
        ("H/15 * * * *", 92, 100),
        ("every 30m", 46, 50),
        ("* 30 2 * * *", 0, 120),
    ],
)
def test_wildcards_follow_elapsed_time_under_every_policy(
    text: str, spring: list[str] | int, autumn: list[str] | int, policy: DstPolicy
) -> None:
    for day, expected in ((SPRING, spring), (AUTUMN, autumn)):
        found = utc_times(text, day, policy)
        assert found == expected if isinstance(expected, list) else len(found) == expected


def test_several_times_in_one_gap_are_one_instant() -> None:
    assert utc_times("0,15,30 2 * * *", SPRING) == [GAP_END]
    assert utc_times("0 2,3 * * *", SPRING) == [GAP_END]


def test_the_end_of_a_gap_is_counted_once() -> None:
    end = SPRING.replace(hour=23)
    for text in ("0 2,3 * * *", "0 2 * * *", "0 3 * * *"):
        schedule = compile_schedule(text, timezone=BERLIN)
        assert schedule.count(SPRING, end) == len(schedule.between(SPRING, end, 10)) == 1


def test_jitter_gives_way_where_a_gap_pushes_two_times_together() -> None:
    for number in range(40):
        schedule = compile_schedule("every day at 02:30, 03:10, random 40m", timezone=BERLIN, name=f"web/{number}")
        pushed, following = schedule.between(SPRING, SPRING.replace(hour=12), 2)
        assert pushed.nominal == datetime(2027, 3, 28, 1, tzinfo=UTC)
        assert pushed.due < following.nominal == datetime(2027, 3, 28, 1, 10, tzinfo=UTC)
        assert schedule.previous(following.due) == following


def test_listed_hours_are_fixed_times_even_if_they_are_all_hours() -> None:
    assert len(utc_times("0 0-23 * * *", SPRING)) == 23
    assert len(utc_times("0 0-23 * * *", AUTUMN)) == 24


def test_the_day_of_a_time_in_the_gap_is_its_own_local_day() -> None:
    assert utc_times("30 2 * * sun", SPRING) == [GAP_END]
    assert utc_times("30 2 * * mon", SPRING) == []


def test_an_interval_of_hours_keeps_its_distance_and_restarts_at_midnight() -> None:
    spring = ["23:00", "05:00", "11:00", "17:00"]
    assert utc_times("every 6h", SPRING) == spring
    assert utc_times("every 6h", AUTUMN) == ["22:00", "04:00", "10:00", "16:00", "22:00"]


def test_a_midnight_in_the_gap_runs_when_the_day_begins() -> None:
    schedule = compile_schedule("every day at 00:00", timezone="America/Havana")
    found = schedule.next(datetime(2024, 3, 9, 12, tzinfo=UTC))
    assert found is not None
    assert found.due.astimezone(zone_info("America/Havana")).isoformat() == "2024-03-10T01:00:00-04:00"


def test_a_day_that_a_zone_left_out_runs_at_its_end() -> None:
    schedule = compile_schedule("0 3 * * *", timezone="Pacific/Apia")
    zone = zone_info("Pacific/Apia")
    start, end = datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, tzinfo=UTC)
    local = [f"{found.due.astimezone(zone):%d %H:%M}" for found in schedule.between(start, end, 10)]
    assert local == ["29 03:00", "31 00:00", "31 03:00"]
    assert compile_schedule("0 3 * * *", timezone="Pacific/Apia", dst=DstPolicy.SKIP).count(start, end) == 2


def test_once_in_the_gap_runs_at_its_end_unless_skipped() -> None:
    found = compile_schedule(None, at="2027-03-28 02:30", timezone=BERLIN).next(SPRING)
    assert found is not None
    assert found.due == datetime(2027, 3, 28, 1, tzinfo=UTC)
    with pytest.raises(ScheduleError, match="does not exist in Europe/Berlin"):
        compile_schedule(None, at="2027-03-28 02:30", timezone=BERLIN, dst=DstPolicy.SKIP)


@pytest.mark.parametrize(("policy", "hour"), [(DstPolicy.VIXIE, 0), (DstPolicy.RUN_TWICE, 0), (DstPolicy.SECOND, 1)])
def test_once_in_a_repeated_hour_runs_once(policy: DstPolicy, hour: int) -> None:
    schedule = compile_schedule(None, at="2027-10-31 02:30", timezone=BERLIN, dst=policy)
    found = schedule.between(AUTUMN, datetime(2028, 1, 1, tzinfo=UTC), 10)
    assert [occurrence.due for occurrence in found] == [datetime(2027, 10, 31, hour, 30, tzinfo=UTC)]
