"""What PostgreSQL writes its own way in queries of people."""

import re
from collections.abc import Iterable
from typing import Any, Final

from rota.stores.filters import Dialect


def _like(pattern: str) -> str:
    """A pattern that knows `*` only, for LIKE, which has marks of its own."""
    return re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%")


POSTGRES: Final = Dialect(
    among="{} = ANY (?)",
    pack=list,
    like="{} LIKE ?",
    pattern=_like,
    contains="strpos({}, ?) > 0",
    job_text="(SELECT strpos(told.searched, ?) > 0 FROM jobs AS told WHERE told.id = job.id)",
    labelled="({}::json ->> ?::text) = ?",
    namespace_of="split_part({}, '/', 1)",
    seconds="?::double precision",
    holds=lambda text: "\0" not in text,
)


def statement(parts: Iterable[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    """Lists as one statement, and the parameters numbered as PostgreSQL wants them.

    No statement of a list has a question mark in it that is not a parameter.
    """
    texts: list[str] = []
    parameters: list[Any] = []
    for text, values in parts:
        texts.append(f"({text})")
        parameters += values
    numbers = iter(range(1, len(parameters) + 1))
    return re.sub(r"\?", lambda _: f"${next(numbers)}", " UNION ALL ".join(texts)), parameters
