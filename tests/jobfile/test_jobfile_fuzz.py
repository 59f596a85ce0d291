"""Known keys with any values: specs or problems, in the same way from YAML, from JSON and over the API."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jobfile.spec_strategies import specs

from rota.core.errors import TooLarge
from rota.core.model import HttpTask, JobSpec
from rota.jobfile.document import from_python
from rota.jobfile.fields import JOB_KEYS
from rota.jobfile.http_keys import http_task
from rota.jobfile.parse import parse_spec, parse_text
from rota.jobfile.part_fields import ALERT_KEYS, EXPECT_KEYS, HTTP_KEYS, KEEP_KEYS, RETRY_KEYS
from rota.jobfile.problems import JobFileError, Problems, render
from rota.jobfile.reading import Reading
from rota.jobfile.render import dump_yaml, render_spec
from rota.worker.expectations import BadExpectation, json_unmet

_WORDS = st.sampled_from(
    ["", "30s", "30", "-1s", "10MiB", "20%", "30s..10m", "..", "skip", "run-all within", "every 5m", "* * * * *", "UTC",
     "mail:a@b", "http://x/", "${due}", "${", "none", "a:b", "/x", "~", "$.a exists", "2xx", "1..2", "continue for 1s",
     "2026-12-05 22:00", "at most", "\0", "\ud800", "x" * 300, "\n", "é", "LD_X", "GET http://x/"]
)  # fmt: skip
_SCALARS = _WORDS | st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5)
_KEYS = st.sampled_from(
    sorted(
        {*JOB_KEYS, *HTTP_KEYS, *EXPECT_KEYS, *RETRY_KEYS, *ALERT_KEYS, *KEEP_KEYS, "nope", "steps", "A", "tags", "<<"}
    )
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | _WORDS, inner, max_size=3),
    max_leaves=8,
)
_JOBS = st.dictionaries(_KEYS, _VALUES, max_size=6)


@given(_JOBS)
@settings(max_examples=300, deadline=None)
def test_any_values_over_the_api_give_a_spec_or_problems(job: dict[str, object]) -> None:
    try:
        spec = parse_spec("ns", "a", job)
    except (JobFileError, TooLarge) as error:
        refused = error
    else:
        assert parse_spec("ns", "a", render_spec(spec)) == spec
        return
    for problem in getattr(refused, "problems", ()):
        assert problem.is_error
        assert render(problem, None)
    assert refused.detail


@given(_JOBS)
@settings(max_examples=200, deadline=None)
def test_any_values_in_a_json_file_give_jobs_or_problems(job: dict[str, object]) -> None:
    text = json.dumps({"version": 1, "jobs": {"a": job}})
    result = parse_text(text, "x.json")
    assert result.jobs or result.problems
    for problem in result.problems:
        assert problem.line == 1
        assert render(problem, text)


@given(_JOBS, _JOBS)
@settings(max_examples=150, deadline=None)
def test_defaults_never_break_a_file(defaults: dict[str, object], job: dict[str, object]) -> None:
    text = json.dumps({"version": 1, "defaults": defaults, "jobs": {"a": job, "b": {"shell": "x"}}})
    result = parse_text(text, "x.json")
    assert result.jobs or result.problems


@given(specs())
@settings(max_examples=60, deadline=None)
def test_yaml_json_and_the_api_mean_the_same(spec: JobSpec) -> None:
    keys = render_spec(spec)
    as_json = parse_text(json.dumps({"version": 1, "namespace": "ns", "jobs": {"a": keys}}), "x.json")
    as_yaml = parse_text(dump_yaml("ns", {"a": keys}), "x.yaml")
    assert [job.spec for job in as_json.jobs] == [job.spec for job in as_yaml.jobs] == [parse_spec("ns", "a", keys)]


@given(specs())
@settings(max_examples=60, deadline=None)
def test_json_with_braces_is_read_without_its_suffix(spec: JobSpec) -> None:
    text = json.dumps({"version": 1, "jobs": {"a": render_spec(spec)}}, indent="\t")
    assert [job.spec for job in parse_text(text, "x.yaml").jobs] == [spec]


@pytest.mark.parametrize(
    "check",
    [
        "$ exists",
        "$.a exists",
        "$.a-b_c[0].d == 1",
        '$["x y"] != null',
        "$.a >= 3.5",
        '$.a == "b c"',
        "$.a==true",
        "$[3] < -1",
    ],
)
def test_expectations_that_are_accepted_can_be_asked(check: str) -> None:
    problems = Problems(None, "x")
    node = from_python({"get": "http://x/", "expect": {"json": check}}, problems)
    task = http_task(Reading(problems, "x"), node, ())
    assert isinstance(task, HttpTask)
    assert task.expect.json == (check,)
    try:
        json_unmet(check, {"a": 1})
    except BadExpectation:
        pytest.fail(f"{check} was accepted and cannot be asked")
