"""Durations, sizes and percentages: exact, with a unit, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.units import (
    BadUnit,
    format_duration,
    format_percent,
    format_rough,
    format_size,
    parse_duration,
    parse_percent,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("2d", 172800.0),
        ("1w", 604800.0),
        ("0.3s", 0.3),
        (" 5m ", 300.0),
        ("0s", 0.0),
    ],
)
def test_durations_are_exact(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("30", "30s, 30m or 30h"),
        ("-5", "positive"),
        ("30sec", '"30s"'),
        ("5 minutes", '"5 m"'),
        ("3x", "units are ms, s, m, h, d, w"),
        ("NaN", "for example"),
        ("1e308s", "units are"),
        ("", "for example"),
        ("5m5m", "for example"),
        ("٣s", "for example"),
        ("9" * 80, "for example"),
        ("1h-30m", "for example"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_fix(text: str, hint: str) -> None:
    with pytest.raises(BadUnit) as caught:
        parse_duration(text)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "size"), [("10MiB", 10 * 1024**2), ("2MB", 2_000_000), ("1.5GiB", 1610612736), ("1B", 1)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"), [("10", "10KiB"), ("10mb", '"10MiB"'), ("10 parsec", "units are"), ("-1MiB", "")]
)
def test_what_is_no_size_is_refused(text: str, hint: str) -> None:
    with pytest.raises(BadUnit) as caught:
        parse_size(text)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["20", "101%", "-1%", "x%", "%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(BadUnit):
        parse_percent(text)


@given(st.integers(0, 10**12))
def test_formatted_durations_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 10**13))
def test_formatted_sizes_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**6))
def test_formatted_percentages_read_back(parts: int) -> None:
    fraction = parse_percent(f"{parts / 10**4:.4f}%")
    assert parse_percent(format_percent(fraction)) == fraction


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_percent):
        try:
            assert parse(text) >= 0
        except BadUnit:
            continue


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5025, "1h 23m"), (59.2, "59s"), (0.25, "250ms"), (90_061, "1d 1h"), (86_400, "1d"), (3601, "1h")],
)
def test_rough_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_rough(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "90m"), (3600, "1h"), (604800, "7d"), (2419200, "4w"), (1.5, "1500ms")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
