"""The series beneath schedules: time tables, intervals aligned and anchored, given instants."""

from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest

from rota.core.cron_dates import EVERY_DAY, DateRule, date_table
from rota.core.cron_series import (
    DAY,
    AlignedSeries,
    AnchoredSeries,
    ClockSeries,
    DstPolicy,
    FixedSeries,
    Series,
    time_table,
)
from rota.core.zones import load_zone

BERLIN = load_zone("Europe/Berlin")
NOON = int(datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp())


def forwards(series: Series, start: int, end: int) -> list[int]:
    found, instant = [], series.next(start)
    while instant is not None and instant <= end:
        found.append(instant)
        instant = series.next(instant)
    return found


def backwards(series: Series, start: int, end: int) -> list[int]:
    found, instant = [], series.previous(end)
    while instant is not None and instant > start:
        found.append(instant)
        instant = series.previous(instant - 1)
    return found[::-1]


SERIES: dict[str, Series] = {
    "clock, fixed": ClockSeries([7200, 9000, 86_399], date_table(EVERY_DAY), BERLIN, DstPolicy.VIXIE),
    "clock, twice": ClockSeries([7200, 9000], date_table(EVERY_DAY), BERLIN, DstPolicy.RUN_TWICE),
    "clock, second": ClockSeries([7200, 9000], date_table(EVERY_DAY), BERLIN, DstPolicy.SECOND),
    "clock, skip": ClockSeries([7200, 9000], date_table(EVERY_DAY), BERLIN, DstPolicy.SKIP),
    "clock, elapsed": ClockSeries([7200, 9000], date_table(EVERY_DAY), BERLIN, None),
    "clock, sundays": ClockSeries([9000], date_table(DateRule(weekdays=1)), BERLIN, DstPolicy.VIXIE),
    "aligned": AlignedSeries(7200, BERLIN),
    "aligned, a whole day": AlignedSeries(DAY, BERLIN),
    "anchored": AnchoredSeries(25_000, NOON - 12_345),
    "fixed": FixedSeries([NOON + 5, NOON, NOON + 400 * DAY]),
}


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_forwards_backwards_and_counted_are_the_same(series: Series) -> None:
    random = Random("series")
    for _ in range(30):
        start = NOON + random.randrange(-3 * DAY, 400 * DAY)
        end = start + random.randrange(20 * DAY)
        found = forwards(series, start, end)
        assert backwards(series, start, end) == found
        assert series.count(start, end) == len(found)
        assert series.count(start, start) == 0


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_answers_do_not_depend_on_earlier_questions(series: Series) -> None:
    random = Random("order")
    questions = [NOON + random.randrange(-300 * DAY, 300 * DAY) for _ in range(200)]
    answers = {question: (series.next(question), series.previous(question)) for question in sorted(questions)}
    for question in questions:
        assert (series.next(question), series.previous(question)) == answers[question]


def test_no_two_aligned_instants_are_further_apart_than_the_interval() -> None:
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia"):
        series = AlignedSeries(4 * 3600, load_zone(zone))
        found = forwards(series, 1_300_000_000, 1_330_000_000)
        gaps = {later - earlier for earlier, later in pairwise(found)}
        assert max(gaps) == 4 * 3600
        assert min(gaps) > 0


def test_an_anchored_series_begins_with_its_anchor() -> None:
    series = AnchoredSeries(100, 1000)
    assert [series.next(instant) for instant in (0, 999, 1000, 1099, 1100)] == [1000, 1000, 1100, 1100, 1200]
    assert [series.previous(instant) for instant in (999, 1000, 1099, 1100)] == [None, 1000, 1000, 1100]
    assert series.count(0, 1100) == 2
    assert series.count(1100, 0) == 0


def test_time_tables_are_sorted_shared_and_packed_when_large() -> None:
    assert list(time_table(1, 1 << 30, 1 << 2 | 1 << 5)) == [9000, 19_800]
    every_second = time_table((1 << 60) - 1, (1 << 60) - 1, (1 << 24) - 1)
    assert list(every_second) == list(range(DAY))
    assert getattr(every_second, "itemsize", None) == 4
    assert time_table(1, 1, 1) is time_table(1, 1, 1)
