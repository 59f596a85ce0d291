"""Compiled schedules: the methods, spread and random, from and until, once, none, warnings and words."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from rota.core.errors import Invalid
from rota.core.schedule import Occurrence, compile_schedule, describe
from rota.core.schedule_errors import ScheduleError
from rota.core.schedule_times import duration_text

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
BERLIN = "Europe/Berlin"


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def test_a_daily_schedule_in_its_zone() -> None:
    schedule = compile_schedule("every day at 03:00", timezone=BERLIN)
    assert schedule.next(START) == Occurrence(at(2026, 11, 24, 2), at(2026, 11, 24, 2))
    assert schedule.previous(START) == Occurrence(at(2026, 11, 23, 2), at(2026, 11, 23, 2))
    assert schedule.count(at(2026, 1, 1), at(2027, 1, 1)) == 365
    assert (schedule.text, schedule.timezone) == ("every day at 03:00", BERLIN)
    assert repr(schedule) == "Schedule('every day at 03:00', timezone='Europe/Berlin')"


def test_next_is_strictly_after_and_previous_includes() -> None:
    schedule = compile_schedule("0 * * * *")
    noon, one = at(2026, 11, 23, 12), at(2026, 11, 23, 13)
    tick = timedelta(microseconds=1)
    assert [schedule.next(moment).due for moment in (noon - tick, noon, noon + tick)] == [noon, one, one]  # type: ignore[union-attr]
    assert [schedule.previous(moment).due for moment in (one - tick, one, one + tick)] == [noon, one, one]  # type: ignore[union-attr]


def test_moments_of_any_offset_are_understood_and_naive_ones_refused() -> None:
    schedule = compile_schedule("0 * * * *")
    tokyo = timezone(timedelta(hours=9))
    assert schedule.next(START.astimezone(tokyo)) == schedule.next(START)
    with pytest.raises(ValueError, match="has no timezone"):
        schedule.next(datetime(2026, 11, 23))


def test_decades_of_seconds_are_counted_at_once() -> None:
    schedule = compile_schedule("* * * * * *", timezone=BERLIN)
    assert schedule.count(at(1970, 1, 1), at(2390, 1, 1)) == (at(2390, 1, 1) - at(1970, 1, 1)).total_seconds()
    newest = schedule.latest(at(1970, 1, 1), at(2390, 1, 1), 2)
    assert [occurrence.due for occurrence in newest] == [at(2389, 12, 31, 23, 59, 59), at(2390, 1, 1)]


def test_the_range_is_1970_to_2399() -> None:
    schedule = compile_schedule("0 0 * * *")
    first, last = schedule.next(datetime.min.replace(tzinfo=UTC)), schedule.previous(datetime.max.replace(tzinfo=UTC))
    assert first is not None
    assert last is not None
    assert (first.due, last.due) == (at(1970, 1, 1), at(2399, 12, 31))
    assert schedule.next(at(2399, 12, 31)) is None
    assert schedule.previous(at(1969, 12, 31, 23)) is None
    assert schedule.next(datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Monrovia"])
def test_the_edges_of_the_range_hold_in_every_zone(zone: str) -> None:
    for text in ("0 0 * * *", "*/5 * * * *", "30 2 L * 5", "every 5m", "0 0 29 2 *"):
        schedule = compile_schedule(text, timezone=zone)
        first, last = schedule.next(at(1969, 1, 1)), schedule.previous(at(2500, 1, 1))
        assert first is not None
        assert last is not None
        assert first.due >= at(1970, 1, 1)
        assert last.due < at(2400, 1, 1)
        assert schedule.count(at(1969, 1, 1), first.due) == 1


def test_spread_shifts_due_and_keeps_nominal() -> None:
    found = {}
    for name in ("web/a", "web/b", "web/c"):
        occurrence = compile_schedule("0 3 * * *, spread 20m", name=name).next(START)
        assert occurrence is not None
        assert occurrence.nominal == at(2026, 11, 24, 3)
        found[name] = occurrence.due - occurrence.nominal
    assert len(set(found.values())) == 3
    assert all(timedelta(0) <= shift < timedelta(minutes=20) for shift in found.values())


def test_spread_is_the_same_on_every_machine() -> None:
    occurrence = compile_schedule("0 3 * * *, spread 20m", name="web/a").next(START)
    assert occurrence is not None
    assert occurrence.due == at(2026, 11, 24, 3, 7, 45)


def test_random_differs_from_instant_to_instant_and_is_repeatable() -> None:
    schedule = compile_schedule("0 3 * * *, random 20m", name="web/a")
    found = schedule.between(START, START + timedelta(days=30), 30)
    assert len({occurrence.due - occurrence.nominal for occurrence in found}) > 25
    again = compile_schedule("0 3 * * *, random 20m", name="web/a")
    assert again.latest(START, START + timedelta(days=30), 30) == found


def test_random_as_long_as_the_interval_never_reorders() -> None:
    schedule = compile_schedule("every 5m, random 5m", timezone=BERLIN, name="web/a")
    found = schedule.between(at(2027, 10, 30), at(2027, 11, 1), 10_000)
    assert len(found) == 2 * 288
    assert all(earlier.due < later.due for earlier, later in pairwise(found))


def test_from_and_until_include_their_days() -> None:
    schedule = compile_schedule("0 0,23 * * *, from 2027-01-04, until 2027-01-05", timezone=BERLIN)
    expected = [at(2027, 1, 3, 23), at(2027, 1, 4, 22), at(2027, 1, 4, 23), at(2027, 1, 5, 22)]
    assert [found.due for found in schedule.between(START, at(2028, 1, 1), 10)] == expected
    assert [found.due for found in schedule.latest(START, at(2028, 1, 1), 10)] == expected
    assert schedule.count(START, at(2028, 1, 1)) == 4
    assert schedule.next(expected[-1]) is None
    assert schedule.previous(expected[0] - timedelta(seconds=1)) is None
    assert "there are no more instants: all of them lie in the past" in schedule.warnings(at(2028, 1, 1))


def test_from_and_until_may_have_times_and_offsets() -> None:
    text = "0 * * * *, from 2027-01-04 10:00, until 2027-01-04T12:00Z"
    schedule = compile_schedule(text, timezone=BERLIN)
    expected = [at(2027, 1, 4, hour) for hour in (9, 10, 11, 12)]
    assert [found.due for found in schedule.between(START, at(2028, 1, 1), 10)] == expected


def test_jitter_of_the_last_instant_may_reach_past_until() -> None:
    schedule = compile_schedule("every 1h, random 1h, until 2027-01-04T12:00Z", name="web/a")
    last = schedule.previous(at(2028, 1, 1))
    assert last is not None
    assert last.nominal == at(2027, 1, 4, 12)
    assert schedule.next(last.due - timedelta(seconds=1)) == last
    assert schedule.next(last.due) is None


def test_intervals_that_do_not_divide_a_day_count_from_their_anchor() -> None:
    anchor = at(2026, 11, 23, 10, 30)
    schedule = compile_schedule("every 7h", timezone=BERLIN, anchor=anchor)
    found = schedule.between(anchor, anchor + timedelta(days=2), 3)
    assert [occurrence.due for occurrence in found] == [anchor + timedelta(hours=hours) for hours in (7, 14, 21)]
    assert schedule.previous(anchor - timedelta(seconds=1)) is None
    assert schedule.count(at(2000, 1, 1), anchor) == 1


def test_an_interval_that_divides_a_day_ignores_its_anchor() -> None:
    aligned = compile_schedule("every 6h", timezone=BERLIN, anchor=at(2026, 11, 23, 10, 30)).next(START)
    assert aligned is not None
    assert aligned.due == at(2026, 11, 23, 17)


def test_from_anchors_an_interval_without_an_anchor() -> None:
    found = compile_schedule("every 7h, from 2026-12-01").between(START, at(2027, 1, 1), 2)
    assert [occurrence.due for occurrence in found] == [at(2026, 12, 1), at(2026, 12, 1, 7)]


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2026-12-05 22:00", at(2026, 12, 5, 21)),
        ("2026-12-05T22:00:30", at(2026, 12, 5, 21, 0, 30)),
        (" 2026-12-05 22:00Z ", at(2026, 12, 5, 22)),
        ("2026-12-05 22:00+05:30", at(2026, 12, 5, 16, 30)),
    ],
)
def test_once(text: str, due: datetime) -> None:
    schedule = compile_schedule(None, at=text, timezone=BERLIN)
    assert schedule.next(START) == Occurrence(due, due)
    assert schedule.previous(due) == Occurrence(due, due)
    assert schedule.next(due) is None
    assert schedule.count(START, at(2027, 1, 1)) == 1
    assert not schedule.is_empty
    assert schedule.words.startswith("once at 2026-12-05")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-12-05", "has no time of day"),
        ("2026-13-05 22:00", "not a date of the calendar"),
        ("2026-12-05 25:00", "not a time of day"),
        ("2026-12-05 22:00+99:00", "not a date of the calendar"),
        ("0001-01-01 00:00", "between 1970 and 2399"),
        ("9999-01-01 00:00", "between 1970 and 2399"),
        ("tomorrow", "not a date"),
        ("", "empty"),
        ("２０２６-12-05 22:00", "U+FF12"),
        ("2026-12-05 22:00" * 1000, "16000 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_once_refused(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message.replace("+", r"\+")):
        compile_schedule(None, at=text)


def test_schedule_and_at_exclude_each_other() -> None:
    with pytest.raises(ScheduleError, match="exclude each other"):
        compile_schedule("0 3 * * *", at="2026-12-05 22:00")


@pytest.mark.parametrize(("text", "starts"), [(None, False), ("at start", True)])
def test_schedules_without_instants(text: str | None, starts: bool) -> None:
    schedule = compile_schedule(text)
    assert schedule.is_empty
    assert schedule.triggers_at_start is starts
    assert schedule.next(START) is schedule.previous(START) is None
    assert schedule.count(at(1970, 1, 1), at(2399, 1, 1)) == 0
    assert schedule.warnings(START) == []


def test_a_refusal_is_an_invalid_request_that_is_not_worth_repeating() -> None:
    with pytest.raises(Invalid) as caught:
        compile_schedule("0 3 * *")
    assert not caught.value.retryable
    with pytest.raises(ScheduleError, match="there is no timezone 'Mars/Base'"):
        compile_schedule("0 3 * * *", timezone="Mars/Base")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 3 * * *", "every day at 03:00"),
        ("30 9 * * 1-5", "every weekday at 09:30"),
        ("0 9,17 * * 6,0", "every weekend at 09:00, 17:00"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "every 7th minute"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("0 * * * *", "every hour at :00"),
        ("0 */7 * * *", "at minute 0 past every 7th hour"),
        ("0,30 9-17 * * *", "at minute 0 and 30 past hour 9 to 17"),
        ("*/15 30 2 * * *", "every day at 02:30, 02:30:15, 02:30:30, 02:30:45"),
        ("*/5 */2 * * * *", "every 5 seconds of every 2 minutes"),
        ("0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"),
        ("0 0 */2 * 1", "at 00:00, on day 1"),
        ("0 0 1 1 *", "at 00:00, on day 1 of the month in January"),
        ("0 0 L,15W * *", "at 00:00, on the last day and the workday nearest the 15th of the month"),
        ("0 0 LW * *", "at 00:00, on the workday nearest the end of the month"),
        ("0 0 * * 5#3", "at 00:00, on the 3rd Friday of the month"),
        ("0 0 * * 5L", "at 00:00, on the last Friday of the month"),
        ("0 0 13 * 1-5", "at 00:00, on day 13 of the month or on any weekday"),
        ("every 5m, spread 90s", "every 5m, spread over 1 min 30 s"),
        ("0 3 * * *, random 5m, until 2027-01-01", "every day at 03:00, at random within 5 min, until 2027-01-01"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert compile_schedule(text).words.startswith(words)


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("*/5 * * * *", []),
        ("0 3 * * *", []),
        ("*/7 * * * *", ["uneven: */7 in the minute field, :56 → :00 is 4 min, not 7"]),
        ("0 */5 * * *", ["uneven: */5 in the hour field, 20:00 → 00:00 is 4 h, not 5"]),
        ("*/25 * * * * *", ["uneven: */25 in the second field, :50 → :00 is 10 s, not 25"]),
        ("0 4 */2 * *", ["uneven: */2 in the day of month field begins anew at day 1 of each month"]),
        ("0 4 13 * 5", ["day of month and day of week are both given: it runs when either matches, as in cron"]),
        (
            "30 2 * * *",
            [
                "02:30 does not exist on 2027-03-28 in Europe/Berlin → runs 03:00 (dst: vixie)",
                "02:30 comes twice on 2027-10-31 in Europe/Berlin → runs the first time only (dst: vixie)",
            ],
        ),
        ("0 4 29 2 *", ["rare: the next time is 2028-02-29"]),
    ],
)
def test_warnings(text: str, warnings: list[str]) -> None:
    assert compile_schedule(text, timezone=BERLIN).warnings(START) == warnings


def test_describe_gives_what_explain_shows() -> None:
    assert describe(compile_schedule("0 3 * * *", timezone=BERLIN), START, 2) == {
        "words": "every day at 03:00",
        "timezone": BERLIN,
        "next": [at(2026, 11, 24, 2), at(2026, 11, 25, 2)],
        "warnings": [],
    }
    assert describe(compile_schedule(None, at="2026-12-05 22:00"), START, 5)["next"] == [at(2026, 12, 5, 22)]


def test_durations_in_words() -> None:
    assert [duration_text(seconds) for seconds in (0, 1, 90, 5400, 90_061)] == [
        "0 s",
        "1 s",
        "1 min 30 s",
        "1 h 30 min",
        "1 d 1 h 1 min 1 s",
    ]
