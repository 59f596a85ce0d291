"""Runs in a list: `runs`."""

from typing import Annotated, Any

from cyclopts import Parameter

from rota.cli import times
from rota.cli.common import Query, Show, Times
from rota.cli.connection import Server
from rota.cli.terminal import Cell, state_cell


def runs(
    *jobs: str,
    q: Query = "",
    since: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="From when on: 18:00, yesterday, -36h, ISO (default 24h)."),
    ] = None,
    until: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="Up to when.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """List runs, newest first; those of the last 24 hours unless told otherwise.

    rota runs · rota runs web/fetch --since -7d · rota runs -q 'state:failed exit:137'

    Parameters
    ----------
    jobs:
        Names; * stands for anything.
    """
    query = f"{q} job:{','.join(jobs)}".strip() if jobs else q
    with server.connect() as rota:
        page = rota.run(rota.api.runs.list(query, limit=limit, since=since, until=until))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    if show.quiet:
        for run in page["items"]:
            screen.line(run["id"])
        return 0
    moments = show.times(screen)
    rows = [_row(run, moments) for run in page["items"]]
    screen.table(["DUE", "JOB", "STATE", "TRY", "TOOK", "EXIT", "RUN", "WHY"], rows)
    count = page["count"]
    total = f"{'at least ' if count['kind'] != 'exact' else ''}{count['value']}"
    screen.talk(f"{len(rows)} of {total} runs since {moments.at(page['since'])}", "dim")
    return 0


def _row(run: dict[str, Any], moments: Times) -> list[Cell | str]:
    reason = run["error"] or (run["reason"] or {}).get("words") or ""
    return [
        moments.at(run["due"]),
        Cell(run["job"], "bold"),
        state_cell(run["state"]),
        str(run["attempt"] or ""),
        times.span(run["took"]),
        "" if run["exit"] is None else str(run["exit"]),
        run["id"],
        "" if run["state"] == "succeeded" else reason,
    ]
