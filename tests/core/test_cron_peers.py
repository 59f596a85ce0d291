"""The engine against cronsim and croniter, and the written list of known differences."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from cron_peers import KNOWN, WALKS, Difference, croniter_comparable, cronsim_comparable, cronsim_stumbles
from cron_samples import EVERYDAY, SECONDS, SPECIAL, ZONES, moments, random_expression
from cronsim import CronSimError

from rota.core.schedule import compile_schedule
from rota.core.schedule_errors import ScheduleError
from rota.core.zones import zone_info

EXPRESSIONS = [expression for expression in EVERYDAY + SPECIAL if cronsim_comparable(expression)]


def ours(expression: str, zone: str, after: datetime, number: int) -> list[datetime]:
    schedule = compile_schedule(expression, timezone=zone)
    return [occurrence.due for occurrence in schedule.between(after, datetime(2400, 1, 1, tzinfo=UTC), number)]


def theirs(peer: str, expression: str, zone: str, after: datetime, number: int) -> list[datetime]:
    walked = WALKS[peer](expression, zone_info(zone), after, number)
    return [instant for instant in walked if instant.year < 2400]


@pytest.mark.parametrize("zone", ZONES)
def test_agrees_with_cronsim_around_changes_of_clocks(zone: str) -> None:
    random = Random(f"cronsim {zone}")
    compared = 0
    for moment in moments(random, zone, 10):
        start = (moment - timedelta(days=1)).replace(second=0)
        for expression in random.sample(EXPRESSIONS, 5):
            if cronsim_stumbles(expression, zone, start):
                continue
            expected = theirs("cronsim", expression, zone, start, 40)
            assert ours(expression, zone, start, 40) == expected, (expression, start)
            compared += len(expected)
    assert compared > 1_000


def random_expressions(seed: str, number: int) -> list[str]:
    random = Random(seed)
    found: list[str] = []
    while len(found) < number:
        expression = random_expression(random)
        try:
            compile_schedule(expression)
        except ScheduleError:
            continue
        found.append(expression)
    return found


def test_agrees_with_cronsim_on_random_expressions() -> None:
    random = Random("random cronsim")
    compared = 0
    for expression in filter(cronsim_comparable, random_expressions("for cronsim", 250)):
        zone = random.choice(ZONES)
        start = datetime.fromtimestamp(random.randrange(10**9, 3 * 10**9), UTC)
        expected = theirs("cronsim", expression, zone, start, 30)
        assert ours(expression, zone, start, 30) == expected, (expression, zone, start)
        compared += len(expected)
    assert compared > 6_000


def test_agrees_with_croniter_where_clocks_never_change() -> None:
    start = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)
    compared = 0
    for expression in EVERYDAY + SPECIAL + SECONDS + random_expressions("for croniter", 150):
        if not croniter_comparable(expression):
            continue
        for zone in ("UTC", "Asia/Kolkata"):
            expected = theirs("croniter", expression, zone, start, 20)
            assert ours(expression, zone, start, 20) == expected, (expression, zone)
            compared += len(expected)
    assert compared > 5_000


@pytest.mark.parametrize("difference", KNOWN, ids=lambda known: f"{known.peer}: {known.what}")
def test_the_known_differences_are_still_true(difference: Difference) -> None:
    after = datetime.fromisoformat(difference.after)
    assert ours(difference.expression, difference.zone, after, 1) == [datetime.fromisoformat(difference.ours)]
    walk = WALKS[difference.peer]
    arguments = (difference.expression, zone_info(difference.zone), after, 1)
    if difference.theirs is None:
        with pytest.raises((ValueError, CronSimError)):
            walk(*arguments)
    else:
        assert walk(*arguments) == [datetime.fromisoformat(difference.theirs)]
