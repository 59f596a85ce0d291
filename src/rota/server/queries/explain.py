"""A schedule in words with its next instants and surprises: `rota explain cron`."""

from datetime import datetime

from rota.core.schedule import DstPolicy, compile_schedule, describe
from rota.server.queries.shapes import Moment, View, moment


class Explanation(View, kw_only=True):
    """What a schedule means."""

    words: str
    timezone: str
    next: list[Moment]
    warnings: list[str]


def explain_schedule(text: str, *, timezone: str, dst: DstPolicy, start: datetime, count: int) -> Explanation:
    """Words, the next `count` instants after `start`, warnings; raises ScheduleError."""
    described = describe(compile_schedule(text, timezone=timezone, dst=dst), start, count)
    return Explanation(
        words=described["words"],
        timezone=described["timezone"],
        next=[moment(instant) for instant in described["next"]],
        warnings=described["warnings"],
    )
