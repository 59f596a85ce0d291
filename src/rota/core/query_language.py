"""The query language of lists: `state:failed,timed-out ns:finance -job:test-* since:18:00 text:"out of memory"`.

Terms are ANDed, a comma is OR inside a term, a leading `-` negates. A word without a key searches text. This module
knows keys and values as text, and times; which field a key filters is the business of who asks.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rota.core.errors import Invalid
from rota.core.model import Value
from rota.core.units import BadUnit, parse_duration

LONGEST_QUERY: Final = 4096
MOST_TERMS: Final = 64
MOST_VALUES: Final = 200

_KEY: Final = re.compile(r"(-?)([A-Za-z][A-Za-z0-9_-]*):")
_BARE: Final = re.compile(r'[^\s,"]+')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)


class QueryError(Invalid):
    """The query cannot be understood."""

    code = "BAD_QUERY"


class Key(Value):
    """What a key may be used for: `choices` are its only values, `negatable` allows a leading `-`."""

    choices: tuple[str, ...] = ()
    negatable: bool = False
    single: bool = False  # one value, given once


class Term(Value):
    """One term of a query; `position` is where it begins."""

    key: str
    values: tuple[str, ...]
    negated: bool = False
    position: int = 0


def parse_terms(text: str, keys: Mapping[str, Key]) -> tuple[Term, ...]:
    """The terms of a query whose known keys are `keys`; raises QueryError naming the place and the nearest name.

    A bare word is a term of the key `text`. Several terms of one key stay apart; `merged` joins them.
    """
    if len(text) > LONGEST_QUERY:
        raise QueryError(f"the query has {len(text)} characters; {LONGEST_QUERY} are allowed")
    if "\0" in text:
        raise QueryError("the query holds a NUL character", position=text.index("\0"))
    terms: list[Term] = []
    position = _skip_space(text, 0)
    while position < len(text):
        term, position = _term(text, position, keys)
        terms.append(term)
        if len(terms) > MOST_TERMS:
            raise QueryError(f"the query has more than {MOST_TERMS} terms", position=term.position)
        position = _skip_space(text, position)
    _refuse_repeated(terms, keys)
    return tuple(terms)


def merged(terms: Sequence[Term], key: str, *, negated: bool = False) -> tuple[str, ...]:
    """All values given for `key`, in order."""
    return tuple(value for term in terms if term.key == key and term.negated is negated for value in term.values)


def quote(value: str) -> str:
    """`value` as it is written in a query."""
    if value and _BARE.fullmatch(value) and not _KEY.match(value) and not value.startswith("-"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_time(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """The instant of `18:00` (the latest one), `today`, `yesterday`, `-36h`, `36h`, a date, or an ISO time.

    Clock times and dates without an offset are read in `zone`.
    """
    word = text.strip().lower()
    if word == "now":
        return now
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "today":
        return midnight.astimezone(UTC)
    if word == "yesterday":
        return (midnight - timedelta(days=1)).astimezone(UTC)
    if match := _CLOCK.fullmatch(word):
        moment = midnight.replace(hour=int(match[1]), minute=int(match[2]), second=int(match[3] or 0))
        return (moment if moment <= local else moment - timedelta(days=1)).astimezone(UTC)
    if word and (word[0] == "-" or word[-1] in "smhdw") and "t" not in word:
        return _ago(text, word, now)
    return _iso_time(text, zone)


def _ago(text: str, word: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(word.removeprefix("-")))
    except (BadUnit, OverflowError) as error:
        raise _not_a_time(text) from error


def _iso_time(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _not_a_time(text) from error


def _not_a_time(text: str) -> QueryError:
    return QueryError(
        f'"{text[:40]}" is not a time', hint="write 18:00, today, yesterday, -36h, 2026-11-23 or 2026-11-23T03:00Z"
    )


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _term(text: str, start: int, keys: Mapping[str, Key]) -> tuple[Term, int]:
    match = _KEY.match(text, start)
    if match is None:
        value, position = _value(text, start)
        return Term(key="text", values=(value,), position=start), position
    negated, name = match[1] == "-", match[2].lower()
    _check_key(name, negated, keys, start)
    values, position = _values(text, match.end())
    _check_choices(name, values, keys[name], start)
    return Term(key=name, values=tuple(values), negated=negated, position=start), position


def _values(text: str, position: int) -> tuple[list[str], int]:
    values: list[str] = []
    while True:
        value, position = _value(text, position)
        values.append(value)
        if len(values) > MOST_VALUES:
            raise QueryError(f"more than {MOST_VALUES} values in one term", position=position)
        if text[position : position + 1] != ",":
            return values, position
        position += 1


def _value(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] == '"':
        match = _QUOTED.match(text, position)
        if match is None:
            raise QueryError('a quotation mark is not closed: add "', position=position)
        return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), match.end()
    match = _BARE.match(text, position)
    if match is None:
        before = text[:position].split()[-1:] or [""]
        raise QueryError(f'a value is missing after "{before[0][:40]}"', position=position)
    return match[0], match.end()


def _check_key(name: str, negated: bool, keys: Mapping[str, Key], position: int) -> None:
    known = ", ".join(sorted(keys))
    if name not in keys:
        close = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}: ? the keys are {known}" if close else f"the keys are {known}"
        raise QueryError(f'there is no key "{name[:40]}" here', hint=hint, position=position)
    if negated and not keys[name].negatable:
        possible = ", ".join(f"-{key}:" for key, rule in sorted(keys.items()) if rule.negatable)
        raise QueryError(f'"{name}" cannot be negated', hint=f"these can: {possible}", position=position)


def _check_choices(name: str, values: Sequence[str], key: Key, position: int) -> None:
    for value in values:
        if key.choices and value.lower() not in key.choices:
            close = difflib.get_close_matches(value.lower(), key.choices, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}? " if close else ""
            listed = ", ".join(key.choices)
            raise QueryError(f'{name}: knows no "{value[:40]}"', hint=f"{hint}known: {listed}", position=position)


def _refuse_repeated(terms: Sequence[Term], keys: Mapping[str, Key]) -> None:
    seen: set[str] = set()
    for term in terms:
        if term.key not in keys:
            raise QueryError("text cannot be searched here", position=term.position)
        if keys[term.key].single and (len(term.values) > 1 or term.key in seen):
            raise QueryError(f"{term.key}: is given twice", hint="keep one of them", position=term.position)
        seen.add(term.key)
