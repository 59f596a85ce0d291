"""The error of a schedule that cannot be honoured: what, where in the text, and what to write instead."""

from typing import ClassVar

from rota.core.errors import Invalid

SHOWN_LENGTH = 40


class ScheduleError(Invalid):
    """The schedule cannot be honoured as it is written."""

    code: ClassVar[str] = "INVALID_SCHEDULE"

    def __init__(
        self, message: str, *, position: int | None = None, field: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, position=position, field=field)
        self.message = message
        self.position = position
        self.field = field


def shown(text: str) -> str:
    """`text` in quotes, shortened, with nothing in it that could disturb a terminal or a log line."""
    cut = text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut) + "'"
