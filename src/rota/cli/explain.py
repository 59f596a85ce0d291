"""What something means: `explain cron 'EXPR'`, `explain CODE`. Needs no server."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Show
from rota.cli.failures import make_app
from rota.cli.terminal import plain
from rota.cli.times import future, relative
from rota.core.query_language import parse_time
from rota.core.reasons import REASONS
from rota.core.schedule import DstPolicy, compile_schedule, describe
from rota.core.zones import check_timezone, zone_info
from rota.jobfile.codes import CODES

explain = make_app("rota explain", "Explain a cron expression, a schedule in words, or a code.")


@explain.command
def cron(
    expression: Annotated[str, Parameter(help="Five or six fields in quotes, or words: 'every day at 03:00'.")],
    /,
    *,
    start: Annotated[str | None, Parameter(name="--from", help="From when on (default: now).")] = None,
    tz: Annotated[str, Parameter(help="The zone it is meant in.")] = "UTC",
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many instants.")] = 5,
    dst: Annotated[DstPolicy, Parameter(help="vixie, skip, run-twice or second.")] = DstPolicy.VIXIE,
    show: Show = Show(),  # noqa: B008 — frozen
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


@explain.default
def code(
    code: Annotated[str | None, Parameter(help="E0142, W0201, NO_WORKER …")] = None,
    /,
    *,
    show: Show = Show(),  # noqa: B008 — frozen
) -> int:
    """Say what a code means. Without one, list them all.

    rota explain E0142 · rota explain NO_WORKER · rota explain cron '0 3 * * *'
    """
    entries = _entries()
    screen = show.screen()
    wanted = entries if code is None else {code.upper(): entries[code.upper()]} if code.upper() in entries else {}
    if not wanted:
        screen.complain(f'error: there is no code "{plain(str(code)[:60])}"')
        screen.complain("  = rota explain lists all; rota explain cron 'EXPR' explains a schedule")
        return exits.NOT_FOUND
    if show.is_data:
        items = [{"code": name, "title": title, "explanation": text} for name, (title, text) in wanted.items()]
        show.emit(screen, {"items": items})
        return 0
    if code is None:
        screen.table(["CODE", "MEANING"], [[name, title] for name, (title, _) in wanted.items()])
        return 0
    title, text = wanted[code.upper()]
    screen.line(f"{screen.painted(code.upper(), 'bold')}: {plain(title)}")
    if text:
        screen.line(plain(text))
    return 0


def _entries() -> dict[str, tuple[str, str]]:
    """All codes with title and explanation: those of job files, then the reasons of runs."""
    files = {name: (one.title, one.explanation) for name, one in CODES.items()}
    reasons = {name: (one.words, f"What to do: {one.advice}" if one.advice else "") for name, one in REASONS.items()}
    return files | reasons


def _begin(start: str | None, now: datetime, tz: str) -> datetime:
    """From when on instants are shown."""
    if start is None:
        return now
    zone = zone_info(tz)
    return future(start, now, zone) if start.startswith(("+", "in ", "tomorrow")) else parse_time(start, now, zone)
