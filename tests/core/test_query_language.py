"""The query language: terms, quotes, negation, times; every refusal names the place and a way out."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.query_language import Key, QueryError, Term, merged, parse_terms, parse_time, quote

KEYS = {
    "state": Key(choices=("failed", "lost", "timed-out")),
    "job": Key(negatable=True),
    "since": Key(single=True),
    "text": Key(),
}
NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def test_terms_values_quotes_and_negation() -> None:
    terms = parse_terms('state:failed,timed-out  -job:test-* "connection refused" job:"a b",c', KEYS)
    assert terms == (
        Term(key="state", values=("failed", "timed-out")),
        Term(key="job", values=("test-*",), negated=True, position=24),
        Term(key="text", values=("connection refused",), position=36),
        Term(key="job", values=("a b", "c"), position=57),
    )
    assert merged(terms, "job") == ("a b", "c")
    assert merged(terms, "job", negated=True) == ("test-*",)


@pytest.mark.parametrize(
    ("query", "part", "hint"),
    [
        ("stat:failed", 'no key "stat"', "did you mean state:"),
        ("state:faild", 'no "faild"', "did you mean failed?"),
        ("-state:failed", "cannot be negated", "-job:"),
        ("state:", "a value is missing", ""),
        ("job:a,,b", "a value is missing", ""),
        ('text:"open', "not closed", ""),
        ("since:1h since:2h", "given twice", "keep one"),
        ("since:1h,2h", "given twice", "keep one"),
        ("a\0b", "NUL", ""),
        ("x" * 5000, "5000 characters", ""),
        ("a " * 100, "more than 64 terms", ""),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_way_out(query: str, part: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_terms(query, KEYS)
    assert part in caught.value.detail
    assert hint in (caught.value.hint or "")


def test_text_needs_a_key_that_takes_it() -> None:
    with pytest.raises(QueryError, match="text cannot be searched"):
        parse_terms("word", {"state": Key()})


@given(st.text(max_size=60))
def test_a_quoted_value_means_itself(value: str) -> None:
    if "\0" in value:
        return
    (term,) = parse_terms(f"job:{quote(value)}", KEYS)
    assert term.values == (value,)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused_cleanly(text: str) -> None:
    try:
        terms = parse_terms(text, KEYS)
    except QueryError:
        return
    assert all(term.values for term in terms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:00", "2026-11-23T11:00"),
        ("18:00", "2026-11-22T17:00"),
        ("today", "2026-11-22T23:00"),
        ("yesterday", "2026-11-21T23:00"),
        ("now", "2026-11-23T12:30"),
        ("-36h", "2026-11-22T00:30"),
        ("36h", "2026-11-22T00:30"),
        ("7d", "2026-11-16T12:30"),
        ("2026-11-20", "2026-11-19T23:00"),
        ("2026-11-20T03:00", "2026-11-20T02:00"),
        ("2026-11-20T03:00Z", "2026-11-20T03:00"),
        ("2026-11-20T03:00+05:00", "2026-11-19T22:00"),
    ],
)
def test_times_in_a_zone(text: str, expected: str) -> None:
    found = parse_time(text, NOW, BERLIN)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "-", "-5", "5y", "99999999999w", "0001-01-01T00:00+14:00", "2026-13-01"]
)
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(QueryError, match="is not a time"):
        parse_time(text, NOW, BERLIN)
