"""YAML that is written reads well and means exactly the same when read again."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rota.jobfile.document import to_python
from rota.jobfile.problems import Problems, Source
from rota.jobfile.yaml_out import yaml_lines
from rota.jobfile.yaml_text import compose

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
_SIGN = st.sampled_from([*"ab0 :-#'\"{}[],&*!|>%@`\n\t~.\\", ": ", " #", "null", "0x1f"])
_SIGNS = st.lists(_SIGN, max_size=8).map("".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | _TEXTS | _SIGNS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


def read(lines: list[str]) -> object:
    text = "\n".join(lines) + "\n"
    problems = Problems(Source("x", text), "x")
    node = compose(text, problems)
    assert problems.found == (), text
    assert node is not None
    return to_python(node)


@given(st.dictionaries(_TEXTS, _VALUES, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
@example({"a": "x\n\n"})
@example({"a": "\n"})
@example({"a": " lead\ntrail \n"})
@example({"a": "tab\there\nx"})
@example({"a": "x\n \ny"})
@example({"yes": "no", "null": "~", "1": "01"})
def test_what_is_written_reads_back(values: dict[str, object]) -> None:
    assert read(yaml_lines(values)) == values


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"a": "every day at 03:00"}, ["a: every day at 03:00"]),
        ({"a": "*/5 * * * *"}, ['a: "*/5 * * * *"']),
        ({"a": "true", "b": True}, ['a: "true"', "b: true"]),
        ({"a": "30s..10m"}, ["a: 30s..10m"]),
        ({"a": {"x": 1, "y": ["p", "q r"]}}, ["a: { x: 1, y: [p, q r] }"]),
        ({"a": "one\ntwo\n"}, ["a: |", "  one", "  two"]),
        ({"a": "one\ntwo"}, ["a: |-", "  one", "  two"]),
        ({"a": "one\n\ntwo\n\n"}, ["a: |+", "  one", "", "  two", ""]),
        ({"a": {}, "b": [], "c": None}, ["a: {}", "b: []", "c: null"]),
        ({"a b": "x # y"}, ['"a b": "x # y"']),
    ],
)
def test_the_form(values: dict[str, object], lines: list[str]) -> None:
    assert yaml_lines(values) == lines
    assert read(lines) == values


def test_long_maps_stand_below_each_other() -> None:
    values = {"a": {f"key-{number}": "value " * 5 for number in range(5)}}
    lines = yaml_lines(values)
    assert lines[0] == "a:"
    assert len(lines) == 6
    assert read(lines) == values
