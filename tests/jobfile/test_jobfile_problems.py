"""How a problem is shown, and that every code is explained."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rota.jobfile
from rota.jobfile.codes import CODES
from rota.jobfile.parse import parse_text
from rota.jobfile.problems import JobFileError, Problem, Problems, Source, nearest, render

SOURCES = sorted(Path(rota.jobfile.__file__).parent.glob("*.py"))


def test_a_problem_is_shown_with_its_line_and_a_fix() -> None:
    text = "version: 1\nnamespace: finance\njobs:\n  rates-fetch:\n    shell: x\n    retrys: { tries: 4 }\n"
    (problem,) = parse_text(text, "jobs/finance.yaml").problems
    shown = render(problem, text).splitlines()
    assert shown[:4] == [
        'error[E0142]: unknown key "retrys" in job finance/rates-fetch',
        "  ┌─ jobs/finance.yaml:6:5",
        " 6│     retrys: { tries: 4 }",
        '  │     ^^^^^^ did you mean "retry"?',
    ]
    assert re.fullmatch(r"  = other keys here: schedule, .* …      rota explain E0142", shown[4])


def test_the_margin_grows_with_the_line_number() -> None:
    problem = Problem(code="E0142", message="m", file="x", line=12345, column=1, length=1)
    assert render(problem, "\n" * 12344 + "abc").splitlines()[1:] == ["     ┌─ x:12345:1", "12345│ abc", "     │ ^"]


def test_a_problem_without_text_names_file_or_path() -> None:
    problem = Problem(code="E0101", message="m", file="x.yaml", label="l", help=("h",))
    assert render(problem, None).splitlines() == ["error[E0101]: m", "  ┌─ x.yaml", "  = l", "  = h"]
    assert Problem(code="E0101", message="m", file="web/a", path="http.get").place == "web/a: http.get"


def test_a_long_line_is_cut_around_the_problem() -> None:
    text = "a" * 5000 + "BAD" + "b" * 5000
    problem = Problem(code="E0142", message="m", file="x", line=1, column=5001, length=3)
    excerpt, carets = render(problem, text).splitlines()[2:4]
    assert len(excerpt) < 130
    assert excerpt[carets.index("^") : carets.index("^") + 3] == "BAD"
    assert carets.endswith("^^^")


def test_a_message_cannot_steer_the_terminal() -> None:
    problem = Problem(code="E0142", message="\x1b[31mred\r\n", file="x\x07", line=1, column=1, label="\x1b]0;t")
    shown = render(problem, "\x1b[2Jtext")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\r" not in shown


@given(st.text(max_size=60), st.integers(0, 80), st.integers(1, 40), st.integers(1, 80))
def test_any_place_in_any_text_can_be_shown(text: str, line: int, column: int, length: int) -> None:
    problem = Problem(code="E0142", message="m", file="x", line=line, column=column, length=length)
    assert render(problem, text).startswith("error[E0142]: m\n")


@given(st.text(max_size=60), st.data())
def test_every_character_has_a_line_and_a_column(text: str, data: st.DataObject) -> None:
    source = Source("x", text)
    index = data.draw(st.integers(0, max(0, len(text) - 1)))
    line, column = source.position(index)
    assert 1 <= line <= len(text.splitlines()) + 1
    assert column >= 1
    if text and text[index].isprintable():
        assert source.line(line)[column - 1] == text[index]


def test_each_cause_is_told_once_and_in_order() -> None:
    problems = Problems(Source("x", "ab\ncd\n"), "x")
    problems.add("E0142", "second", 3)
    problems.add("E0142", "first", 0)
    problems.add("E0142", "again", 3)
    assert [problem.message for problem in problems.found] == ["first", "second"]


def test_an_error_names_the_first_places() -> None:
    error = JobFileError([Problem(code="E0142", message="m", file="x.yaml", line=3, column=5)])
    assert error.detail == "x.yaml:3:5: m"


@pytest.mark.parametrize(
    ("word", "guess"), [("retrys", "retry"), ("late_after", "late-after"), ("LateAfter", "late-after"), ("zzz", None)]
)
def test_the_nearest_name(word: str, guess: str | None) -> None:
    assert nearest(word, ["retry", "late-after", "timeout"]) == guess


def test_every_code_in_use_is_explained_and_every_explained_code_is_in_use() -> None:
    used = {code for source in SOURCES if source.name != "codes.py" for code in _codes(source)}
    assert used == set(CODES)


def test_explanations_are_sentences() -> None:
    for code, entry in CODES.items():
        assert re.fullmatch(r"[EW]\d{4}", code)
        assert entry.title
        assert entry.explanation.endswith((".", '".'))


def _codes(source: Path) -> set[str]:
    return set(re.findall(r'"([EW]\d{4})"', source.read_text()))
