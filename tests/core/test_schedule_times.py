"""Times of day, durations and dates in a schedule's text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rota.core.cron_fields import Token
from rota.core.schedule_errors import ScheduleError, shown
from rota.core.schedule_times import clock_text, from_epoch, parse_clock, parse_duration, parse_moment, to_epoch


@pytest.mark.parametrize(
    ("text", "second"),
    [("00:00", 0), ("3:05", 11_100), ("03:05", 11_100), ("23:59:59", 86_399), ("09:00:30", 32_430)],
)
def test_clock(text: str, second: int) -> None:
    assert parse_clock(Token(text, 0)) == second
    assert parse_clock(Token(clock_text(second), 0)) == second


@pytest.mark.parametrize("text", ["", "3", "24:00", "3:5", "03:60", "03:00:60", "3pm", "-1:00", "٠٣:٠٠", "003:00"])
def test_clock_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_clock(Token(text, 12))
    assert caught.value.position == 12


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("5M", 300), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("1h30m", 5400), ("090s", 90)],
)
def test_duration(text: str, seconds: int) -> None:
    assert parse_duration(Token(text, 0), what="the interval", longest=10**7) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "5 m", "1.5h", "-1h", "1y", "9999999999s", "5m!", "٥m", "1e3s"])
def test_duration_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_duration(Token(text, 7), what="spread", longest=10**7)
    assert caught.value.position == 7
    assert caught.value.message.startswith("spread")
    assert caught.value.hint


def test_moments_keep_what_they_say() -> None:
    assert parse_moment("2026-12-05", 0, "at") == (datetime(2026, 12, 5), False)
    assert parse_moment("2026-12-05 22:00", 0, "at") == (datetime(2026, 12, 5, 22), True)
    assert parse_moment("2026-12-05T22:00Z", 0, "at") == (datetime(2026, 12, 5, 22, tzinfo=UTC), True)
    west = timezone(-timedelta(hours=3, minutes=30))
    assert parse_moment("2026-12-05 22:00-03:30", 0, "at") == (datetime(2026, 12, 5, 22, tzinfo=west), True)


def test_seconds_round_down_exactly_even_far_ahead() -> None:
    moment = datetime(2399, 12, 31, 23, 59, 58, 999_999, tzinfo=UTC)
    assert from_epoch(to_epoch(moment)) == moment.replace(microsecond=0)
    assert to_epoch(datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)) == -1


def test_what_is_shown_is_short_and_harmless() -> None:
    assert shown("abc") == "'abc'"
    assert shown("x" * 100) == "'" + "x" * 40 + "…'"
    assert shown("\x1b[31m\u202e\n").isprintable()
