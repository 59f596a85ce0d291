"""What is rendered reads back as the same spec, as a map and as YAML text."""

from hypothesis import given, settings
from tests.jobfile.spec_strategies import specs

from rota.core.model import HttpTask, JobSpec, ShellTask
from rota.jobfile.parse import parse_spec, parse_text
from rota.jobfile.render import dump_yaml, render_spec


@given(specs())
@settings(max_examples=80, deadline=None)
def test_rendered_keys_parse_to_the_same_spec(spec: JobSpec) -> None:
    assert parse_spec("ns", "job", render_spec(spec)) == spec


@given(specs())
@settings(max_examples=80, deadline=None)
def test_rendered_yaml_parses_to_the_same_spec(spec: JobSpec) -> None:
    text = dump_yaml("ns", {"job": render_spec(spec)})
    result = parse_text(text, "jobs.yaml")
    assert [problem for problem in result.problems if problem.is_error] == [], text
    assert result.jobs[0].spec == spec, text


def test_only_what_differs_from_the_defaults_is_written() -> None:
    http = JobSpec(task=HttpTask(method="GET", url="https://example.com/"), timeout=60.0)
    assert render_spec(http) == {"http": {"get": "https://example.com/"}}
    assert render_spec(JobSpec(task=ShellTask(command="true"))) == {"shell": "true"}


def test_a_long_timeout_is_written_in_units() -> None:
    spec = JobSpec(task=ShellTask(command="true"), timeout=5400.0, log_limit=50 * 1024 * 1024)
    assert render_spec(spec) == {"shell": "true", "timeout": "90m", "log-limit": "50MiB"}


def test_comments_and_defaults_stand_in_the_text() -> None:
    text = dump_yaml("web", {"a": {"shell": "true"}}, {"": "top\nline", "a": "about a"}, {"timezone": "Europe/Berlin"})
    assert text.startswith("# top\n# line\nversion: 1\nnamespace: web\ndefaults:\n  timezone: Europe/Berlin\njobs:\n")
    assert '\n  # about a\n  a: { shell: "true" }\n' in text
    assert parse_text(text, "x.yaml").jobs[0].spec.timezone == "Europe/Berlin"


def test_an_empty_set_of_jobs_is_a_valid_file() -> None:
    assert parse_text(dump_yaml("web", {}), "x.yaml").problems == ()
