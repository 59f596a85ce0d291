"""`${…}` values in the url, headers and body of an http job.

One pass, no code: a value that itself contains `${…}` stays as it is. `$${` writes a literal `${`. Values are made
harmless for the place they are put into: they cannot add a header, leave their JSON string or start a new part of
a url.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from rota.core.errors import Invalid

FIXED_NAMES: Final = {
    "due": "the instant the run answers, RFC 3339 in UTC",
    "due.date": "its date in the job's time zone, 2026-11-23",
    "due.time": "its time in the job's time zone, 03:00:00",
    "run.id": "the id of the run, the same for every attempt",
    "run.attempt": "the number of the attempt, from 1",
}
FAMILIES: Final = ("params.", "secret.")

_VALUE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_LINE_BREAK: Final = re.compile(r"[\r\n\x00]")


class BadTemplate(Invalid):
    """A `${…}` value that is unknown or not closed."""

    code = "BAD_TEMPLATE"

    def __init__(self, detail: str, *, position: int, name: str = "", hint: str | None = None) -> None:
        super().__init__(detail, hint=hint, position=position, name=name)
        self.position = position
        self.name = name


def names(text: str) -> Iterator[tuple[str, int]]:
    """The names that `text` asks for, each with the offset of its `${`; raise BadTemplate when one is not closed."""
    for match in _VALUE.finditer(text):
        if match[1] is not None:
            yield _name_of(match), match.start()


def fill(text: str, values: Mapping[str, str], escape: Callable[[str], str] | None = None) -> str:
    """Return `text` with every `${name}` replaced from `values`, in one pass; raise BadTemplate on an unknown name."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        name = _name_of(match)
        if name not in values:
            detail = f"there is no value for ${{{name}}}"
            raise BadTemplate(detail, position=match.start(), name=name)
        return escape(values[name]) if escape else values[name]

    return _VALUE.sub(replacement, text)


def fill_url(text: str, values: Mapping[str, str]) -> str:
    """Fill a url: values are percent-encoded except for letters, digits and `/ : @ , - . _ ~`."""
    return fill(text, values, lambda value: quote(value, safe="/:@,-._~"))


def fill_header(text: str, values: Mapping[str, str]) -> str:
    """Fill the value of a header; raise BadTemplate when a value would break the line."""

    def checked(value: str) -> str:
        if _LINE_BREAK.search(value):
            raise BadTemplate("a value for a header contains a line break", position=0)
        return value

    return fill(text, values, checked)


def fill_json(text: str, values: Mapping[str, str]) -> str:
    """Fill a JSON document: values are escaped as the inside of a JSON string."""
    return fill(text, values, lambda value: json.dumps(value)[1:-1])


def run_values(
    *,
    run_id: str,
    due: datetime,
    timezone: str,
    attempt: int,
    params: Mapping[str, str],
    secrets: Mapping[str, str],
) -> dict[str, str]:
    """All values that one attempt may use."""
    local = due.astimezone(ZoneInfo(timezone))
    values = {
        "due": due.isoformat().replace("+00:00", "Z"),
        "due.date": local.date().isoformat(),
        "due.time": local.strftime("%H:%M:%S"),
        "run.id": run_id,
        "run.attempt": str(attempt),
    }
    values.update((f"params.{name}", value) for name, value in params.items())
    values.update((f"secret.{name}", value) for name, value in secrets.items())
    return values


def secret_names(*texts: str) -> frozenset[str]:
    """The names of the secrets that `texts` use."""
    found = (name for text in texts for name, _ in names(text))
    return frozenset(name.removeprefix("secret.") for name in found if name.startswith("secret."))


def _name_of(match: re.Match[str]) -> str:
    if not match[2]:
        raise BadTemplate(
            "${ is not closed", position=match.start(), hint="close it with }, or write $${ for a literal ${"
        )
    return match[1].strip()
