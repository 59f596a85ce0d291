"""What a schedule means: `explain cron 'EXPR'`. Needs no server, and loads little."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from rota.cli.common import Show
from rota.cli.terminal import plain
from rota.cli.times import future, relative
from rota.core.query_language import parse_time
from rota.core.schedule import DstPolicy, compile_schedule, describe
from rota.core.zones import check_timezone, zone_info


def cron(
    expression: Annotated[str, Parameter(help="Five or six fields in quotes, or words: 'every day at 03:00'.")],
    /,
    *,
    start: Annotated[
        str | None, Parameter(name="--from", allow_leading_hyphen=True, help="From when on (default: now).")
    ] = None,
    tz: Annotated[str, Parameter(help="The zone it is meant in.")] = "UTC",
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many instants.")] = 5,
    dst: Annotated[DstPolicy, Parameter(help="vixie, skip, run-twice or second.")] = DstPolicy.VIXIE,
    show: Show = Show(),
) -> int:
    """Say in words what a schedule means, its next instants, and what may surprise.

    rota explain cron '0 3 * * 1-5' --tz Europe/Berlin · rota explain cron '*/7 * * * *' -n 12
    """
    now = datetime.now(UTC)
    zone = zone_info(check_timezone(tz))
    begin = _begin(start, now, tz)
    found = describe(compile_schedule(expression, timezone=tz, dst=dst), begin, max(0, min(n, 10_000)))
    screen = show.screen()
    if show.is_data:
        # As the API writes instants.
        instants = [f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" for moment in found["next"]]
        document = {
            "words": found["words"],
            "timezone": found["timezone"],
            "next": instants,
            "warnings": found["warnings"],
        }
        show.emit(screen, document, items="")
        return 0
    screen.line(f"{screen.painted(plain(found['words']), 'bold')}  ({tz})")
    for moment in found["next"]:
        local = moment.astimezone(zone)
        away = f"  {relative(moment.isoformat(), now)}" if screen.is_terminal else ""
        screen.line(f"  {local:%a} {local.isoformat(timespec='seconds')}{screen.painted(away, 'dim')}")
    for warning in found["warnings"]:
        screen.line(screen.painted(f"! {plain(warning)}", "warn"))
    if tz == "UTC" and found["next"]:
        screen.talk("times are UTC; --tz NAME reads it in another zone", "dim")
    return 0


def _begin(start: str | None, now: datetime, tz: str) -> datetime:
    """From when on instants are shown."""
    if start is None:
        return now
    zone = zone_info(tz)
    return future(start, now, zone) if start.startswith(("+", "in ", "tomorrow")) else parse_time(start, now, zone)
