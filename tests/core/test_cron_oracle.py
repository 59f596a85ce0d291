"""The engine against the brute-force oracle: every zone of the sample, its changes of clocks, every policy."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from brute_force import Oracle, interval_instants
from cron_samples import EVERYDAY, SECONDS, SPECIAL, ZONES, moments

from rota.core.schedule import DstPolicy, Schedule, compile_schedule
from rota.core.zones import zone_info

EXPRESSIONS = EVERYDAY + SPECIAL + SECONDS
INTERVALS = (60, 300, 900, 1800, 3600, 5400, 7200, 10_800, 14_400, 21_600, 43_200, 86_400)
MANY = 1_000_000


def assert_same(schedule: Schedule, expected: list[datetime], start: datetime, end: datetime) -> None:
    """Forwards, backwards and counted, the schedule says what the oracle says."""
    where = (schedule, start, end)
    assert [occurrence.due for occurrence in schedule.between(start, end, MANY)] == expected, where
    assert [occurrence.due for occurrence in schedule.latest(start, end, MANY)] == expected, where
    assert schedule.count(start, end) == len(expected), where


@pytest.mark.parametrize("zone", ZONES)
def test_cron_agrees_with_brute_force(zone: str) -> None:
    random = Random(f"oracle {zone}")
    compared = 0
    for moment in moments(random, zone, 3):
        start, end = moment - timedelta(days=1, seconds=random.randrange(9000)), moment + timedelta(days=1)
        for expression in ["30 2 * * *", *random.sample(EXPRESSIONS, 5)]:
            policy = random.choice(list(DstPolicy))
            expected = Oracle(expression, zone_info(zone), policy.value).between(start, end)
            assert_same(compile_schedule(expression, timezone=zone, dst=policy), expected, start, end)
            compared += len(expected)
    assert compared > 10


@pytest.mark.parametrize("zone", ZONES)
def test_wildcards_and_intervals_agree_with_brute_force(zone: str) -> None:
    random = Random(f"intervals {zone}")
    compared = 0
    for moment in moments(random, zone, 1):
        start, end = moment - timedelta(days=1, seconds=random.randrange(9000)), moment + timedelta(days=1)
        seconds = random.choice(INTERVALS)
        expected = interval_instants(seconds, zone_info(zone), start, end)
        assert_same(compile_schedule(f"every {seconds}s", timezone=zone), expected, start, end)
        every_minute = Oracle("* * * * *", zone_info(zone)).between(start, end)
        assert_same(compile_schedule("* * * * *", timezone=zone), every_minute, start, end)
        compared += len(expected) + len(every_minute)
    assert compared > 2_500


@pytest.mark.parametrize("expression", [*SPECIAL, "0 0 29 2 1", "0 12 31 3-12/2 *", "30 2 * 3,10 0"])
def test_sparse_expressions_agree_with_brute_force_over_years(expression: str) -> None:
    start, end = datetime(2026, 12, 31, 5, tzinfo=UTC), datetime(2031, 6, 1, tzinfo=UTC)
    expected = Oracle(expression, zone_info("America/New_York")).between(start, end)
    assert_same(compile_schedule(expression, timezone="America/New_York"), expected, start, end)


def test_seconds_agree_with_brute_force_through_a_change_of_clocks() -> None:
    start, end = datetime(2027, 10, 31, 0, tzinfo=UTC), datetime(2027, 10, 31, 2, tzinfo=UTC)
    expected = Oracle("*/2 * * * * *", zone_info("Europe/Berlin")).between(start, end)
    assert len(expected) == 2 * 1800
    assert_same(compile_schedule("*/2 * * * * *", timezone="Europe/Berlin"), expected, start, end)


def test_the_oracle_can_disagree() -> None:
    start, end = datetime(2027, 3, 27, tzinfo=UTC), datetime(2027, 3, 30, tzinfo=UTC)
    expected = Oracle("30 2 * * *", zone_info("Europe/Berlin"), "skip").between(start, end)
    with pytest.raises(AssertionError):
        assert_same(compile_schedule("30 2 * * *", timezone="Europe/Berlin"), expected, start, end)
