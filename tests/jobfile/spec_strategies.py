"""Hypothesis strategies for job specs in the form that parsing gives them."""

import json

from hypothesis import strategies as st

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
from rota.jobfile.policy_keys import ALERT_EVENTS, RETRIED_KINDS

printable = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.text(printable, min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
lines = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool)
)
no_template = texts.filter(lambda text: "$" not in text)
headers = st.dictionaries(
    st.sampled_from(["Accept", "X-One", "Authorization", "User-Agent"]),
    lines.filter(lambda text: "$" not in text),
    max_size=3,
)
env_names = st.from_regex(r"[A-KM-QS-Z][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "BASH_ENV")
milliseconds = st.integers(1, 7 * 86_400_000)


def durations(least: float, most: float) -> st.SearchStrategy[float]:
    """Whole milliseconds within the limits, in seconds."""
    return st.integers(int(least * 1000), int(most * 1000)).map(lambda value: value / 1000)


def optional(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


schedules = st.sampled_from(
    [None, "every day at 03:00", "*/5 * * * *", "@daily", "0 3 * * 1-5", "every 5m, spread 2m", "at start", "H 3 * * *"]
)
statuses = st.lists(st.sampled_from(["200", "2xx", "301", "200..204", "404"]), min_size=1, max_size=3, unique=True)
json_checks = st.lists(
    st.sampled_from(["$.rates.EUR exists", "$.ok == true", '$.name == "x y"', "$.items[0].n >= 3.5", "$ exists"]),
    max_size=3,
    unique=True,
)
expects = st.builds(
    HttpExpect,
    status=statuses.map(tuple),
    headers=headers,
    json=json_checks.map(tuple),
    body=optional(texts),
    max_body=optional(st.integers(1, 1024**3)),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
http_tasks = st.builds(
    HttpTask,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PURGE", "MKCOL"]),
    url=st.sampled_from(["https://example.com/", "http://localhost:8080/?a=1&day=${due.date}#x", "https://x/%20/ü"]),
    headers=headers,
    body=optional(no_template | json_values.map(json.dumps).filter(lambda text: "$" not in text)),
    expect=expects,
    follow_redirects=st.integers(0, 20),
)
shell_tasks = st.builds(ShellTask, command=texts, stdin=optional(st.text(printable, max_size=40)))
python_tasks = st.builds(
    PythonTask,
    function=st.sampled_from(["a:b", "pkg.mod:run", "pkg.mod:Class.method"]),
    arguments=st.dictionaries(st.sampled_from(["partner", "full", "n", "_x"]), json_values, max_size=3),
)
waits = st.tuples(durations(0, 7 * 86400), durations(0, 7 * 86400)).map(sorted)


@st.composite
def retries(draw: st.DrawFn) -> RetryPolicy:
    low, high = draw(waits)
    return RetryPolicy(
        tries=draw(st.integers(1, 100)),
        wait_min=low,
        wait_max=high,
        jitter=draw(st.integers(0, 1000).map(lambda value: float(f"{value / 10:.1f}") / 100)),
        when=tuple(draw(st.lists(st.sampled_from(RETRIED_KINDS), max_size=4, unique=True))),
    )


@st.composite
def missed(draw: st.DrawFn) -> MissedPolicy:
    mode = draw(st.sampled_from(MissedMode))
    if mode is MissedMode.SKIP:
        return MissedPolicy(mode=mode)
    within = draw(optional(durations(1, 366 * 86400)))
    at_most = draw(st.integers(1, 100)) if mode is MissedMode.RUN_ALL else 100
    return MissedPolicy(mode=mode, within=within, at_most=at_most)


alerts = st.builds(
    AlertPolicy,
    to=st.lists(st.sampled_from(["mail:ops@example.com", "slack:ops", "pagerduty:a b"]), max_size=2, unique=True).map(
        tuple
    ),
    when=st.lists(st.sampled_from(ALERT_EVENTS), min_size=1, max_size=5, unique=True).map(tuple),
    runbook=optional(st.just("https://wiki.example.com/run/rates")),
)
keeps = st.builds(
    KeepPolicy, history=optional(durations(3600, 3660 * 86400)), logs=optional(durations(3600, 3660 * 86400))
)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    """Any spec that a job file can say."""
    task = draw(http_tasks | shell_tasks | python_tasks)
    delivery = draw(st.sampled_from(Delivery))
    values = {
        "task": task,
        "schedule": draw(schedules),
        "timezone": draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])),
        "dst": draw(st.sampled_from(DstPolicy)),
        "title": draw(optional(lines)),
        "owner": draw(optional(lines)),
        "labels": draw(st.dictionaries(st.sampled_from(["tier", "area", "a/b"]), lines, max_size=3)),
        "retry": RetryPolicy() if delivery is Delivery.AT_MOST_ONCE else draw(retries()),
        "overlap": draw(st.sampled_from(Overlap)),
        "missed": draw(missed()),
        "delivery": delivery,
        "on_disconnect": draw(optional(durations(1, 7 * 86400))),
        "late_after": draw(optional(durations(1, 366 * 86400))),
        "alert": draw(alerts),
        "keep": draw(keeps),
        "log_limit": draw(st.integers(1024, 1024**3)),
        "params": draw(st.dictionaries(st.sampled_from(["day", "x_1"]), st.text(printable, max_size=10), max_size=2)),
        "shadow": draw(st.booleans()),
        "paused": draw(st.booleans()),
    }
    if values["schedule"] is None:
        values["at"] = draw(optional(st.just("2026-12-05 22:00")))
    values |= draw(_of_kind(task))
    return JobSpec(**values)


@st.composite
def _of_kind(draw: st.DrawFn, task: object) -> dict:
    """The keys that only some kinds of job have."""
    if isinstance(task, HttpTask):
        return {"timeout": draw(durations(0.1, 366 * 86400))}
    values = {
        "timeout": draw(optional(durations(0.1, 366 * 86400))),
        "kill_grace": draw(durations(0, 3600)),
        "env": draw(st.dictionaries(env_names, st.text(printable, max_size=20), max_size=3)),
        "cwd": draw(optional(st.sampled_from(["/srv/a b", "~", "~/x", "/tmp/ü"]))),
    }
    values["secrets"] = {f"{name}_S": "NAME.x" for name in values["env"]}
    if isinstance(task, ShellTask):
        values["user"] = draw(optional(st.sampled_from(["deploy", "www-data"])))
    else:
        values[draw(st.sampled_from(["venv", "interpreter"]))] = draw(optional(st.just("/srv/app/.venv")))
    return values
