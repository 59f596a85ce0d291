"""Jobs: `ls`, `next`, `pause`, `resume`."""

from typing import Annotated, Any

from cyclopts import Parameter

from rota.cli import times
from rota.cli.common import Query, Show
from rota.cli.connection import Server
from rota.cli.terminal import Cell, Screen, state_cell
from rota.core.glyphs import STATE_GLYPHS
from rota.core.query_language import quote

Limit = Annotated[int, Parameter(help="At most so many.")]
_STRIP_LENGTH = 12


def ls(
    *patterns: str,
    q: Query = "",
    sort: Annotated[str, Parameter(help="name, next or last.")] = "name",
    limit: Limit = 100,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """List jobs: how each fares, and when it runs next.

    rota ls · rota ls 'web/*' · rota ls -q 'is:failing' · rota ls --json

    Parameters
    ----------
    patterns:
        Names; * stands for anything.
    """
    names = ",".join(quote(pattern) for pattern in patterns)
    query = f"{q} job:{names}".strip() if names else q
    with server.connect() as rota:
        page = rota.run(rota.api.jobs.list(query, sort=sort, limit=limit))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    if show.quiet:
        for job in page["items"]:
            screen.line(job["job"])
        return 0
    moments = show.times(screen)
    rows = [
        [
            Cell(job["job"], "bold"),
            _condition(job),
            job["schedule_words"],
            moments.away(job["next"][0] if job["next"] else None) or "—",
            _last(job, moments.away(job["last"]["due"])),
            _strip(job["recent"]),
        ]
        for job in page["items"]
    ]
    screen.table(["JOB", "IS", "SCHEDULE", "NEXT", "LAST", "RECENT"], rows)
    _count(screen, page, "jobs", "rota new web/fetch writes a first one")
    return 0


def next_(
    *,
    within: Annotated[str, Parameter(name=["--in", "--within"], help="How far ahead: 2h, 1d.")] = "24h",
    q: Query = "",
    limit: Limit = 50,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """What runs next, soonest first, each in its job's own zone.

    rota next · rota next --in 2h -q ns:finance
    """
    with server.connect() as rota:
        page = rota.run(rota.api.jobs.upcoming(q, within=within, limit=limit))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    moments = show.times(screen)
    rows = [
        [
            moments.at(item["due"], item["timezone"]),
            times.relative(item["due"], moments.now),
            Cell(item["job"], "bold"),
            item["schedule"] or "",
            item["timezone"],
        ]
        for item in page["items"]
    ]
    screen.table(["DUE", "IN", "JOB", "SCHEDULE", "ZONE"], rows)
    more = "; there are more, --limit shows them" if page["more"] else ""
    screen.talk(f"{len(rows)} within {within}{more}", "dim")
    return 0


def pause(
    job: str,
    /,
    *,
    until: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="Until when: 2h, 18:00, 2026-12-01.")
    ] = None,
    reason: Annotated[str, Parameter(allow_leading_hyphen=True, help="Why; it is shown.")] = "",
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Plan no more instants of a job until it is resumed.

    rota pause web/fetch --until 18:00 --reason 'target is rebuilt'

    Parameters
    ----------
    job:
        NAMESPACE/NAME.
    """
    screen = show.screen()
    with server.connect() as rota:
        moment = None
        if until is not None:
            zone = times.zone(rota.run(rota.api.jobs.get(job))["timezone"])
            moment = times.future(until, show.times(screen).now, zone)
        answer = rota.run(rota.api.jobs.pause(job, until=moment, reason=reason))
    if show.is_data:
        show.emit(screen, answer)
        return 0
    paused = answer["job"]["paused"]
    end = f" until {show.times(screen).at(paused['until'], answer['job']['timezone'])}" if paused["until"] else ""
    screen.line(f"{job} is paused{end}")
    for run in answer["may_still_start"]:
        screen.talk(f"! run {run} may still start: a worker has it already, or it is between two tries", "warn")
    screen.next_step(f"rota resume {job}")
    return 0


def resume(job: str, /, *, server: Server = Server(), show: Show = Show()) -> int:
    """Plan a paused job again; what lay in the pause is one gap row.

    Parameters
    ----------
    job:
        NAMESPACE/NAME.
    """
    with server.connect() as rota:
        answer = rota.run(rota.api.jobs.resume(job))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, answer)
        return 0
    upcoming = answer["next"][0] if answer["next"] else None
    when = f"; next {show.times(screen).at(upcoming, answer['timezone'])}" if upcoming else ""
    screen.line(f"{job} is planned again{when}")
    screen.next_step(f"rota next -q job:{job}")
    return 0


def _condition(job: dict[str, Any]) -> Cell:
    """The most pressing condition, and how many more."""
    found = job["conditions"]
    if job["active"] and found in ([], ["new"]):
        return state_cell(job["active"][-1]["state"], "")
    styles = {"broken": "bad", "failing": "bad", "late": "warn", "paused": "warn", "shadow": "dim", "new": "dim"}
    for name, style in styles.items():
        if name in found:
            count = f" ×{job['fails_in_row']}" if name == "failing" and job["fails_in_row"] > 1 else ""
            more = f" +{len(found) - 1}" if len(found) > 1 else ""
            return Cell(f"{name}{count}{more}", style)
    return Cell("healthy", "good")


def _last(job: dict[str, Any], when: str) -> Cell:
    state = job["last"]["state"]
    return state_cell(state, f" {when}") if state else Cell("—", "dim")


def _strip(recent: list[dict[str, Any]]) -> str:
    """The newest runs as glyphs, newest last."""
    return "".join(STATE_GLYPHS.get(run["state"], "·") for run in recent[-_STRIP_LENGTH:])


def _count(screen: Screen, page: dict[str, Any], noun: str, hint: str) -> None:
    """How many there are, beside those shown."""
    value, kind = page["count"]["value"], page["count"]["kind"]
    total = f"at least {value}" if kind != "exact" else str(value)
    if not page["items"]:
        screen.talk(f"no {noun}; {hint}", "dim")
    else:
        screen.talk(f"{len(page['items'])} of {total} {noun}", "dim")
