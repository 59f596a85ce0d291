"""Text → tree: places, limits, and a clear word about everything that is not plain data."""

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rota.jobfile.document import MOST_BYTES, Mapping, Scalar, plain_value, to_python
from rota.jobfile.json_text import NotJson, compose_json
from rota.jobfile.parse import parse_bytes, parse_text
from rota.jobfile.problems import Problem, Problems, Source
from rota.jobfile.yaml_text import compose


def tree(text: str) -> tuple[object, Problems]:
    problems = Problems(Source("x.yaml", text), "x.yaml")
    node = compose(text, problems)
    return (None if node is None else to_python(node)), problems


def only(text: str) -> Problem:
    _, problems = tree(text)
    assert len(problems.found) == 1, problems.found
    return problems.found[0]


def test_scalars_follow_yaml_1_2() -> None:
    text = "a: 12:30\nb: 2026-12-05\nc: yes\nd: on\ne: 0o17\nf: 1.5\ng: true\nh: ~\ni: 010\nj: '1'\nk: 1_000\n"
    value, _ = tree(text)
    assert value == {
        "a": "12:30",
        "b": "2026-12-05",
        "c": "yes",
        "d": "on",
        "e": 15,
        "f": 1.5,
        "g": True,
        "h": None,
        "i": 10,
        "j": "1",
        "k": "1_000",
    }


def test_every_key_and_value_knows_its_place() -> None:
    text = "a:\n  - x\n  - {b: 'yy'}\n"
    problems = Problems(Source("x.yaml", text), "x.yaml")
    root = compose(text, problems)
    assert isinstance(root, Mapping)
    inner = root.entries["a"].value.items[1].entries["b"]  # type: ignore[attr-defined]
    assert text[inner.key.start : inner.key.end] == "b"
    assert text[inner.value.start : inner.value.end] == "'yy'"
    assert text[inner.value.inner :].startswith("yy")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:\n  schedule: */5 * * * *\n", "*/5 * * * *"),
        ("a:\n  schedule: * * * * *  # all\n", "* * * * *"),
        ("schedule: @daily", "@daily"),
        ("- @hourly", "@hourly"),
        ("schedule: %x", "%x"),
        ("shell: `date`", "`date`"),
    ],
)
def test_a_value_without_quotes_gets_its_own_message(text: str, value: str) -> None:
    problem = only(text)
    assert problem.code == "E0105"
    assert problem.message == f"the value {value} must be in quotes"
    assert problem.label == f'write "{value}"'


def test_a_template_in_braces_without_quotes_gets_its_own_message() -> None:
    problem = only("http: { get: https://x/?d=${due.date} }")
    assert (problem.code, problem.column) == ("E0105", 27)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: 1\na: 2\n", "E0106", 2),
        ("a: !!python/object:os.system x\n", "E0107", 1),
        ("a: !!python/object/apply:os.system [x]\n", "E0107", 1),
        ("a: !custom {b: 1}\n", "E0107", 1),
        ("a: 1\n---\nb: 2\n", "E0108", 2),
        ("[" * 40 + "]" * 40, "E0109", 1),
        ("- " * 40 + "a", "E0109", 1),
        ("a: *nobody\n", "E0110", 1),
        ("a: 1e400\n", "E0111", 1),
        ("a: " + "9" * 400 + "\n", "E0111", 1),
        ("a: .nan\n", "E0111", 1),
        ("a: 0x" + "f" * 20 + "\n", "E0111", 1),
        ("", "E0112", 1),
        ("# only a comment\n", "E0112", 1),
        ("a: [1, 2\n", "E0104", 2),
        ("a: b: c\n", "E0104", 1),
        ("a:\n\tb: 1\n", "E0104", 2),
        ("a: 'x\n", "E0104", 2),
        ("? [a, b]\n: 1\n", "E0141", 1),
        ("%YAML 3.0\n---\na: 1\n", "E0104", 1),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, code: str, line: int) -> None:
    problem = only(text)
    assert (problem.code, problem.line) == (code, line)


def test_a_duplicate_key_names_the_first_place() -> None:
    assert only("a: 1\nb: 2\na: 3\n").label == "first given in line 1"


def test_aliases_stand_for_their_anchor() -> None:
    value, problems = tree("a: &x {n: 1}\nb: *x\n")
    assert (value, problems.found) == ({"a": {"n": 1}, "b": {"n": 1}}, ())


def test_an_alias_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    started = time.monotonic()
    assert only(bomb).code == "E0110"
    assert time.monotonic() - started < 2


def test_many_aliases_are_refused() -> None:
    assert only("a: &a 1\nb: [" + "*a, " * 200 + "]").code == "E0110"


def test_an_anchor_cannot_hold_itself() -> None:
    assert only("a: &a [*a]\n").code == "E0110"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nb\n: c", "expected the start of a document, but found a map"),
        ("%FOO\na: b", "expected the start of a document, but found a value"),
        ("%TAG ! x", "expected the start of a document, but found the end of the file"),
        ("a: 'b' 'c'", "expected the end of the block, but found a value"),
        ("a: &x &y z", "expected the end of the block, but found “anchor”"),
        ("a: [1", "expected ',' or ']', but got the end of the file"),
        ("%YAML 9\n---\na: b", "expected a digit or '.', but found the end of the line"),
    ],
)
def test_broken_syntax_is_told_in_words_and_not_in_those_of_the_parser(text: str, words: str) -> None:
    assert only(text).message == f"the file is not YAML: {words}"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xfe\x00", "E0103"),
        ("a: ü".encode("latin-1"), "E0103"),
        (b"a: \x00", "E0103"),
        (b"a: \x1b[31m", "E0103"),
        (b"a" * (MOST_BYTES + 1), "E0102"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, code: str) -> None:
    assert [problem.code for problem in parse_bytes(data, "x.yaml").problems] == [code]


def test_a_byte_order_mark_and_crlf_are_fine() -> None:
    data = b"\xef\xbb\xbfversion: 1\r\njobs:\r\n  a:\r\n    shell: echo\r\n"
    result = parse_bytes(data, "x.yaml")
    assert result.problems == ()
    assert result.jobs[0].spec.task.command == "echo"  # type: ignore[union-attr]
    assert result.jobs[0].line == 3


@pytest.mark.parametrize(
    "piece", ["[{", "- ", "? ", "a: ", "&a ", "'", '"\\n', "x\n", "#\n", "{", "a: |\n  x\n", "[a, ", "!!a "]
)
def test_hostile_repetition_is_bounded_in_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.monotonic()
    result = parse_text(text, "x.yaml")
    assert result.problems
    assert time.monotonic() - started < 10


def test_the_number_of_problems_is_bounded() -> None:
    text = "version: 1\njobs:\n" + "".join(f"  j{n}: {{ x: 1 }}\n" for n in range(1000))
    assert len(parse_text(text, "x.yaml").problems) <= 200


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=2000)
@example(b"\xc2\x85")
@example(b"%YAML 1.1\n---\n")
@example(b"a: \xe2\x80\xa8*/5")
def test_any_bytes_give_jobs_or_problems(data: bytes) -> None:
    result = parse_bytes(data, "x.yaml")
    assert result.problems or result.jobs


_yaml_bits = st.lists(
    st.sampled_from(
        [*"abc01 :-?[]{},&*!|>'\"%@`#\n\t~.", "jobs:", "\n  ", "version: 1\n", "<<: *a", "&a ", "!!x ", "---\n", "| \n"]
    ),
    max_size=60,
).map("".join)


@given(_yaml_bits)
@settings(max_examples=300, deadline=2000)
def test_any_scraps_of_yaml_give_jobs_or_problems(text: str) -> None:
    result = parse_text(text, "x.yaml")
    assert result.problems or result.jobs or "jobs" in text
    for problem in result.problems:
        assert 1 <= problem.line <= text.count("\n") + 2


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_json, st.sampled_from([None, 2, "\t"]))
@settings(max_examples=100, deadline=2000)
def test_json_reads_as_the_standard_library_does(value: object, indent: int | str | None) -> None:

    text = json.dumps(value, indent=indent)
    problems = Problems(Source("x.json", text), "x.json")
    assert to_python(compose_json(text, problems)) == value
    assert problems.found == ()


@pytest.mark.parametrize(
    "text", ["{", "[1,]", '{"a" 1}', "{a: 1}", "[1 2]", "nul", "1 2", '"\n"', "[01x]", '{"a":1,}', "-", ""]
)
def test_broken_json_is_refused(text: str) -> None:
    problems = Problems(Source("x.json", text), "x.json")
    with pytest.raises(NotJson):
        compose_json(text, problems)


@pytest.mark.parametrize(
    ("text", "code"), [("[" * 99, "E0109"), ('{"a":1,"a":2}', "E0106"), ('{"a": NaN}', "E0111"), ("{,", "E0104")]
)
def test_json_files_have_the_same_limits(text: str, code: str) -> None:
    assert code in [problem.code for problem in parse_text(text, "x.json").problems]


def test_a_json_job_file_with_tabs_is_read() -> None:
    text = '{\n\t"version": 1,\n\t"jobs": {\n\t\t"a": {"shell": "true", "timeout": 5}\n\t}\n}\n'
    problems = parse_text(text, "x.json").problems
    assert [(problem.code, problem.line, problem.column) for problem in problems] == [("E0201", 4, 37)]


@given(st.text(max_size=30))
def test_plain_values_never_fail(text: str) -> None:
    assert isinstance(plain_value(text), str | int | float | bool | None)


def test_a_lone_surrogate_cannot_enter_a_job() -> None:
    problems = parse_text('{"version": 1, "jobs": {"a": {"shell": "x\\ud800"}}}', "x.json").problems
    assert [problem.code for problem in problems] == ["E0216"]


def test_a_scalar_without_text_has_no_offsets() -> None:
    problems = Problems(Source("x", '"a\\nb"'), "x")
    node = compose('"a\\nb"', problems)
    assert isinstance(node, Scalar)
    assert node.inner is None
