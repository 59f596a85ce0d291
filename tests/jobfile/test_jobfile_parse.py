"""Job files → specs: every key, the defaults, and all that is wrong in one pass with place and fix."""

from datetime import UTC, datetime

import pytest

from rota.core.errors import TooLarge
from rota.core.model import (
    AlertPolicy,
    Delivery,
    HttpExpect,
    HttpTask,
    JobSpec,
    KeepPolicy,
    MissedMode,
    MissedPolicy,
    Overlap,
    PythonTask,
    RetryPolicy,
    ShellTask,
)
from rota.core.schedule import DstPolicy
from rota.jobfile.parse import parse_spec, parse_text
from rota.jobfile.problems import JobFileError, Problem


def spec_of(keys: str) -> JobSpec:
    """The spec of one job whose keys are these lines."""
    result = parse_text(_file(keys), "x.yaml")
    assert result.problems == (), result.problems
    return result.jobs[0].spec


def problems_of(keys: str) -> list[Problem]:
    return list(parse_text(_file(keys), "x.yaml").problems)


def one_problem(keys: str) -> Problem:
    found = problems_of(keys)
    assert len(found) == 1, found
    return found[0]


def _file(keys: str) -> str:
    body = "".join(f"    {line}\n" for line in keys.splitlines())
    return f"version: 1\nnamespace: web\njobs:\n  a:\n{body}"


def test_the_daily_fetch_of_the_contract() -> None:
    text = """\
version: 1
namespace: web
defaults: { timezone: Europe/Berlin }
jobs:
  fetch-homepage:
    schedule: every day at 03:00
    http: { get: "https://example.com/?day=${due.date}", expect: { status: 200 } }
    timeout: 30s
    retry: { tries: 4, wait: 30s..10m }
    late-after: 20m
    alert: { to: ["mail:ops@example.com"], when: [failed, late, missed, recovered] }
"""
    result = parse_text(text, "web.yaml")
    assert result.problems == ()
    job = result.jobs[0]
    assert (job.full_name, job.file, job.line, job.column) == ("web/fetch-homepage", "web.yaml", 5, 3)
    assert job.spec == JobSpec(
        task=HttpTask(method="GET", url="https://example.com/?day=${due.date}", expect=HttpExpect(status=("200",))),
        schedule="every day at 03:00",
        timezone="Europe/Berlin",
        timeout=30.0,
        retry=RetryPolicy(tries=4, wait_min=30.0, wait_max=600.0),
        late_after=1200.0,
        alert=AlertPolicy(to=("mail:ops@example.com",), when=("failed", "late", "missed", "recovered")),
    )


def test_every_key_of_a_shell_job() -> None:
    spec = spec_of(
        """\
title: Backup
owner: team
labels: { tier: 1, area: billing }
at: 2026-12-05 22:00
timezone: Europe/Prague
dst: run-twice
shell: ./x
stdin: "a\\nb"
timeout: 2h
kill-grace: 1m
log-limit: 50MiB
retry: { tries: 3, wait: 5m, jitter: 0%, when: [timeout, exit] }
overlap: queue-latest
missed: run-all within 1d at most 50
on-disconnect: continue for 5m
keep: { history: 30d, logs: 7d }
env: { A: 1, B: true, C: "", D: 010 }
secrets: { PW: DB_PW }
params: { day: today, n: 5, empty: }
cwd: ~/x
user: deploy
shadow: true
paused: true
"""
    )
    assert spec == JobSpec(
        task=ShellTask(command="./x", stdin="a\nb"),
        at="2026-12-05 22:00",
        timezone="Europe/Prague",
        dst=DstPolicy.RUN_TWICE,
        title="Backup",
        owner="team",
        labels={"tier": "1", "area": "billing"},
        timeout=7200.0,
        kill_grace=60.0,
        log_limit=50 * 1024**2,
        retry=RetryPolicy(tries=3, wait_min=300.0, wait_max=300.0, jitter=0.0, when=("timeout", "exit")),
        overlap=Overlap.QUEUE_LATEST,
        missed=MissedPolicy(mode=MissedMode.RUN_ALL, within=86400.0, at_most=50),
        on_disconnect=300.0,
        keep=KeepPolicy(history=30 * 86400.0, logs=7 * 86400.0),
        env={"A": "1", "B": "true", "C": "", "D": "010"},
        secrets={"PW": "DB_PW"},
        params={"day": "today", "n": "5", "empty": ""},
        cwd="~/x",
        user="deploy",
        shadow=True,
        paused=True,
    )


def test_every_key_of_a_python_job() -> None:
    spec = spec_of("python: a.b:C.run\nwith: { x: [1, {y: null}], z: text }\nvenv: /srv/v\ndelivery: at-most-once")
    assert spec == JobSpec(
        task=PythonTask(function="a.b:C.run", arguments={"x": [1, {"y": None}], "z": "text"}),
        venv="/srv/v",
        delivery=Delivery.AT_MOST_ONCE,
    )
    assert spec_of("python: a:b\ninterpreter: /usr/bin/python3.9").interpreter == "/usr/bin/python3.9"


def test_every_key_of_an_http_job() -> None:
    spec = spec_of(
        """\
http:
  post: https://example.com/
  headers: { X-Day: "${due.date}", Authorization: "Bearer ${secret.TOKEN}" }
  json: { day: "${due}", run: "${run.id}/${run.attempt}", p: "${params.x}" }
  expect:
    status: [200, 3xx, 400..404]
    headers: { Content-Type: json }
    json: ["$.ok == true", "$.items[0].id exists"]
    body: Welcome
    max-body: 2MiB
  follow-redirects: false
params: { x: 1 }
"""
    )
    assert spec.timeout == 60.0
    assert spec.task == HttpTask(
        method="POST",
        url="https://example.com/",
        headers={
            "X-Day": "${due.date}",
            "Authorization": "Bearer ${secret.TOKEN}",
            "Content-Type": "application/json",
        },
        body='{"day":"${due}","run":"${run.id}/${run.attempt}","p":"${params.x}"}',
        expect=HttpExpect(
            status=("200", "3xx", "400..404"),
            headers={"Content-Type": "json"},
            json=("$.ok == true", "$.items[0].id exists"),
            body="Welcome",
            max_body=2 * 1024**2,
        ),
        follow_redirects=0,
    )


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("skip", MissedPolicy(mode=MissedMode.SKIP)),
        ("run-latest", MissedPolicy(within=None)),
        ("run-latest within 1h", MissedPolicy()),
        ("run-all", MissedPolicy(mode=MissedMode.RUN_ALL, within=None)),
        ("run-all at most 7", MissedPolicy(mode=MissedMode.RUN_ALL, within=None, at_most=7)),
    ],
)
def test_forms_of_missed(line: str, policy: MissedPolicy) -> None:
    assert spec_of(f"shell: x\nmissed: {line}").missed == policy


def test_a_request_with_another_method() -> None:
    assert spec_of('http: { request: "PURGE https://example.com/" }').task == HttpTask(
        method="PURGE", url="https://example.com/"
    )


@pytest.mark.parametrize(
    ("keys", "code", "column", "words"),
    [
        ("shell: x\nschedul: x", "E0142", 5, "schedule"),
        ("shell: x\nretrys: { tries: 4 }", "E0142", 5, "retry"),
        ("shell: x\ncron: '* * * * *'", "E0142", 5, "schedule"),
        ("shell: x\nlate_after: 5m", "E0142", 5, "late-after"),
        ("shell: x\n__proto__: {}", "E0142", 5, ""),
        ("shell: x\nuid: 0", "E0142", 5, ""),
        ("shell: x\nrun_as: root", "E0142", 5, "user"),
        ("shell: x\n<<: {}", "E0142", 5, ""),
        ("shell: x\nplace: { where: x }", "E0143", 5, "remove it"),
        ("steps: {}", "E0143", 5, ""),
        ("title: x", "E0145", 3, "http, shell, python"),
        ("shell: x\npython: a:b", "E0145", 5, "two jobs"),
        ("shell:", "E0141", 5, "write one"),
        ("shell: [a]", "E0141", 12, ""),
        ("shell: ' '", "E0216", 12, ""),
        ('shell: "a\\0b"', "E0216", 12, ""),
        ("shell: x\ntimeout: 30", "E0201", 14, "30s, 30m or 30h"),
        ("shell: x\ntimeout: 0s", "E0201", 14, "100ms"),
        ("shell: x\ntimeout: -5s", "E0201", 14, ""),
        ("shell: x\ntimeout: 1ms", "E0201", 14, "100ms"),
        ("shell: x\ntimeout: 9999d", "E0201", 14, "366d"),
        ("shell: x\ntimeout: { s: 1 }", "E0201", 14, ""),
        ("http: { get: 'http://x/' }\ntimeout: none", "E0201", 14, "1h"),
        ("shell: x\nlog-limit: 10", "E0202", 16, "10MiB"),
        ("shell: x\nlog-limit: 10GiB", "E0202", 16, "1GiB"),
        ("shell: x\nretry: { jitter: 0.2 }", "E0203", 22, "0.2%"),
        ("shell: x\nretry: { tries: 0 }", "E0204", 21, "1 to 100"),
        ("shell: x\nretry: { tries: 2.5 }", "E0204", 21, ""),
        ("shell: x\nretry: { tries: true }", "E0204", 21, ""),
        ("shell: x\nretry: { tries: 4s }", "E0204", 21, ""),
        ("shell: x\nretry: { wait: 10m..30s }", "E0201", 20, "30s..10m"),
        ("shell: x\nretry: { when: [timout] }", "E0205", 21, "timeout"),
        ("shell: x\nretry: 4", "E0141", 12, "tries"),
        ("shell: x\noverlap: skp", "E0205", 14, "skip"),
        ("shell: x\npaused: yes", "E0205", 13, ""),
        ("shell: x\ndst: both", "E0205", 10, ""),
        ("shell: x\nmissed: run-lates", "E0218", 13, "run-latest"),
        ("shell: x\nmissed: run-latest at most 3", "E0218", 13, ""),
        ("shell: x\nmissed: run-all at most 101", "E0218", 13, "100"),
        ("shell: x\non-disconnect: go", "E0218", 20, "continue for 5m"),
        ("shell: x\ndelivery: at-most-once\nretry: { tries: 2 }", "E0219", 5, "at-least-once"),
        ("shell: x\nenv: { A: 1 }\nsecrets: { A: B }", "E0219", 5, ""),
        ("shell: x\nschedule: '*/5 25 * * *'", "E0206", 20, ""),
        ("shell: x\nschedule: ''", "E0216", 15, ""),
        ("shell: x\nschedule: 0 0 30 2 *", "E0206", 19, ""),
        ("shell: x\nschedule: every 0s", "E0206", 21, ""),
        ("shell: x\nat: 13:00", "E0207", 9, ""),
        ("shell: x\nat: 2026-13-05 22:00", "E0207", 9, ""),
        ("shell: x\nat: 2026-12-05 22:00\nschedule: every 5m", "E0148", 5, ""),
        ("shell: x\ntimezone: Europe/Berln", "E0208", 15, "Europe/Berlin"),
        ("shell: x\ntimezone: ../../etc/passwd", "E0208", 15, ""),
        ("shell: x\ntimezone: ''", "E0216", 15, ""),
        ("shell: x\nalert: { to: ops@example.com }", "E0209", 18, "mail:ops@example.com"),
        ("shell: x\nalert: { to: 'mail:a@b, c@d' }", "E0209", 18, ""),
        ("shell: x\nalert: { to: 'mail:a', when: [fail] }", "E0205", 35, "failed"),
        ("shell: x\nalert: { to: 'mail:a', runbook: 'javascript:x' }", "E0212", 37, ""),
        ("shell: x\nenv: { LD_PRELOAD: /x }", "E0211", 12, ""),
        ("shell: x\nenv: { ROTA_RUN_ID: 1 }", "E0211", 12, ""),
        ("shell: x\nsecrets: { BASH_ENV: X }", "E0211", 16, ""),
        ("shell: x\nenv: { 'A=B': 1 }", "E0211", 12, ""),
        ("shell: x\nsecrets: { A: 'b c' }", "E0216", 19, ""),
        ("shell: x\nparams: { Day-Of: 1 }", "E0146", 15, "day_of"),
        ("shell: x\nlabels: { A B: 1 }", "E0146", 15, ""),
        ("shell: x\ncwd: x/y", "E0217", 10, "~/"),
        ("shell: x\nuser: 'a b'", "E0217", 11, ""),
        ('shell: x\ntitle: "a\\nb"', "E0216", 12, ""),
        ("shell: x\nkeep: { logs: 1s }", "E0201", 19, "1h"),
        ("shell: x\nwith: { a: 1 }", "E0148", 5, ""),
        ("python: a:b\nstdin: x", "E0148", 5, ""),
        ("http: { get: 'http://x/' }\nsecrets: { A: B }", "E0148", 5, "${secret.NAME}"),
        ("http: { get: 'http://x/' }\nenv: { A: B }", "E0148", 5, ""),
        ("python: a:b\nvenv: /x\ninterpreter: /y", "E0148", 5, ""),
        ("python: a.b.c", "E0215", 13, "a.b:c"),
        ("python: a:b\nwith: { 'a-b': 1 }", "E0215", 13, ""),
        ("http: {}", "E0144", 11, "get"),
        ("http: { get: 'http://x/', post: 'http://x/' }", "E0148", 31, ""),
        ("http: { get: example.com }", "E0212", 18, "https://example.com"),
        ("http: { get: 'file:///etc/passwd' }", "E0212", 18, ""),
        ("http: { get: 'gopher://x/' }", "E0212", 18, ""),
        ("http: { get: 'http://a:b@x/' }", "E0212", 18, "header"),
        ("http: { get: 'http://x/a b' }", "E0212", 18, "%20"),
        ("http: { get: 'http://x:99999/' }", "E0212", 18, ""),
        ("http: { get: 'http:///x' }", "E0212", 18, ""),
        ("http: { request: 'http://x/' }", "E0212", 22, "PURGE"),
        ("http: { get: 'http://x/', headers: { Host: a } }", "E0213", 42, ""),
        ("http: { get: 'http://x/', headers: { Rota-Run: a } }", "E0213", 42, ""),
        ("http: { get: 'http://x/', headers: { 'A B': a } }", "E0213", 42, ""),
        ("http: { get: 'http://x/', headers: { a: 1, A: 2 } }", "E0213", 48, ""),
        ('http: { get: "http://x/", headers: { A: "x\\r\\ny" } }', "E0216", 45, ""),
        ("http: { get: 'http://x/', body: a, json: 1 }", "E0148", 40, ""),
        ("http: { get: 'http://x/', expect: { status: 999 } }", "E0214", 49, "2xx"),
        ("http: { get: 'http://x/', expect: { status: 300..200 } }", "E0214", 49, ""),
        ("http: { get: 'http://x/', expect: { json: rates } }", "E0214", 47, "exists"),
        ("http: { get: 'http://x/', expect: { json: '$.a == b' } }", "E0214", 47, '"b"'),
        ("http: { get: 'http://x/', follow-redirects: 99 }", "E0204", 49, "0 to 20"),
        ("http: { get: 'http://x/${due.dat}' }", "E0210", 28, "due.date"),
        ("http: { get: 'http://x/${params.x}' }", "E0210", 28, "params: { x:"),
        ("http: { get: 'http://x/${secrets.X}' }", "E0210", 28, "secret.X"),
        ("http: { get: 'http://x/${secret.a b}' }", "E0210", 28, ""),
        ("http: { get: 'http://x/${due' }", "E0210", 28, "close it"),
        ("http: { get: 'http://x/', json: { a: ['${x}'] } }", "E0210", 44, ""),
        ("http: { get: 'http://x/', headers: { A: '${7*7}' } }", "E0210", 46, ""),
        ("http: x", "E0141", 11, ""),
    ],
)
def test_what_is_wrong_is_told_with_place_and_fix(keys: str, code: str, column: int, words: str) -> None:
    problem = one_problem(keys)
    assert (problem.code, problem.column) == (code, column), problem
    assert words in problem.label + " ".join(problem.help) + problem.message, problem


def test_templates_are_not_code() -> None:
    spec = spec_of("shell: echo ${HOME} $(date) `id` ${due.date}\ntitle: '{{ 7*7 }} ${x}'")
    assert spec.task == ShellTask(command="echo ${HOME} $(date) `id` ${due.date}")
    assert spec.title == "{{ 7*7 }} ${x}"


def test_a_hostile_command_stays_byte_equal() -> None:
    command = "; rm -rf / $( id ) `id` && -rf 'x' \"y\" \\ %s \U0001f600"
    assert parse_spec("ns", "a", {"shell": command}).task == ShellTask(command=command)


def test_all_problems_are_told_in_one_pass() -> None:
    text = """\
version: 2
namespace: Web
jobs:
  Fetch: { shell: x }
  b: { schedul: x, shell: x, timeout: 5 }
  c: { python: x, schedule: "99 * * * *", retry: { tries: 0 } }
"""
    found = [(problem.code, problem.line) for problem in parse_text(text, "x.yaml").problems]
    assert found == [
        ("E0140", 1),
        ("E0146", 2),
        ("E0146", 4),
        ("E0142", 5),
        ("E0201", 5),
        ("E0215", 6),
        ("E0206", 6),
        ("E0204", 6),
    ]


def test_one_good_job_beside_a_bad_one_is_still_read() -> None:
    result = parse_text("version: 1\njobs:\n  a: { shell: x, nope: 1 }\n  b: { shell: y }\n", "x.yaml")
    assert "default/b" in [job.full_name for job in result.jobs]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("jobs: {}", "E0140"),
        ("version: 1", "E0144"),
        ("version: 1\nschedule: x", "E0142"),
        ("[a]", "E0141"),
        ("just text", "E0141"),
        ("version: 1\njobs: []", "E0141"),
        ("version: 1\njobs: { a: x }", "E0141"),
        ("version: 1\nnamespace: {}\njobs:", "E0141"),
        ("version: 1\njobs: { '': { shell: x } }", "E0146"),
        ("version: 1\ndefaults: { shell: x }\njobs:", "E0148"),
        ("version: 1\ndefaults: x\njobs:", "E0141"),
        ("version: 1\ndefaults: { timout: 5s }\njobs:", "E0142"),
        ("version: 1\ndefaults: { container: x }\njobs:", "E0143"),
    ],
)
def test_the_frame_of_a_file(text: str, code: str) -> None:
    assert code in [problem.code for problem in parse_text(text, "x.yaml").problems]


def test_defaults_are_joined_key_by_key() -> None:
    text = """\
version: 1
defaults: { timezone: Europe/Berlin, env: { A: 1, B: 2 }, alert: { to: "mail:a@b" }, schedule: every 5m, user: x }
jobs:
  s: { shell: x, env: { B: 3, C: 4 }, alert: { when: [late] } }
  h: { http: { get: "http://x/" } }
  once: { shell: x, at: 2026-12-05 22:00, timezone: UTC }
"""
    result = parse_text(text, "x.yaml")
    assert result.problems == ()
    shell, http, once = (job.spec for job in result.jobs)
    assert shell.env == {"A": "1", "B": "3", "C": "4"}
    assert shell.alert == AlertPolicy(to=("mail:a@b",), when=("late",))
    assert (http.env, http.user, http.timezone) == ({}, None, "Europe/Berlin")
    assert (once.schedule, once.timezone) == (None, "UTC")


def test_none_takes_a_default_back() -> None:
    text = (
        "version: 1\ndefaults: { timeout: 5m, late-after: 1h }\n"
        "jobs:\n  a: { shell: x, timeout: none, late-after: none }\n"
    )
    spec = parse_text(text, "x.yaml").jobs[0].spec
    assert (spec.timeout, spec.late_after) == (None, None)


def test_a_wrong_default_is_told_once() -> None:
    text = "version: 1\ndefaults: { timeout: 5 }\njobs:\n  a: { shell: x }\n  b: { shell: x }\n"
    assert [(problem.code, problem.line) for problem in parse_text(text, "x.yaml").problems] == [("E0201", 2)]


def test_the_rule_of_delivery_holds_across_defaults() -> None:
    text = "version: 1\ndefaults: { retry: { tries: 3 } }\njobs:\n  a: { shell: x, delivery: at-most-once }\n"
    assert [problem.code for problem in parse_text(text, "x.yaml").problems] == ["E0219"]


def test_an_alert_without_target_is_a_warning() -> None:
    problem = one_problem("shell: x\nalert: { when: [failed] }")
    assert (problem.code, problem.severity, problem.is_error) == ("W0203", "warning", False)


def test_schedules_with_surprises_are_warned_of() -> None:
    text = _file("shell: x\nschedule: '*/7 * * * *'")
    now = datetime(2026, 11, 23, tzinfo=UTC)
    found = parse_text(text, "x.yaml", now).problems
    assert [(problem.code, problem.line) for problem in found] == [("W0201", 6)]
    assert "uneven" in found[0].message
    assert parse_text(text, "x.yaml").problems == ()


def test_a_job_whose_time_has_passed_is_warned_of() -> None:
    text = _file("shell: x\nat: 2020-01-01 00:00")
    found = parse_text(text, "x.yaml", datetime(2026, 11, 23, tzinfo=UTC)).problems
    assert [problem.code for problem in found] == ["W0202"]


def test_a_job_without_schedule_is_fine() -> None:
    spec = spec_of("shell: x")
    assert (spec.schedule, spec.at) == (None, None)


def test_yaml_anchors_share_keys() -> None:
    text = "version: 1\njobs:\n  a: { shell: x, retry: &r { tries: 3 } }\n  b: { shell: y, retry: *r }\n"
    assert [job.spec.retry.tries for job in parse_text(text, "x.yaml").jobs] == [3, 3]


def test_specs_of_the_api_have_paths_for_places() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_spec("web", "a", {"http": {"get": "ftp://x", "headers": {"Host": "x"}}, "timeout": 5, "nope": [1]})
    found = {(problem.code, problem.path) for problem in caught.value.problems}
    assert found == {("E0212", "http.get"), ("E0213", "http.headers.Host"), ("E0201", "timeout"), ("E0142", "nope")}


@pytest.mark.parametrize(
    "mapping",
    [{}, {"shell": "x\0"}, {"shell": 1e400}, {"shell": "x", "env": {"A": 2**70}}, {"shell": "\ud800"}, {"with": {}}],
)
def test_bad_specs_of_the_api_are_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_spec("web", "a", mapping)
    assert caught.value.problems


def test_deep_and_huge_specs_of_the_api_are_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(10_000):
        deep = {"a": deep}
    with pytest.raises(JobFileError):
        parse_spec("web", "a", {"shell": "x", "with": deep})
    with pytest.raises(TooLarge):
        parse_spec("web", "a", {"shell": "x", "stdin": "y" * 10_000_000})


@pytest.mark.parametrize(("namespace", "name"), [("", "a"), ("A", "a"), ("a", "b/c"), ("a", "../x"), ("a", "x" * 101)])
def test_bad_names_of_the_api_are_refused(namespace: str, name: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_spec(namespace, name, {"shell": "x"})
    assert "E0146" in [problem.code for problem in caught.value.problems]


def test_warnings_do_not_refuse_a_spec_of_the_api() -> None:
    assert parse_spec("web", "a", {"shell": "x", "alert": {"when": ["late"]}}).alert.when == ("late",)
