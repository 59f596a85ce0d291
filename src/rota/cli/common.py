"""The options that commands share, and the screen and times they make."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any

from cyclopts import Group, Parameter

from rota.cli.terminal import Screen
from rota.cli.times import clock, iso, relative, zone
from rota.settings.values import host_zone

_OUTPUT = Group("Output", sort_key=8)
Flag = Annotated[bool, Parameter(negative="")]
# Queries and times may begin with a minus: -job:test-*, -36h.
Query = Annotated[
    str, Parameter(name=["-q", "--query"], allow_leading_hyphen=True, help="Which: ns:web state:failed …")
]
Reference = Annotated[str, Parameter(help="A run: its id, NS/JOB@latest, NS/JOB@last-failed, NS/JOB@TIME, or a link.")]


@Parameter(name="*", group=_OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Show:
    """How to show."""

    json: Flag = False
    """One JSON document."""
    jsonl: Flag = False
    """One JSON value per line."""
    quiet: Flag = False
    """Data and errors only."""
    no_color: Flag = False
    """No colours (NO_COLOR)."""
    utc: Flag = False
    """Times in UTC."""
    debug: Flag = False
    """Show a traceback when Rota itself goes wrong."""

    def screen(self) -> Screen:
        """Where to write."""
        return Screen(colour=False if self.no_color else None, quiet=self.quiet)

    @property
    def is_data(self) -> bool:
        """Whether a program reads it."""
        return self.json or self.jsonl

    def emit(self, screen: Screen, document: dict[str, Any] | list[Any], *, items: str = "items") -> None:
        """A document as JSON: whole, or its items one to a line."""
        if self.jsonl and isinstance(document, dict) and items in document:
            for item in document[items]:
                screen.document(item, one_line=True)
            return
        screen.document(document, one_line=self.jsonl)

    def times(self, screen: Screen) -> "Times":
        """How times are shown there."""
        return Times(for_people=screen.is_terminal, utc=self.utc)


class Times:
    """Times relative for people, ISO for programs."""

    def __init__(self, *, for_people: bool, utc: bool) -> None:
        self.now = datetime.now(UTC)
        self._for_people = for_people
        self._utc = utc

    def at(self, text: str | None, timezone: str | None = None) -> str:
        """An instant, in a job's zone or the machine's own (programs get UTC unless a zone is named)."""
        if self._for_people:
            return clock(text, self._zone(timezone or host_zone()), self.now)
        return iso(text, self._zone(timezone or "UTC"))

    def away(self, text: str | None) -> str:
        """How far away for people, the instant for programs."""
        return relative(text, self.now) if self._for_people else iso(text)

    def _zone(self, name: str) -> tzinfo:
        return UTC if self._utc else zone(name)
