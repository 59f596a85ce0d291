"""JobSpec → the form of a job file: only what differs from the defaults, in the units people use."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rota.core.model import (
    AlertPolicy,
    HttpExpect,
    HttpTask,
    JobSpec,
    KeepPolicy,
    MissedMode,
    MissedPolicy,
    PythonTask,
    RetryPolicy,
    ShellTask,
    Task,
)
from rota.core.units import format_duration, format_percent, format_size
from rota.jobfile.job_keys import HTTP_TIMEOUT
from rota.jobfile.part_fields import METHODS
from rota.jobfile.yaml_out import yaml_lines

_ODD: Final = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffc]")
_NO_SPEC: Final = JobSpec(task=ShellTask(command="true"))


def render_spec(spec: JobSpec) -> dict[str, Any]:
    """The keys of a job file that make `spec`; reading them again gives an equal spec."""
    keys: dict[str, Any] = {"title": spec.title, "owner": spec.owner, "schedule": spec.schedule, "at": spec.at}
    keys["timezone"] = spec.timezone if spec.timezone != "UTC" else None
    keys["dst"] = spec.dst.value if spec.dst is not _NO_SPEC.dst else None
    keys.update(render_task(spec.task))
    keys.update(_limits(spec))
    keys.update(_policies(spec))
    for name in ("env", "secrets", "params", "cwd", "user", "venv", "interpreter", "labels"):
        keys[name] = getattr(spec, name)
    keys["shadow"] = spec.shadow or None
    keys["paused"] = spec.paused or None
    return {name: value for name, value in keys.items() if value is not None and value != {}}


def render_task(task: Task) -> dict[str, Any]:
    """The what-key of a job, and the keys that belong to it."""
    if isinstance(task, ShellTask):
        return {"shell": task.command, "stdin": task.stdin}
    if isinstance(task, PythonTask):
        return {"python": task.function, "with": msgspec.to_builtins(task.arguments)}
    return {"http": _http(task)}


def _http(task: HttpTask) -> dict[str, Any]:
    method = task.method.lower()
    keys: dict[str, Any] = {method: task.url} if method in METHODS else {"request": f"{task.method} {task.url}"}
    keys["headers"] = dict(task.headers) or None
    keys["body"] = task.body
    keys["expect"] = _expect(task.expect) or None
    if task.follow_redirects != HttpTask(method="GET", url="").follow_redirects:
        keys["follow-redirects"] = task.follow_redirects
    return {name: value for name, value in keys.items() if value is not None}


def _expect(expect: HttpExpect) -> dict[str, Any]:
    usual = HttpExpect()
    keys = {
        "status": _status(expect.status) if expect.status != usual.status else None,
        "headers": dict(expect.headers) or None,
        "json": _one_or_list(expect.json) if expect.json else None,
        "body": expect.body,
        "max-body": None if expect.max_body is None else format_size(expect.max_body),
    }
    return {name: value for name, value in keys.items() if value is not None}


def _status(statuses: tuple[str, ...]) -> Any:
    """Plain statuses as numbers, as people write them."""
    values = [int(status) if status.isdigit() else status for status in statuses]
    return values[0] if len(values) == 1 else values


def _one_or_list(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _limits(spec: JobSpec) -> dict[str, Any]:
    usual_timeout = HTTP_TIMEOUT if isinstance(spec.task, HttpTask) else None
    timeout = format_duration(spec.timeout) if spec.timeout is not None else "none"
    return {
        "timeout": timeout if spec.timeout != usual_timeout else None,
        "kill-grace": _unless(spec.kill_grace, _NO_SPEC.kill_grace, format_duration),
        "log-limit": _unless(spec.log_limit, _NO_SPEC.log_limit, format_size),
    }


def _policies(spec: JobSpec) -> dict[str, Any]:
    on_disconnect = spec.on_disconnect
    return {
        "retry": render_retry(spec.retry) or None,
        "overlap": _unless(spec.overlap, _NO_SPEC.overlap, lambda overlap: overlap.value),
        "missed": _unless(spec.missed, _NO_SPEC.missed, render_missed),
        "delivery": _unless(spec.delivery, _NO_SPEC.delivery, lambda delivery: delivery.value),
        "on-disconnect": None if on_disconnect is None else f"continue for {format_duration(on_disconnect)}",
        "late-after": None if spec.late_after is None else format_duration(spec.late_after),
        "alert": _alert(spec.alert) or None,
        "keep": _keep(spec.keep) or None,
    }


def _unless(value: Any, usual: Any, write: Any) -> Any:
    return None if value == usual else write(value)


def render_retry(policy: RetryPolicy) -> dict[str, Any]:
    """The keys of `retry` that differ from its defaults."""
    usual = RetryPolicy()
    keys: dict[str, Any] = {}
    if policy.tries != usual.tries:
        keys["tries"] = policy.tries
    if (policy.wait_min, policy.wait_max) != (usual.wait_min, usual.wait_max):
        keys["wait"] = render_wait(policy)
    if policy.jitter != usual.jitter:
        keys["jitter"] = format_percent(policy.jitter)
    if policy.when:
        keys["when"] = list(policy.when)
    return keys


def render_wait(policy: RetryPolicy) -> str:
    """`30s..10m`, or one duration when the wait does not grow."""
    least, most = format_duration(policy.wait_min), format_duration(policy.wait_max)
    return least if least == most else f"{least}..{most}"


def render_missed(policy: MissedPolicy) -> str:
    """`run-all within 1d at most 50`."""
    if policy.mode is MissedMode.SKIP:
        return "skip"
    words = [policy.mode.value]
    if policy.within is not None:
        words.append(f"within {format_duration(policy.within)}")
    if policy.mode is MissedMode.RUN_ALL and policy.at_most != MissedPolicy().at_most:
        words.append(f"at most {policy.at_most}")
    return " ".join(words)


def _alert(policy: AlertPolicy) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if policy.to:
        keys["to"] = list(policy.to)
    if policy.when != AlertPolicy().when:
        keys["when"] = list(policy.when)
    if policy.runbook is not None:
        keys["runbook"] = policy.runbook
    return keys


def _keep(policy: KeepPolicy) -> dict[str, Any]:
    both = {"history": policy.history, "logs": policy.logs}
    return {name: format_duration(value) for name, value in both.items() if value is not None}


def dump_yaml(
    namespace: str,
    jobs: Mapping[str, Mapping[str, Any]],
    comments: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """A job file of `jobs` (name → keys); `comments` stand above a job, that of "" at the top of the file."""
    notes = comments or {}
    lines = [*_comment(notes.get(""), ""), "version: 1", f"namespace: {namespace}"]
    if defaults:
        lines += ["defaults:", *yaml_lines(defaults, "  ")]
    lines.append("jobs:" if jobs else "jobs: {}")
    for name, keys in jobs.items():
        lines += ["", *_comment(notes.get(name), "  "), *yaml_lines({name: keys}, "  ")]
    return "\n".join(lines) + "\n"


def _comment(text: str | None, indent: str) -> list[str]:
    if not text:
        return []
    return [f"{indent}# {_ODD.sub('?', line)}".rstrip() for line in text.splitlines()]
