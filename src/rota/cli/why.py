"""Why it did, or did not, run: `why`."""

from typing import Annotated, Any

from cyclopts import Parameter

from rota.cli import times
from rota.cli.common import Show
from rota.cli.connection import Server
from rota.cli.terminal import Screen, plain
from rota.client.client import BlockingClient
from rota.core.ids import is_run_id

_SIGNS = {True: ("✓", "good"), False: ("✕", "bad"), None: ("·", "dim")}


def why(
    thing: Annotated[str, Parameter(help="NS/JOB (with --at, or its newest run), or a run.")],
    /,
    *,
    at: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="Which instant: 03:00, 'yesterday 03:00', ISO; in the job's zone."),
    ] = None,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Say why a job did or did not run, step by step.

    rota why web/fetch --at 'yesterday 03:00' · rota why web/fetch@last-failed
    """
    screen = show.screen()
    with server.connect() as rota:
        answer = _ask(rota, thing, at, show.times(screen))
    if show.is_data:
        show.emit(screen, answer, items="")
        return 0
    _tell(answer, screen, show.times(screen))
    return 0


def _ask(rota: BlockingClient, thing: str, at: str | None, moments: Any) -> dict[str, Any]:
    """The server's checklist."""
    is_job = "@" not in thing and "://" not in thing and not is_run_id(thing)
    if at is not None and is_job:
        zone = times.zone(rota.run(rota.api.jobs.get(thing, upcoming=0))["timezone"])
        instant = times.past_or_future(at, moments.now, zone)
        return rota.run(rota.api.jobs.why(thing, instant.isoformat()))
    return rota.run(rota.api.runs.why(rota.run(rota.api.runs.resolve(thing))["id"]))


def _tell(answer: dict[str, Any], screen: Screen, moments: Any) -> None:
    head = f"{answer['job']} at {moments.at(answer['at'])}"
    screen.line(screen.painted(plain(head), "bold") + (f"  {answer['run']}" if answer["run"] else ""))
    for step in answer["steps"]:
        sign, style = _SIGNS[step["ok"]]
        when = f"  {moments.at(step['at'])}" if step["at"] else ""
        screen.line(f"  {screen.painted(sign, style)} {plain(step['text'])}{screen.painted(when, 'dim')}")
    screen.line(f"→ {plain(answer['verdict'])}")
    if answer["next"]:
        screen.next_step(plain(" · ".join(answer["next"])))
