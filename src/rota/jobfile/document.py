"""A job file's text as a tree in which every key and value knows its place.

The tree is made from parser events, and every limit is checked on them: size, depth, number of values, aliases and
what they expand to. Nothing is ever constructed from a tag. Scalars follow the YAML 1.2 core schema, in which dates and
`12:30` are text. JSON is read by a scanner of its own (`json_text`), because tabs are fine there.
"""

import math
import re
from typing import Any, Final

import msgspec

from rota.jobfile.problems import Problems

MOST_BYTES: Final = 5 * 1024 * 1024
MOST_DEPTH: Final = 32
MOST_NODES: Final = 300_000
MOST_ALIASES: Final = 100
MOST_EXPANDED: Final = 100_000
LARGEST_NUMBER: Final = 2**63

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff\ud800-\udfff]")


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A value with its place: characters `start` to `end` of the text, `path` when there is no text."""

    start: int = 0
    end: int = 0
    path: str = ""


class Scalar(Node, frozen=True, kw_only=True, gc=False):
    """A plain value. `text` is what was written; `inner` is where the text begins behind an opening quote."""

    value: str | int | float | bool | None
    text: str
    inner: int | None = None  # None: escapes or folding, offsets in the text mean nothing in the file


class Sequence(Node, frozen=True, kw_only=True):
    """A list of values."""

    items: tuple[Node, ...]


class Entry(msgspec.Struct, frozen=True):
    """A key of a map and its value."""

    key: Scalar
    value: Node


class Mapping(Node, frozen=True, kw_only=True):
    """A map; keys are unique texts, in the order of the file."""

    entries: dict[str, Entry]


class Unreadable(Exception):
    """The text cannot be read on; what is wrong has been noted."""


def decode(data: bytes, problems: Problems) -> str | None:
    """Bytes of a job file as text, or None with the reason noted."""
    if len(data) > MOST_BYTES:
        problems.add("E0102", "the file is more than 5 MiB", help=["split it into several files"])
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start} (0x{data[error.start]:02x}, line {line}) is not UTF-8"
        problems.add("E0103", message, help=["save the file as UTF-8"])
        return None


def check_characters(text: str, problems: Problems) -> bool:
    """Whether `text` holds no control characters and is not too large."""
    if len(text) > MOST_BYTES:
        problems.add("E0102", "the file is more than 5 MiB", help=["split it into several files"])
        return False
    match = _CONTROL.search(text)
    if match is not None:
        name = "NUL" if match[0] == "\0" else f"U+{ord(match[0]):04X}"
        problems.add("E0103", f"the file holds the control character {name}", match.start(), help=["delete it"])
        return False
    return True


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes; a number out of range comes back as an infinite float."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text) if len(text) <= 400 else math.inf
    if _NOT_FINITE.fullmatch(text):
        return math.inf
    return text


def _integer(text: str) -> int | float:
    if len(text) > 30:
        return math.inf
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text[2:] if base != 10 else text, base)
    return number if -LARGEST_NUMBER <= number < LARGEST_NUMBER else math.inf


def checked_number(scalar: Scalar, problems: Problems) -> Scalar:
    """`scalar`, with a number out of range noted and replaced by its text."""
    if isinstance(scalar.value, float) and not math.isfinite(scalar.value):
        shown = scalar.text if len(scalar.text) <= 24 else scalar.text[:21] + "…"
        problems.add(
            "E0111", f"{shown} is out of range", scalar.start, scalar.end, help=["put it in quotes if it is a text"]
        )
        return Scalar(start=scalar.start, end=scalar.end, value=None, text=scalar.text)
    return scalar


def from_python(value: Any, problems: Problems, path: str = "", depth: int = 0) -> Node:
    """The tree of a value that came as JSON over the API; places are paths."""
    if depth > MOST_DEPTH:
        problems.add("E0109", f"the document is nested more than {MOST_DEPTH} levels deep", path=path)
        raise Unreadable
    if isinstance(value, dict):
        entries = {
            str(key): Entry(
                Scalar(value=str(key), text=str(key), path=_join(path, str(key))),
                from_python(inner, problems, _join(path, str(key)), depth + 1),
            )
            for key, inner in value.items()
        }
        return Mapping(entries=entries, path=path)
    if isinstance(value, list | tuple):
        items = tuple(from_python(inner, problems, f"{path}[{at}]", depth + 1) for at, inner in enumerate(value))
        return Sequence(items=items, path=path)
    return _python_scalar(value, problems, path)


def _python_scalar(value: Any, problems: Problems, path: str) -> Scalar:
    if isinstance(value, bool):
        return Scalar(value=value, text="true" if value else "false", path=path)
    if isinstance(value, int) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
        value = math.inf
    if isinstance(value, float) and not math.isfinite(value):
        problems.add("E0111", "the number is out of range", path=path)
        value = None
    if value is None or isinstance(value, int | float):
        return Scalar(value=value, text="null" if value is None else str(value), path=path)
    return Scalar(value=str(value), text=str(value), path=path)


def to_python(node: Node) -> Any:
    """The plain value of a tree, as JSON has it."""
    if isinstance(node, Mapping):
        return {key: to_python(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [to_python(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
