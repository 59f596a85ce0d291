"""The keys retry, missed, on-disconnect, alert and keep → policies of the model."""

import re
from typing import Any, Final

from rota.core.model import AlertPolicy, KeepPolicy, MissedMode, MissedPolicy, RetryPolicy
from rota.core.retry import FAILURE_KINDS, NEVER_RETRIED
from rota.jobfile.document import Node, Scalar
from rota.jobfile.http_keys import url_problem
from rota.jobfile.part_fields import ALERT_KEYS, KEEP_KEYS, RETRY_KEYS
from rota.jobfile.problems import nearest
from rota.jobfile.reading import (
    LONGEST_DURATION,
    Reading,
    duration,
    duration_of,
    entries,
    line,
    number,
    percent,
    scalar,
    several,
)

ALERT_EVENTS: Final = ("failed", "missed", "late", "recovered", "output")
RETRIED_KINDS: Final = tuple(kind for kind in FAILURE_KINDS if kind not in NEVER_RETRIED)
MOST_TRIES: Final = 100
MOST_RUNS: Final = 100
LONGEST_WAIT: Final = 7 * 86400.0
LONGEST_KEEP: Final = 3660 * 86400.0

_MISSED: Final = re.compile(r"(run-latest|run-all)(?:\s+within\s+(.+?))?(?:\s+at\s+most\s+(\S+))?\s*")
_TARGET: Final = re.compile(r"([a-z0-9][a-z0-9._-]*):(\S.*)", re.ASCII)
# A local mailbox such as root is an address too: that is where cron's mail goes.
_MAILBOX: Final = re.compile(r"[^@\s,;<>\"]+(?:@[^@\s,;<>\"]+)?")


def retry_policy(reading: Reading, node: Node) -> RetryPolicy:
    """`{ tries: 4, wait: 30s..10m, jitter: 20%, when: [timeout] }`."""
    found = entries(reading, node, RETRY_KEYS, "retry")
    values: dict[str, Any] = {}
    if "tries" in found:
        values["tries"] = number(reading, found["tries"].value, "retry.tries", least=1, most=MOST_TRIES)
    if "jitter" in found:
        values["jitter"] = percent(reading, found["jitter"].value, "retry.jitter")
    if "wait" in found:
        wait = _wait(reading, found["wait"].value)
        if wait is not None:
            values["wait_min"], values["wait_max"] = wait
    if "when" in found:
        values["when"] = _words(reading, found["when"].value, "retry.when", RETRIED_KINDS)
    return RetryPolicy(**_given(values))


def _wait(reading: Reading, node: Node) -> tuple[float, float] | None:
    found = scalar(reading, node, "retry.wait", "E0201")
    if found is None:
        return None
    low, dots, high = found.text.partition("..")
    limits = (0.0, LONGEST_WAIT)
    least = duration_of(reading, found, low, "retry.wait", limits)
    most = duration_of(reading, found, high, "retry.wait", limits) if dots else least
    if least is None or most is None:
        return None
    if least > most:
        fix = f"write {high.strip()}..{low.strip()}"
        reading.wrong("E0201", f'retry.wait: "{found.text}" ends before it begins', found, label=fix)
        return None
    return least, most


def missed_policy(reading: Reading, node: Node) -> MissedPolicy:
    """`skip`, `run-latest [within D]`, `run-all [within D] [at most N]`."""
    found = scalar(reading, node, "missed", "E0218")
    if found is None:
        return MissedPolicy()
    words = found.text.strip()
    if words == "skip":
        return MissedPolicy(mode=MissedMode.SKIP)
    match = _MISSED.fullmatch(words)
    if match is None:
        forms = "skip, run-latest [within 1h], run-all [within 1h] [at most 100]"
        guess = nearest(words.split(" ")[0] if words else "", [mode.value for mode in MissedMode])
        label = f'did you mean "{guess}"?' if guess and guess != words.split(" ")[0] else ""
        reading.wrong("E0218", f'missed cannot be "{words[:60]}"', found, label=label, help=[f"it is one of: {forms}"])
        return MissedPolicy()
    mode = MissedMode(match[1])
    within = duration_of(reading, found, match[2], "missed", (1.0, LONGEST_DURATION)) if match[2] else None
    return MissedPolicy(mode=mode, within=within, at_most=_at_most(reading, found, mode, match[3]))


def _at_most(reading: Reading, node: Scalar, mode: MissedMode, count: str | None) -> int:
    if count is None:
        return MOST_RUNS
    if mode is not MissedMode.RUN_ALL:
        reading.wrong("E0218", '"at most" belongs to run-all; run-latest runs one', node)
        return MOST_RUNS
    if not re.fullmatch(r"[1-9][0-9]{0,2}", count, re.ASCII) or int(count) > MOST_RUNS:
        reading.wrong("E0218", f'"at most {count[:20]}" is out of range', node, label=f"from 1 to {MOST_RUNS}")
        return MOST_RUNS
    return int(count)


def on_disconnect(reading: Reading, node: Node) -> float | None:
    """`stop` (None) or `continue for D`."""
    found = scalar(reading, node, "on-disconnect", "E0218")
    if found is None or found.text.strip() == "stop":
        return None
    match = re.fullmatch(r"continue\s+for\s+(.+)", found.text.strip())
    if match is None:
        reading.wrong(
            "E0218", f'on-disconnect cannot be "{found.text[:60]}"', found, label="write stop or continue for 5m"
        )
        return None
    return duration_of(reading, found, match[1], "on-disconnect", (1.0, LONGEST_WAIT))


def alert_policy(reading: Reading, node: Node) -> AlertPolicy:
    """`{ to: [...], when: [...], runbook: url }`."""
    found = entries(reading, node, ALERT_KEYS, "alert")
    values: dict[str, Any] = {}
    if "to" in found:
        targets = [_target(reading, item) for item in several(reading, found["to"].value, "alert.to")]
        values["to"] = tuple(dict.fromkeys(target for target in targets if target))
    if "when" in found:
        values["when"] = _words(reading, found["when"].value, "alert.when", ALERT_EVENTS)
    if "runbook" in found:
        runbook = line(reading, found["runbook"].value, "alert.runbook")
        problem, label = url_problem(runbook) if runbook else ("", "")
        if problem:
            reading.wrong("E0212", f"alert.runbook: {problem}", found["runbook"].value, label=label)
        else:
            values["runbook"] = runbook
    return AlertPolicy(**_given(values))


def _target(reading: Reading, node: Scalar) -> str | None:
    target = node.text.strip()
    match = _TARGET.fullmatch(target)
    if match is None or not target.isprintable() or len(target) > 300:
        is_mail = "@" in target and _MAILBOX.fullmatch(target)
        fix = f'write "mail:{target}"' if is_mail else "write channel:target, e.g. mail:ops@example.com"
        reading.wrong("E0209", f'"{target[:60]}" is not an alert target', node, label=fix)
        return None
    if match[1] == "mail" and not _MAILBOX.fullmatch(match[2]):
        reading.wrong(
            "E0209", f'"{match[2][:60]}" is not a mail address', node, label="one address each: mail:ops@example.com"
        )
        return None
    return target


def keep_policy(reading: Reading, node: Node) -> KeepPolicy:
    """`{ history: 30d, logs: 7d }`."""
    found = entries(reading, node, KEEP_KEYS, "keep")
    values = {
        name: duration(reading, found[name].value, f"keep.{name}", least=3600.0, most=LONGEST_KEEP)
        for name in KEEP_KEYS
        if name in found
    }
    return KeepPolicy(**values)


def _words(reading: Reading, node: Node, what: str, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """A list of known words, each once."""
    words: list[str] = []
    for item in several(reading, node, what):
        if item.text in known:
            words.append(item.text)
            continue
        guess = nearest(item.text, known)
        label = f'did you mean "{guess}"?' if guess else ""
        help_line = f"it is one or more of: {', '.join(known)}"
        reading.wrong("E0205", f'{what} cannot be "{item.text[:40]}"', item, label=label, help=[help_line])
    return tuple(dict.fromkeys(words)) or None


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
