"""Names: what is allowed, and a clear word about what only looks allowed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.jobfile.names import name_problem, safe_name


@pytest.mark.parametrize("name", ["a", "rates-fetch", "a.b_c-d", "0", "x" * 100])
def test_plain_names_are_allowed(name: str) -> None:
    assert name_problem(name) == (None, "")


@pytest.mark.parametrize(
    ("name", "reason", "fix"),
    [
        ("", "empty", ""),
        ("x" * 101, "longer than 100", ""),
        ("Fetch", "capital letters", "fetch"),
        ("rates fetch", "a space", "rates-fetch"),
        ("-a", "does not begin", "a"),
        (".hidden", "does not begin", "hidden"),
        ("a/b", '"/" (U+002F)', "a-b"),
        ("r\u0430tes", 'U+0430 CYRILLIC SMALL LETTER A), which only looks like "a"', "rates"),
        ("a\u200bb", "invisible character (U+200B ZERO WIDTH SPACE)", "ab"),
        ("a\u00a0b", "invisible character", "a-b"),
        ("\uff46oo", 'which only looks like "f"', "foo"),
        ("caf\u00e9", "U+00E9", "cafe"),
        ("cafe\u0301", "U+00E9", "cafe"),
        ("\u202etxt", "invisible character", "txt"),
        ("a\x00b", "U+0000", "ab"),
        ("\U0001f600", "U+1F600", ""),
    ],
)
def test_other_names_are_refused_with_reason_and_fix(name: str, reason: str, fix: str) -> None:
    problem, suggestion = name_problem(name)
    assert reason in (problem or "")
    assert suggestion == fix


@given(st.text(max_size=120))
def test_every_text_is_a_name_or_has_a_problem(text: str) -> None:
    problem, fix = name_problem(text)
    assert (problem is None) == bool(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", text))
    assert not fix or name_problem(fix)[0] is None


@given(st.text(max_size=200))
def test_safe_names_are_names_or_nothing(text: str) -> None:
    name = safe_name(text)
    assert not name or name_problem(name)[0] is None
