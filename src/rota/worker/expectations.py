"""Whether an answer is what an http job expects. Pure.

JSON is looked into with a small language of paths: `$.rates.EUR exists`, `$.items[0].ok == true`, `$.count >= 3`.
The literal is JSON; text may be written without quotes.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rota.core.model import HttpExpect

_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\[(-?\d+)\]|\[\"((?:[^\"\\]|\\.)*)\"\]|\['([^']*)'\]")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_OPERATOR: Final = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*(.+)$", re.DOTALL)
_SHOWN: Final = 80


class BadExpectation(ValueError):
    """An expectation that cannot be read."""


class _Missing(Exception):
    """The path leads nowhere; its argument is the part that was not found."""


def status_matches(expected: Sequence[str], status: int) -> bool:
    """Whether `status` is one of "200", "2xx", "200..204"."""
    return any(_one_status(text, status) for text in expected)


def _one_status(text: str, status: int) -> bool:
    low, dots, high = text.strip().partition("..")
    try:
        if dots:
            return int(low) <= status <= int(high)
        if text.lower().endswith("xx"):
            return int(text[:-2]) == status // 100
        return int(text) == status
    except ValueError:
        raise BadExpectation(f"status {text!r} is not like 200, 2xx or 200..204") from None


def status_failure(status: int) -> str:
    """The kind of failure (core.retry.FAILURE_KINDS) that an unexpected status is."""
    if status == 429:
        return "http-429"
    return {4: "http-4xx", 5: "http-5xx"}.get(status // 100, "http-status")


def unmet(expect: HttpExpect, headers: Mapping[str, str], body: bytes) -> str | None:
    """The first expectation about headers, JSON or body that does not hold, in words; None when all hold."""
    for name, wanted in expect.headers.items():
        value = headers.get(name)
        if value is None:
            return f"the answer has no header {name}; expected it to contain {wanted!r}"
        if wanted not in value:
            return f"the header {name} is {_shown(value)}; expected it to contain {wanted!r}"
    if expect.body is not None and expect.body.encode() not in body:
        return f"the body does not contain {expect.body!r}; it begins {_shown(body[:200].decode('utf-8', 'replace'))}"
    return _unmet_json(expect.json, body) if expect.json else None


def _unmet_json(conditions: Sequence[str], body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return f"the body is not JSON; it begins {_shown(body[:200].decode('utf-8', 'replace'))}"
    for condition in conditions:
        problem = json_unmet(condition, document)
        if problem is not None:
            return problem
    return None


def json_unmet(condition: str, document: Any) -> str | None:
    """Why `condition` does not hold in `document`; None when it does."""
    steps, rest = parse_path(condition)
    try:
        value = _follow(document, steps)
    except _Missing as missing:
        return f"JSON: expected {condition}, but there is no {missing}"
    if rest.strip() in ("", "exists"):
        return None
    match = _OPERATOR.match(rest)
    if match is None:
        raise BadExpectation(f"{condition!r}: expected `exists` or one of == != > >= < <= after the path")
    literal = _literal(match[2])
    try:
        holds = _same_type(match[1], value, literal) and _COMPARE[match[1]](value, literal)
    except TypeError:
        holds = False
    return None if holds else f"JSON: expected {condition}, but it is {_shown(json.dumps(value, ensure_ascii=False))}"


def parse_path(condition: str) -> tuple[list[str | int], str]:
    """The steps of the path at the beginning of `condition`, and what follows it."""
    text = condition.strip()
    if not text.startswith("$"):
        raise BadExpectation(f"{condition!r}: a path begins with $, as in $.rates.EUR")
    position = 1
    steps: list[str | int] = []
    while match := _STEP.match(text, position):
        name, index, quoted, single = match.groups()
        if index is not None:
            steps.append(int(index))
        elif quoted is not None:
            steps.append(str(json.loads(f'"{quoted}"')))
        else:
            steps.append(name if name is not None else single)
        position = match.end()
    rest = text[position:]
    if rest and not (rest[0].isspace() or rest[0] in "=!<>"):
        raise BadExpectation(f"{condition!r}: cannot read the path at {rest!r}")
    return steps, rest


def _follow(document: Any, steps: list[str | int]) -> Any:
    value, walked = document, "$"
    for step in steps:
        walked += f"[{step}]" if isinstance(step, int) else f".{step}"
        try:
            if isinstance(step, int) != isinstance(value, list):
                raise _Missing(walked)
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise _Missing(walked) from None
    return value


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        stripped = text.strip()
        return stripped[1:-1] if len(stripped) > 1 and stripped[0] == stripped[-1] == "'" else stripped


def _same_type(sign: str, value: Any, literal: Any) -> bool:
    """`true == 1` must not hold, though Python says so; != of two kinds holds."""
    if isinstance(value, bool) != isinstance(literal, bool):
        return sign == "!="
    return True


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
