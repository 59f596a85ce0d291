"""One job of a job file, its defaults already joined → JobSpec."""

import re
from collections.abc import Callable, Collection
from typing import Any, Final

from rota.core.model import Delivery, JobSpec, Overlap, PythonTask, ShellTask, Task
from rota.core.schedule import DstPolicy
from rota.jobfile.document import Entry, Mapping, Node, Scalar
from rota.jobfile.fields import JOB_KEYS, WHAT_KEYS
from rota.jobfile.http_keys import http_task
from rota.jobfile.names import ENV_NAME, LONGEST_NAME, PARAM_NAME, SECRET_NAME
from rota.jobfile.other_keys import NOT_IN_DEFAULTS, ONLY_FOR
from rota.jobfile.policy_keys import alert_policy, keep_policy, missed_policy, on_disconnect, retry_policy
from rota.jobfile.reading import (
    Reading,
    choice,
    duration,
    entries,
    flag,
    line,
    named_values,
    plain_tree,
    scalar,
    show,
    size,
    text,
)
from rota.jobfile.when_keys import check_when, timezone

HTTP_TIMEOUT: Final = 60.0
SHORTEST_TIMEOUT: Final = 0.1
LONGEST_GRACE: Final = 3600.0

_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_USER: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,62}\$?", re.ASCII)
_FORBIDDEN_ENV: Final = ("LD_", "ROTA_")


class _Nothing:
    """What stands for "use the model's default"."""


NOTHING: Final = _Nothing()


def read_defaults(reading: Reading, node: Node) -> Mapping | None:
    """The checked defaults of a file: keys that cannot be defaults are noted and left out."""
    known = {name: field for name, field in JOB_KEYS.items() if name not in NOT_IN_DEFAULTS}
    if isinstance(node, Mapping):
        for name in [name for name in node.entries if name in NOT_IN_DEFAULTS]:
            key = node.entries[name].key
            reading.wrong("E0148", f'"{name}" cannot be a default', key, label="write it in each job")
        rest = {name: entry for name, entry in node.entries.items() if name not in NOT_IN_DEFAULTS}
        node = Mapping(entries=rest, start=node.start, end=node.end, path=node.path)
    found = entries(reading, node, known, "defaults")
    params = _params(reading, found)
    for name, entry in found.items():
        _read_key(reading, name, entry.value, params)
    return Mapping(entries=found) if isinstance(node, Mapping) else None


def with_defaults(job: Mapping, defaults: Mapping | None) -> tuple[Mapping, frozenset[str]]:
    """`job` with what it leaves to the defaults, and the names of the keys taken whole from them."""
    if defaults is None:
        return job, frozenset()
    joined = dict(job.entries)
    taken: set[str] = set()
    for name, entry in defaults.entries.items():
        own = joined.get(name)
        if own is None:
            if not (name == "schedule" and "at" in joined):
                joined[name] = entry
                taken.add(name)
        elif isinstance(own.value, Mapping) and isinstance(entry.value, Mapping):
            both = {**entry.value.entries, **own.value.entries}
            place = own.value
            joined[name] = Entry(own.key, Mapping(entries=both, start=place.start, end=place.end, path=place.path))
    return Mapping(entries=joined, start=job.start, end=job.end, path=job.path), frozenset(taken)


def read_job(reading: Reading, node: Mapping, full_name: str, taken: Collection[str]) -> JobSpec | None:
    """The spec that `node` describes, or None when it has no usable task; problems are noted."""
    found = entries(reading, node, JOB_KEYS, f"job {full_name}")
    kind = _kind(reading, node, found)
    if kind is not None:
        found = _fitting(reading, found, kind, taken)
    params = _params(reading, found)
    values: dict[str, Any] = {}
    for name, entry in found.items():
        value = _read_key(reading, name, entry.value, params)
        if value is not NOTHING:
            values[name.replace("-", "_")] = value
    task = _task(values, kind)
    values = {name: value for name, value in values.items() if name not in ("http", "shell", "python", "stdin", "with")}
    _complete(reading, found, values, kind)
    # Without a usable task the rest is still checked: all causes are told in one pass.
    spec = JobSpec(task=task or ShellTask(command=""), **values)
    _check_together(reading, found, spec)
    check_when(reading, found, spec, full_name)
    return spec if task is not None else None


def _kind(reading: Reading, node: Mapping, found: dict[str, Entry]) -> str | None:
    """The one what-key."""
    given = [name for name in WHAT_KEYS if name in found]
    if len(given) == 1:
        return given[0]
    if given:
        key = found[given[1]].key
        names = " and ".join(given)
        reading.wrong("E0145", f"{reading.where} has {names}; a job runs one thing", key, label="make two jobs of it")
        return None
    if not any(name in node.entries for name in ("container", "sql", "steps")):
        hint = f"add one of: {', '.join(WHAT_KEYS)}"
        reading.wrong("E0145", f"{reading.where} does not say what to run", node, label=hint)
    return None


def _fitting(reading: Reading, found: dict[str, Entry], kind: str, taken: Collection[str]) -> dict[str, Entry]:
    """The keys that this kind of job has; a default that does not fit is left out silently."""
    fitting: dict[str, Entry] = {}
    for name, entry in found.items():
        if kind in ONLY_FOR.get(name, (kind,)):
            fitting[name] = entry
        elif name not in taken:
            kinds = " and ".join(ONLY_FOR[name])
            hint = "use ${secret.NAME} in headers or body" if name == "secrets" else "remove it"
            reading.wrong("E0148", f'"{name}" is for {kinds} jobs; {reading.where} is {kind}', entry.key, label=hint)
    if "venv" in fitting and "interpreter" in fitting:
        key = fitting["interpreter"].key
        reading.wrong("E0148", f"{reading.where} has both venv and interpreter", key, label="keep one of them")
    return fitting


def _task(values: dict[str, Any], kind: str | None) -> Task | None:
    if kind == "http":
        return values.get("http")
    if kind == "shell" and "shell" in values:
        return ShellTask(command=values["shell"], stdin=values.get("stdin"))
    if kind == "python" and "python" in values:
        return PythonTask(function=values["python"], arguments=values.get("with", {}))
    return None


def _complete(reading: Reading, found: dict[str, Entry], values: dict[str, Any], kind: str | None) -> None:
    """Defaults that depend on the kind of job."""
    if kind != "http":
        return
    if "timeout" in values and values["timeout"] is None:
        entry = found["timeout"]
        reading.wrong("E0201", "an http job always has a timeout", entry.value, label="write for example 1h")
    values.setdefault("timeout", HTTP_TIMEOUT)


def _check_together(reading: Reading, found: dict[str, Entry], spec: JobSpec) -> None:
    """What is right by itself and wrong together."""
    if spec.delivery is Delivery.AT_MOST_ONCE and spec.retry.tries > 1:
        key = (found.get("retry") or found["delivery"]).key
        message = f"at-most-once goes with one try, not {spec.retry.tries}"
        reading.wrong("E0219", message, key, label="remove retry, or write delivery: at-least-once")
    for name in sorted(set(spec.env) & set(spec.secrets)):
        key = found["secrets"].key
        reading.wrong("E0219", f"{name} is set by env and by secrets", key, label="keep one of them")
    alert = found.get("alert")
    if alert is not None and isinstance(alert.value, Mapping) and "to" not in alert.value.entries:
        key = alert.key
        reading.wrong("W0203", f"alert of {reading.where} tells nobody", key, label="add to: [...]")


Read = Callable[[Reading, Node, Collection[str]], Any]


def _read_key(reading: Reading, name: str, node: Node, params: Collection[str]) -> Any:
    """The value of one key for the model, or NOTHING."""
    value = _READERS[name](reading, node, params)
    return NOTHING if value is None else value.value if isinstance(value, _Explicit) else value


class _Explicit:
    """A value that is really None."""

    value = None


def _line(name: str) -> Read:
    return lambda reading, node, _: line(reading, node, name)


def _flag(name: str) -> Read:
    return lambda reading, node, _: flag(reading, node, name)


def _policy(read: Callable[[Reading, Node], Any]) -> Read:
    return lambda reading, node, _: read(reading, node)


def _choice(name: str, enum: Callable[[str], Any], choices: Collection[str]) -> Read:
    def read(reading: Reading, node: Node, _: Collection[str]) -> Any:
        word = choice(reading, node, name, choices)
        return None if word is None else enum(word)

    return read


def _duration_or_none(name: str, least: float) -> Read:
    def read(reading: Reading, node: Node, _: Collection[str]) -> Any:
        if isinstance(node, Scalar) and node.text == "none":
            return _Explicit()
        return duration(reading, node, name, least=least)

    return read


def _grace(reading: Reading, node: Node, _: Collection[str]) -> float | None:
    return duration(reading, node, "kill-grace", least=0.0, most=LONGEST_GRACE)


def _log_limit(reading: Reading, node: Node, _: Collection[str]) -> int | None:
    return size(reading, node, "log-limit", least=1024, most=1024**3)


def _shell(reading: Reading, node: Node, _: Collection[str]) -> str | None:
    return text(reading, node, "shell")


def _stdin(reading: Reading, node: Node, _: Collection[str]) -> str | None:
    return text(reading, node, "stdin", longest=1024 * 1024, may_be_empty=True)


def _python(reading: Reading, node: Node, _: Collection[str]) -> str | None:
    found = line(reading, node, "python")
    if found is None or _FUNCTION.fullmatch(found):
        return found
    module, dot, function = found.rpartition(".")
    fixed = f"{module}:{function}"
    label = f'did you mean "{fixed}"?' if dot and _FUNCTION.fullmatch(fixed) else "write package.module:function"
    reading.wrong("E0215", f"{show(node)} is not a python function", node, label=label)
    return None


def _arguments(reading: Reading, node: Node, _: Collection[str]) -> dict[str, Any] | None:
    arguments = plain_tree(reading, node, "with") if named_values(reading, node, "with") else None
    if arguments is None:
        return None
    wrong = [name for name in arguments if not name.isidentifier()]
    for name in wrong:
        assert isinstance(node, Mapping)
        reading.wrong("E0215", f'"{name[:40]}" is not the name of an argument', node.entries[name].key)
    return None if wrong else arguments


def _path(name: str) -> Read:
    def read(reading: Reading, node: Node, _: Collection[str]) -> str | None:
        found = text(reading, node, name, longest=4096, one_line=True)
        if found is None or found.startswith(("/", "~/")) or found == "~":
            return found
        reading.wrong("E0217", f'{name} "{found[:60]}" is not an absolute path', node, label="begin with / or ~/")
        return None

    return read


def _user(reading: Reading, node: Node, _: Collection[str]) -> str | None:
    found = line(reading, node, "user")
    if found is None or _USER.fullmatch(found):
        return found
    reading.wrong("E0217", f"{show(node)} is not a user name", node)
    return None


def _labels(reading: Reading, node: Node, _: Collection[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, entry in named_values(reading, node, "labels").items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9._/-]*", name, re.ASCII) or len(name) > LONGEST_NAME:
            reading.wrong("E0146", f'the label "{name[:40]}" is not allowed', entry.key, label="a–z, 0–9 . _ - /")
            continue
        value = line(reading, entry.value, f"the label {name}")
        if value is not None:
            labels[name] = value
    return labels


def _env(reading: Reading, node: Node, _: Collection[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, entry in named_values(reading, node, "env").items():
        value = text(reading, entry.value, f"env.{name[:40]}", may_be_empty=True)
        if _allowed_env(reading, name, entry) and value is not None:
            env[name] = value
    return env


def _secrets(reading: Reading, node: Node, _: Collection[str]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for name, entry in named_values(reading, node, "secrets").items():
        value = line(reading, entry.value, f"secrets.{name[:40]}")
        if not _allowed_env(reading, name, entry) or value is None:
            continue
        if SECRET_NAME.fullmatch(value):
            secrets[name] = value
        else:
            reading.wrong("E0216", f"{show(entry.value)} is not the name of a secret", entry.value)
    return secrets


def _allowed_env(reading: Reading, name: str, entry: Entry) -> bool:
    if not ENV_NAME.fullmatch(name):
        reading.wrong("E0211", f'"{name[:40]}" is not the name of an environment variable', entry.key)
        return False
    if name.upper().startswith(_FORBIDDEN_ENV) or name == "BASH_ENV":
        hint = "LD_*, BASH_ENV and ROTA_* cannot be set by a job"
        reading.wrong("E0211", f"a job may not set {name}", entry.key, label="remove it", help=[hint])
        return False
    return True


def _params(reading: Reading, found: dict[str, Entry]) -> dict[str, str]:
    """The declared params; read before all else, because http refers to them."""
    return _param_values(reading, found["params"].value, ()) if "params" in found else {}


def _param_values(reading: Reading, node: Node, _: Collection[str]) -> dict[str, str]:
    params: dict[str, str] = {}
    for name, entry in named_values(reading, node, "params").items():
        if not PARAM_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            fix = re.sub(r"[^a-z0-9_]", "_", name.lower())
            label = f'write "{fix}"' if PARAM_NAME.fullmatch(fix) else "a–z, 0–9 and _"
            reading.wrong("E0146", f'the param "{name[:40]}" is not allowed', entry.key, label=label)
            continue
        value = scalar(reading, entry.value, f"params.{name}") if _is_given(entry.value) else None
        checked = "" if value is None else text(reading, entry.value, f"params.{name}", may_be_empty=True)
        if checked is not None:
            params[name] = checked
    return params


def _is_given(node: Node) -> bool:
    return not (isinstance(node, Scalar) and node.value is None)


_READERS: Final[dict[str, Read]] = {
    "schedule": lambda reading, node, _: text(reading, node, "schedule", one_line=True, longest=1_100_000),
    "at": lambda reading, node, _: line(reading, node, "at"),
    "timezone": lambda reading, node, _: timezone(reading, node),
    "dst": _choice("dst", DstPolicy, [policy.value for policy in DstPolicy]),
    "http": http_task,
    "shell": _shell,
    "python": _python,
    "timeout": _duration_or_none("timeout", SHORTEST_TIMEOUT),
    "kill-grace": _grace,
    "log-limit": _log_limit,
    "retry": _policy(retry_policy),
    "overlap": _choice("overlap", Overlap, [overlap.value for overlap in Overlap]),
    "missed": _policy(missed_policy),
    "delivery": _choice("delivery", Delivery, [delivery.value for delivery in Delivery]),
    "on-disconnect": _policy(on_disconnect),
    "late-after": _duration_or_none("late-after", 1.0),
    "alert": _policy(alert_policy),
    "keep": _policy(keep_policy),
    "env": _env,
    "secrets": _secrets,
    "params": _param_values,
    "cwd": _path("cwd"),
    "user": _user,
    "stdin": _stdin,
    "with": _arguments,
    "venv": _path("venv"),
    "interpreter": _path("interpreter"),
    "title": _line("title"),
    "owner": _line("owner"),
    "labels": _labels,
    "shadow": _flag("shadow"),
    "paused": _flag("paused"),
}
