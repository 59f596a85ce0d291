"""A notice in words: subject and text, built from facts alone.

The subject sorts (state, count, job, cause). The text says the cause first, then the context, then the last lines of
the log, where to look, and why the reader gets it. Facts are data: they are put into lines, never interpreted, and
nothing in them can add a line to the subject or steer a terminal.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rota.alerts.channel import Message
from rota.core.model import Notice
from rota.core.units import format_rough
from rota.core.zones import zone_info, zone_names

LONGEST_SUBJECT: Final = 160
LONGEST_LINE: Final = 500
_RULE: Final = "─" * 60


def build_message(notice: Notice, *, log_tail: Sequence[str] = (), public_url: str = "") -> Message:
    """The message for `notice`; `log_tail` are the last lines the run wrote, if any."""
    words = _WORDS.get(notice.event, _other)
    subject, cause = words(notice)
    blocks = [
        _block([*cause, _advice(notice)]),
        _block(_context(notice)),
        _log(log_tail),
        _block(_links(notice, public_url.rstrip("/"))),
        _block([_why(notice)]),
    ]
    return Message(
        id=notice.id,
        thread=notice.thread,
        target=notice.route.partition(":")[2],
        subject=one_line(subject, LONGEST_SUBJECT),
        text="\n\n".join(block for block in blocks if block) + "\n",
        created=notice.created,
    )


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` without anything that could end its line or steer what shows it, cut to `longest` characters."""
    plain = "".join(" " if _is_control(char) else char for char in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def _is_control(char: str) -> bool:
    """Control, format (also right-to-left overrides), surrogate and line-separator characters."""
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


# ── what happened: subject and first lines ───────────────────────────────────────────────────────────────


def _failed(notice: Notice) -> tuple[str, list[str]]:
    facts = notice.facts
    state = _text(facts, "state").replace("-", " ").upper() or "FAILED"
    cause = _cause(facts)
    count = _fails(facts)
    times = f" ×{count}" if count > 1 else ""
    row = f"; it has failed {count} times in a row" if count > 1 else ""
    head = f"FAILED{times} · {notice.job} · "
    if state not in ("FAILED", "TIMED OUT"):
        head += f"{state.lower()}: "
    return head + cause, [cause, _code(facts), f"{notice.job} {state.lower()}{_tries(facts)}{row}."]


def _recovered(notice: Notice) -> tuple[str, list[str]]:
    count = _fails(notice.facts)
    after = f"after {count} failure{'s' if count != 1 else ''}"
    broken = _span(notice.facts, "last_success", "finished")
    since = f"; the success before it was {broken} earlier" if broken else ""
    return f"RECOVERED · {notice.job} · succeeded {after}", [f"{notice.job} succeeded {after}{since}."]


def _missed(notice: Notice) -> tuple[str, list[str]]:
    cause = _cause(notice.facts)
    return f"MISSED · {notice.job} · {cause}", [cause, f"{notice.job} was due and did not run."]


def _late(notice: Notice) -> tuple[str, list[str]]:
    due = _moment(notice.facts, "due")
    return f"LATE · {notice.job} · due {due}", [
        f"{notice.job} was due {due} and has not succeeded in time.",
        f"It is {_text(notice.facts, 'state') or 'waiting'} now.",
    ]


def _output(notice: Notice) -> tuple[str, list[str]]:
    state = _text(notice.facts, "state")
    return f"OUTPUT · {notice.job} · {state}", [f"{notice.job} {state} and wrote output."]


def _test(notice: Notice) -> tuple[str, list[str]]:
    by = _text(notice.facts, "by")
    asked = f" {by} asked for it." if by else ""
    return "TEST · Rota can reach you here", [f"This is a test message; nothing is wrong.{asked}"]


def _condition(notice: Notice) -> tuple[str, list[str]]:
    title = _text(notice.facts, "title") or "Rota needs attention"
    cause = _cause(notice.facts)
    return f"ATTENTION · {title} · {cause}", [f"{title}:", cause, _text(notice.facts, "hint")]


def _other(notice: Notice) -> tuple[str, list[str]]:
    return f"{notice.event.upper()} · {notice.job or 'Rota'}", [_cause(notice.facts)]


_WORDS: Final[dict[str, Callable[[Notice], tuple[str, list[str]]]]] = {
    "failed": _failed,
    "recovered": _recovered,
    "missed": _missed,
    "late": _late,
    "output": _output,
    "test": _test,
    "condition": _condition,
}


# ── context ──────────────────────────────────────────────────────────────────────────────────────────────


def _context(notice: Notice) -> list[str]:
    """The facts, one to a line, those that are known."""
    facts = notice.facts
    rows = [
        ("Job", " · ".join(part for part in (notice.job or "", _text(facts, "title")) if part) if notice.job else ""),
        ("Owner", _text(facts, "owner")),
        ("Due", _moment(facts, "due")),
        ("Started", _moment(facts, "started")),
        ("Took", _span(facts, "started", "finished")),
        ("Worker", _text(facts, "worker")),
        ("Last success", _moment(facts, "last_success") or ("none yet" if notice.event == "failed" else "")),
        ("Next", _moment(facts, "next") or ("not scheduled" if notice.job and notice.event == "failed" else "")),
        ("Revision", _revision(facts)),
    ]
    width = max((len(name) for name, value in rows if value), default=0)
    return [f"{name + ':':{width + 1}} {value}" for name, value in rows if value]


def _revision(facts: dict[str, Any]) -> str:
    changed = _moment(facts, "changed")
    revision = _text(facts, "revision")
    return f"{revision} (changed {changed})" if revision and changed else revision


def _log(tail: Sequence[str]) -> str:
    """The last lines of the log, each marked, so that nothing in them is taken for ours."""
    if not tail:
        return ""
    return "\n".join([f"Last {len(tail)} lines of the log:", *(f"> {_log_line(line)}" for line in tail)])


def _log_line(line: str) -> str:
    """A line of output with its spaces kept and all controls shown as dots."""
    plain = "".join("·" if _is_control(char) and char != "\t" else char for char in line)
    return plain if len(plain) <= LONGEST_LINE else plain[: LONGEST_LINE - 1] + "…"


def _links(notice: Notice, url: str) -> list[str]:
    lines = []
    if notice.run_id and url:
        lines.append(f"Run:     {url}/r/{notice.run_id}")
    elif notice.run_id:
        lines.append(f"Run:     rota show {notice.run_id}")
    if runbook := _text(notice.facts, "runbook"):
        lines.append(f"Runbook: {runbook}")
    if notice.run_id and notice.event in ("failed", "missed"):
        lines.append(f"Again:   rota retry {notice.run_id}")
    return lines


def _why(notice: Notice) -> str:
    """Why the reader gets this and how to change it."""
    route = one_line(notice.route, 120)
    if notice.event == "test":
        return f"You get this because a test to {route} was asked for."
    if notice.job is None:
        return f"You get this because jobs of this installation name {route} in alert.to."
    return (
        f"You get this because alert.to of {notice.job} names {route} and alert.when names {notice.event}.\n"
        "Change it in the job file."
    )


# ── single facts ─────────────────────────────────────────────────────────────────────────────────────────


def _advice(notice: Notice) -> str:
    return _text(notice.facts, "advice")


def _cause(facts: dict[str, Any]) -> str:
    return _text(facts, "cause") or _text(facts, "error") or "no cause was given"


def _code(facts: dict[str, Any]) -> str:
    """Exit code or signal, unless the cause says it already."""
    for name in ("signal", "exit"):
        value = facts.get(name)
        if value and str(value) not in _cause(facts):
            return f"{name.capitalize()} {value}."
    return ""


def _tries(facts: dict[str, Any]) -> str:
    attempt, tries = facts.get("attempt"), facts.get("tries")
    return f" at attempt {attempt} of {tries}" if attempt and tries and attempt <= tries else ""


def _fails(facts: dict[str, Any]) -> int:
    value = facts.get("fails_in_row")
    return value if isinstance(value, int) else 0


def _text(facts: dict[str, Any], name: str) -> str:
    """A fact as one line; "" when it is not known."""
    value = facts.get(name)
    return "" if value is None else one_line(str(value))


def _moment(facts: dict[str, Any], name: str) -> str:
    """An instant in the job's zone: `2026-11-23 03:00:00 CET`; "" when it is not known."""
    moment = _instant(facts, name)
    if moment is None:
        return ""
    zone = str(facts.get("timezone"))
    local = moment.astimezone(zone_info(zone if zone in zone_names() else "UTC"))
    return local.strftime("%Y-%m-%d %H:%M:%S %Z")


def _span(facts: dict[str, Any], start: str, end: str) -> str:
    """The time from one instant to another; "" when one is not known."""
    first, last = _instant(facts, start), _instant(facts, end)
    if first is None or last is None or last < first:
        return ""
    return format_rough((last - first).total_seconds())


def _instant(facts: dict[str, Any], name: str) -> datetime | None:
    value = facts.get(name)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _block(lines: Iterable[str]) -> str:
    return "\n".join(line for line in lines if line)
