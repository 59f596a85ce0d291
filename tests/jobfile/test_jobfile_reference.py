"""The pages and the schema are in step with the tables, and every documented example is true."""

from pathlib import Path

import pytest

from rota.jobfile import job_keys
from rota.jobfile.fields import FILE_KEYS, JOB_KEYS, WHAT_KEYS
from rota.jobfile.json_schema import json_schema
from rota.jobfile.other_keys import LATER_KEYS, NOT_IN_DEFAULTS, ONLY_FOR, OTHER_WORDS
from rota.jobfile.parse import parse_text
from rota.jobfile.part_fields import ALERT_KEYS, EXPECT_KEYS, HTTP_KEYS, KEEP_KEYS, METHODS, RETRY_KEYS
from rota.jobfile.reference import TABLES, errors_page, job_file_page

DOCS = Path(__file__).parents[2] / "docs"
TASKS = {"http": 'http: { get: "https://example.com/" }', "shell": "shell: ./x", "python": "python: a:b"}


def file_of(*lines: str) -> str:
    return "\n".join(["version: 1", "jobs:", "  a:", *(f"    {line}" for line in lines)]) + "\n"


def errors_of(text: str) -> list[str]:
    return [f"{problem.code} {problem.message}" for problem in parse_text(text, "x.yaml").problems if problem.is_error]


@pytest.mark.parametrize(("name", "page"), [("job-file.md", job_file_page()), ("errors.md", errors_page())])
def test_pages_are_as_the_tables_make_them(name: str, page: str) -> None:
    assert (DOCS / "reference" / name).read_text() == page, "run scripts/write_reference.py"


def test_every_key_is_on_the_page() -> None:
    page = (DOCS / "reference/job-file.md").read_text()
    for _, table in TABLES.values():
        for name in table:
            assert f"| `{name}` | " in page


def test_the_reader_knows_exactly_the_documented_keys() -> None:
    assert set(job_keys._READERS) == set(JOB_KEYS)
    assert set(ONLY_FOR) <= set(JOB_KEYS)
    assert set(JOB_KEYS) >= NOT_IN_DEFAULTS
    assert not LATER_KEYS & set(JOB_KEYS)


def test_words_of_others_lead_to_keys_that_exist() -> None:
    known = set(JOB_KEYS) | set(RETRY_KEYS)
    assert set(OTHER_WORDS.values()) <= known
    assert not set(OTHER_WORDS) & set(JOB_KEYS) - {"when"}


@pytest.mark.parametrize("name", list(JOB_KEYS))
def test_the_example_of_a_job_key_is_true(name: str) -> None:
    lines = [f"{name}: {JOB_KEYS[name].example}"]
    if name not in WHAT_KEYS:
        lines.append(TASKS[ONLY_FOR.get(name, ("shell",))[0]])
    assert errors_of(file_of(*lines)) == []


@pytest.mark.parametrize("name", list(FILE_KEYS))
def test_the_example_of_a_file_key_is_true(name: str) -> None:
    keys = {"version": "1", "jobs": "{}", name: FILE_KEYS[name].example}
    assert errors_of("".join(f"{key}: {value}\n" for key, value in keys.items())) == []


@pytest.mark.parametrize("name", list(HTTP_KEYS))
def test_the_example_of_an_http_key_is_true(name: str) -> None:
    lines = [f"  {name}: {HTTP_KEYS[name].example}"]
    if name not in (*METHODS, "request"):
        lines.append('  get: "https://example.com/"')
    assert errors_of(file_of("http:", *lines)) == []


@pytest.mark.parametrize("name", list(EXPECT_KEYS))
def test_the_example_of_an_expectation_is_true(name: str) -> None:
    text = file_of("http:", '  get: "https://example.com/"', "  expect:", f"    {name}: {EXPECT_KEYS[name].example}")
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("above", "name", "example"),
    [
        (above, name, field.example)
        for above, table in (("retry", RETRY_KEYS), ("alert", ALERT_KEYS), ("keep", KEEP_KEYS))
        for name, field in table.items()
    ],
)
def test_the_example_of_a_policy_key_is_true(above: str, name: str, example: str) -> None:
    assert errors_of(file_of("shell: ./x", f"{above}:", f"  {name}: {example}")) == []


def test_the_example_of_the_page_is_true() -> None:
    page = (DOCS / "reference/job-file.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    result = parse_text(example, "page")
    assert result.problems == ()
    assert [job.full_name for job in result.jobs] == ["web/fetch-homepage"]


def test_the_schema_has_the_same_keys() -> None:
    schema = json_schema()
    job = schema["properties"]["jobs"]["additionalProperties"]
    assert set(schema["properties"]) == set(FILE_KEYS)
    assert set(job["properties"]) == set(JOB_KEYS)
    assert set(job["properties"]["http"]["properties"]) == set(HTTP_KEYS)
    assert set(schema["properties"]["defaults"]["properties"]) == set(JOB_KEYS) - NOT_IN_DEFAULTS
    assert job["oneOf"] == [{"required": [name]} for name in WHAT_KEYS]
    assert job["additionalProperties"] is False


def test_the_schema_accepts_a_good_job_and_refuses_a_bad_one() -> None:
    validator = pytest.importorskip("jsonschema_rs").validator_for(json_schema())
    good = {
        "version": 1,
        "namespace": "web",
        "defaults": {"timezone": "UTC"},
        "jobs": {"a": {"http": {"get": "https://x/", "expect": {"status": [200, "3xx"]}}, "retry": {"tries": 4}}},
    }
    assert validator.is_valid(good)
    for bad in (
        {"jobs": {}},
        {"version": 2, "jobs": {}},
        {"version": 1, "jobs": {"A": {"shell": "x"}}},
        {"version": 1, "jobs": {"a": {"shell": "x", "python": "a:b"}}},
        {"version": 1, "jobs": {"a": {"shell": "x", "retrys": {}}}},
        {"version": 1, "jobs": {"a": {"shell": "x", "overlap": "both"}}},
        {"version": 1, "defaults": {"shell": "x"}, "jobs": {}},
    ):
        assert not validator.is_valid(bad), bad
