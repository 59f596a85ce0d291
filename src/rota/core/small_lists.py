"""Small lists that are given whole: the query language over workers and alerts; many numbers in few words."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from rota.core.query_language import Key, Term, parse_terms

Document = dict[str, Any]


def matcher(text: str, fields: Mapping[str, Callable[[Document], object]]) -> Callable[[Document], bool]:
    """Whether a document is asked for; `fields` say what each key looks at, a bare word looks at all of them.

    Terms are ANDed, values inside a term are ORed, * stands for anything; raises QueryError for an unknown key.
    """
    keys = {name: Key(negatable=True) for name in fields} | {"text": Key(negatable=True)}
    terms = parse_terms(text, keys)
    return lambda document: all(_holds(term, document, fields) is not term.negated for term in terms)


def _holds(term: Term, document: Document, fields: Mapping[str, Callable[[Document], object]]) -> bool:
    if term.key == "text":
        everything = " ".join(str(read(document)) for read in fields.values()).lower()
        return any(value.lower() in everything for value in term.values)
    found = str(fields[term.key](document) or "").lower()
    return any(fnmatchcase(found, value.lower()) for value in term.values)


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as short as they can be said: `0-31, 40`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
