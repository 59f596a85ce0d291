"""Readers of single values: a node of the tree → a checked Python value, or None with the reason noted.

None always means "nothing to use here", so that one wrong value does not hide the others.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from rota.core.units import BadUnit, format_duration, format_size, parse_duration, parse_percent, parse_size
from rota.jobfile import document
from rota.jobfile.document import Entry, Node, Scalar, Sequence
from rota.jobfile.fields import Field
from rota.jobfile.other_keys import LATER_KEYS, OTHER_WORDS
from rota.jobfile.problems import Problems, nearest

LONGEST_TEXT: Final = 100_000
LONGEST_LINE: Final = 200
LONGEST_DURATION: Final = 366 * 86400.0
MOST_ENTRIES: Final = 1000

_LINE_BREAK: Final = re.compile(r"[\r\n\x85\u2028\u2029]")
_BREAKS_STORAGE: Final = re.compile("[\x00\ud800-\udfff]")


class Reading:
    """What is being read, for the messages: `where` is the job or part of the file that a node belongs to."""

    def __init__(self, problems: Problems, where: str) -> None:
        self.problems = problems
        self.where = where

    def wrong(
        self,
        code: str,
        message: str,
        node: Node,
        *,
        label: str = "",
        help: Iterable[str | None] = (),
    ) -> None:
        """Note a problem at `node`."""
        self.problems.add(
            code,
            message,
            node.start,
            node.end,
            path=node.path,
            label=label,
            help=[line for line in help if line],
        )

    def wrong_inside(self, code: str, message: str, node: Scalar, offset: int, length: int, label: str) -> None:
        """Note a problem at some characters of a text."""
        start, end = node.start, node.end
        if node.inner is not None:
            start = node.inner + offset
            end = start + length
        self.problems.add(code, message, start, end, path=node.path, label=label)


def show(node: Node) -> str:
    """A value as it is named in a message."""
    if isinstance(node, Scalar):
        if node.value is None and not node.text:
            return "nothing"
        return f'"{node.text}"' if len(node.text) <= 60 else f'"{node.text[:57]}…"'
    return "a list" if isinstance(node, Sequence) else "a map"


def entries(
    reading: Reading, node: Node, table: Mapping[str, Field], what: str, *, later: bool = True
) -> dict[str, Entry]:
    """The known entries of a map; every unknown key is noted with the nearest known one."""
    if not isinstance(node, document.Mapping):
        keys = ", ".join(list(table)[:4])
        reading.wrong("E0141", f"{what} must be a map, not {show(node)}", node, label=f"keys: {keys} …")
        return {}
    known: dict[str, Entry] = {}
    for name, entry in node.entries.items():
        if name in table:
            known[name] = entry
        elif later and name in LATER_KEYS:
            reading.wrong(
                "E0143", f'"{name}" in {reading.where} comes with a later version', entry.key, label="remove it"
            )
        else:
            _unknown(reading, entry.key, table)
    return known


def _unknown(reading: Reading, key: Scalar, table: Mapping[str, Field]) -> None:
    name = key.text
    guess = nearest(name, table)
    if guess is None:
        other = OTHER_WORDS.get(name.lower().replace("_", "-"), "")
        guess = other if other in table else None
    shown = name if len(name) <= 40 else name[:37] + "…"
    if name == "<<":
        hints = ["merge keys are not part of YAML 1.2; put what jobs share under defaults"]
    else:
        hints = [f"other keys here: {_some_keys(table)}      rota explain E0142"]
    label = f'did you mean "{guess}"?' if guess else ""
    reading.wrong("E0142", f'unknown key "{shown}" in {reading.where}', key, label=label, help=hints)


def _some_keys(table: Mapping[str, Field]) -> str:
    """The first dozen keys of a table."""
    keys = list(table)
    return ", ".join(keys[:12]) + (" …" if len(keys) > 12 else "")


def scalar(reading: Reading, node: Node, what: str, code: str = "E0141") -> Scalar | None:
    """A plain value that is there."""
    if not isinstance(node, Scalar):
        reading.wrong(code, f"{what} must be a plain value, not {show(node)}", node)
        return None
    if node.value is None and node.text in ("", "null", "~", "Null", "NULL"):
        reading.wrong(code, f"{what} has no value", node, label="write one, or delete the key")
        return None
    return node


def text(
    reading: Reading,
    node: Node,
    what: str,
    *,
    longest: int = LONGEST_TEXT,
    one_line: bool = False,
    may_be_empty: bool = False,
) -> str | None:
    """A text; numbers and the like count as they are written."""
    found = scalar(reading, node, what)
    if found is None:
        return None
    problem = _text_problem(found.text, longest, one_line=one_line, may_be_empty=may_be_empty)
    if problem:
        reading.wrong("E0216", f"{what} {problem}", node)
        return None
    return found.text


def _text_problem(value: str, longest: int, *, one_line: bool, may_be_empty: bool) -> str:
    if not value.strip() and not may_be_empty:
        return "is empty"
    if len(value.encode("utf-8", "surrogatepass")) > longest:
        return f"is longer than {longest:,} bytes"
    if _BREAKS_STORAGE.search(value):
        return "holds a character that no program can be given (NUL or half of a pair)"
    if one_line and _LINE_BREAK.search(value):
        return "must be one line"
    return ""


def line(reading: Reading, node: Node, what: str) -> str | None:
    """A text of one line, trimmed."""
    found = text(reading, node, what, longest=LONGEST_LINE, one_line=True)
    return found.strip() if found is not None else None


def duration(
    reading: Reading, node: Node, what: str, *, least: float = 0.001, most: float = LONGEST_DURATION
) -> float | None:
    """Seconds of a duration within the limits."""
    found = scalar(reading, node, what, "E0201")
    if found is None:
        return None
    return duration_of(reading, found, found.text, what, (least, most))


def duration_of(reading: Reading, node: Scalar, value: str, what: str, limits: tuple[float, float]) -> float | None:
    """Seconds of a duration that is a part of a value."""
    try:
        seconds = parse_duration(value)
    except BadUnit as error:
        reading.wrong("E0201", f"{what}: {error.detail}", node, label=error.hint or "")
        return None
    least, most = limits
    if seconds == 0 and least > 0:
        reading.wrong("E0201", f'{what}: "{value}" is zero', node, label=f"at least {format_duration(least)}")
        return None
    if seconds < least:
        reading.wrong("E0201", f'{what}: "{value}" is too short', node, label=f"at least {format_duration(least)}")
        return None
    if seconds > most:
        reading.wrong("E0201", f'{what}: "{value}" is too long', node, label=f"at most {format_duration(most)}")
        return None
    return seconds


def size(reading: Reading, node: Node, what: str, *, least: int, most: int) -> int | None:
    """Bytes of a size within the limits."""
    found = scalar(reading, node, what, "E0202")
    if found is None:
        return None
    try:
        value = parse_size(found.text)
    except BadUnit as error:
        reading.wrong("E0202", f"{what}: {error.detail}", node, label=error.hint or "")
        return None
    if not least <= value <= most:
        bounds = f"from {format_size(least)} to {format_size(most)}"
        reading.wrong("E0202", f'{what}: "{found.text}" is out of range', node, label=bounds)
        return None
    return value


def percent(reading: Reading, node: Node, what: str) -> float | None:
    """The fraction of a percentage."""
    found = scalar(reading, node, what, "E0203")
    if found is None:
        return None
    try:
        return parse_percent(found.text)
    except BadUnit as error:
        reading.wrong("E0203", f"{what}: {error.detail}", node, label=error.hint or "")
        return None


def number(reading: Reading, node: Node, what: str, *, least: int, most: int) -> int | None:
    """A whole number within the limits."""
    found = scalar(reading, node, what, "E0204")
    if found is None:
        return None
    value = found.value
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        reading.wrong(
            "E0204", f"{what} must be a whole number, not {show(node)}", node, label=f"from {least} to {most}"
        )
        return None
    return value


def flag(reading: Reading, node: Node, what: str) -> bool | None:
    """true or false."""
    found = scalar(reading, node, what, "E0205")
    if found is None:
        return None
    if not isinstance(found.value, bool):
        reading.wrong("E0205", f"{what} must be true or false, not {show(node)}", node)
        return None
    return found.value


def choice(reading: Reading, node: Node, what: str, choices: Collection[str]) -> str | None:
    """One of some words."""
    found = scalar(reading, node, what, "E0205")
    if found is None or found.text in choices:
        return found.text if found else None
    guess = nearest(found.text, choices)
    reading.wrong(
        "E0205",
        f"{what} cannot be {show(node)}",
        node,
        label=f'did you mean "{guess}"?' if guess else "",
        help=[f"it is one of: {', '.join(choices)}"],
    )
    return None


def several(reading: Reading, node: Node, what: str) -> Iterator[Scalar]:
    """The plain values of a list; one plain value counts as a list of one."""
    items = node.items if isinstance(node, Sequence) else (node,)
    if isinstance(node, Sequence) and len(items) > MOST_ENTRIES:
        reading.wrong("E0141", f"{what} has more than {MOST_ENTRIES} values", node)
        return
    for item in items:
        found = scalar(reading, item, what)
        if found is not None:
            yield found


def named_values(reading: Reading, node: Node, what: str) -> dict[str, Entry]:
    """The entries of a map with free keys."""
    if not isinstance(node, document.Mapping):
        reading.wrong("E0141", f"{what} must be a map of name: value, not {show(node)}", node)
        return {}
    if len(node.entries) > MOST_ENTRIES:
        reading.wrong("E0141", f"{what} has more than {MOST_ENTRIES} entries", node)
        return {}
    return node.entries


def plain_tree(reading: Reading, node: Node, what: str) -> Any:
    """Any value as JSON has it; texts in it are checked."""
    for inner in _scalars(node):
        problem = _text_problem(inner.text, LONGEST_TEXT, one_line=False, may_be_empty=True)
        if problem:
            reading.wrong("E0216", f"a text in {what} {problem}", inner)
            return None
    return document.to_python(node)


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, document.Mapping):
        for entry in node.entries.values():
            yield entry.key
            yield from _scalars(entry.value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _scalars(item)
    elif isinstance(node, Scalar):
        yield node
