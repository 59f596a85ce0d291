"""One run: `run`, `cancel`, `retry`; and waiting for its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from cyclopts import Parameter

from rota import __version__
from rota.cli import exits, times
from rota.cli.common import Flag, Reference, Show
from rota.cli.connection import Server
from rota.cli.terminal import Screen, plain
from rota.client.client import Client
from rota.core.errors import Invalid, RotaError
from rota.core.glyphs import STATE_GLYPHS
from rota.core.units import parse_duration

Document = dict[str, Any]
_MOMENT: Final = timedelta(seconds=1)
_LOOK_AGAIN_SECONDS: Final = 0.05


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Whether to wait for the end of a run, and how long."""

    wait: Flag = False
    """Wait for its end; the exit code tells how it ended."""
    timeout: str | None = None
    """Stop waiting after so long (exit 23): 30s, 10m."""

    def seconds(self) -> float | None:
        """The time-out, if there is one."""
        if self.timeout is not None and not self.wait:
            raise Invalid("--timeout says how long to wait and needs --wait", hint="add --wait")
        return None if self.timeout is None else parse_duration(self.timeout)


def run(
    job: str,
    /,
    *,
    waiting: Waiting = Waiting(),
    param: Annotated[list[str], Parameter(name=["-p", "--param"], negative="", help="NAME=VALUE, repeatable.")] = [],  # noqa: B006 — never changed
    at: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="For which time: 03:00, 2026-11-23T03:00, +2h.")
    ] = None,
    exit_code_of_job: Flag = False,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Run a job once, now or at a time.

    rota run web/fetch --wait · rota run finance/report -p month=2026-11

    Parameters
    ----------
    job:
        NAMESPACE/NAME.
    exit_code_of_job:
        With --wait: exit as the job did.
    """
    seconds = waiting.seconds()
    params = dict(_param(one) for one in param)
    screen = show.screen()

    async def work() -> int:
        async with Client(server.target(), version=__version__) as client:
            moment = None
            if at is not None:
                zone = times.zone((await client.jobs.get(job, upcoming=0))["timezone"])
                moment = times.past_or_future(at, show.times(screen).now, zone)
            started = await client.jobs.trigger(job, params=params, at=moment)
            if not waiting.wait:
                return await _started(client, started, screen, show)
            return await _await_end(client, started, seconds, screen, show, as_job=exit_code_of_job)

    return asyncio.run(work())


def retry(
    reference: Reference,
    /,
    *,
    waiting: Waiting = Waiting(),
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Run again what a run was for: a new run with the same due; the old one stays as it ended.

    rota retry web/fetch@last-failed --wait
    """
    seconds = waiting.seconds()
    screen = show.screen()

    async def work() -> int:
        async with Client(server.target(), version=__version__) as client:
            old = await client.runs.resolve(reference)
            started = await client.runs.retry(old["id"])
            if not waiting.wait:
                return await _started(client, started, screen, show)
            return await _await_end(client, started, seconds, screen, show)

    return asyncio.run(work())


def cancel(
    reference: Reference,
    /,
    *,
    reason: Annotated[str, Parameter(allow_leading_hyphen=True, help="Why; it is shown.")] = "",
    wait: Annotated[bool, Parameter(negative="", help="Wait until it has ended.")] = False,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """End a run: TERM, then KILL after the job's grace.

    rota cancel web/fetch@latest --reason 'wrong params'
    """
    with server.connect() as client:
        found = client.run(client.api.runs.resolve(reference))
        ended = client.run(client.api.runs.cancel(found["id"], reason=reason))
        if wait:
            *_, ended = client.each(client.api.follow_run(found["id"]))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, ended)
    elif ended["state"] in exits.OF_STATE:
        screen.line(f"{ended['job']} {ended['id']} {ended['state']}")
    else:
        screen.line(f"{ended['job']} {ended['id']} is asked to end; it is {ended['state']}")
        screen.next_step(f"rota show {ended['id']}")
    return 0


def _param(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise Invalid(f'"{text[:60]}" is not a param', hint="write -p NAME=VALUE")
    return name, value


async def _started(client: Client, run: Document, screen: Screen, show: Show) -> int:
    """Say which run it is; and what keeps it from starting, if that is known within a moment."""
    if show.is_data:
        show.emit(screen, run)
        return 0
    screen.line(run["id"])
    screen.flush()
    if show.quiet:
        return 0
    run = await _settled(client, run)
    if run["state"] in exits.OF_STATE and not run["attempt"]:
        screen.talk(_state_words(run), "warn")
        screen.next_step(f"rota why {run['id']}")
        return 0
    if run["state"] == "queued" and run["reason"]:
        screen.talk(_state_words(run), "dim")
    screen.next_step(f"rota logs -f {run['id']}")
    return 0


async def _settled(client: Client, run: Document) -> Document:
    """The run once it is let in or not: that is decided after it was made. As it is, when that takes long.

    The run is made, so whatever goes wrong here is no failure of the command.
    """
    is_due = datetime.fromisoformat(run["due"]) <= datetime.now(UTC) + _MOMENT
    with contextlib.suppress(TimeoutError, RotaError):
        async with asyncio.timeout(_MOMENT.total_seconds()):
            while is_due and run["state"] == "queued" and not run["reason"]:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                run = await client.runs.get(run["id"])
    return run


async def _await_end(
    client: Client, started: Document, seconds: float | None, screen: Screen, show: Show, *, as_job: bool = False
) -> int:
    """Follow a run to its end, saying each change; returns the exit code."""
    last = started
    changes = client.follow_run(started["id"])
    try:
        async with asyncio.timeout(seconds):
            last = await _tell(changes, screen)
    except TimeoutError:
        last = await client.runs.get(started["id"])
    if last["state"] not in exits.OF_STATE:
        screen.talk(f"stopped waiting after {seconds:g} s; run {last['id']} is {last['state']}", "warn")
        screen.next_step(f"rota logs -f {last['id']}")
        if show.is_data:
            show.emit(screen, last)
        return exits.STILL_RUNNING
    _result(last, screen, show)
    if as_job and last["attempts"]:
        return _job_exit(last)
    return exits.OF_STATE[last["state"]]


async def _tell(changes: AsyncIterator[Document], screen: Screen) -> Document:
    """Say each change on stderr; returns the final run."""
    said = ""
    run: Document = {}
    async for run in changes:
        words = _state_words(run)
        if words != said:
            screen.talk(words, "dim")
            said = words
    return run


def _state_words(run: Document) -> str:
    """Where the run stands, in a line."""
    glyph = STATE_GLYPHS.get(run["state"], "·")
    words = f"{glyph} {run['state']}"
    if run["state"] in ("starting", "running"):
        words += f"  attempt {run['attempt']} on {run['worker']}"
    elif run["reason"] and (run["state"] == "queued" or not run["attempt"]):
        words += f"  {run['reason']['words']}"
    return plain(words)


def _result(run: Document, screen: Screen, show: Show) -> None:
    """The result line: state, how long, why."""
    if show.is_data:
        show.emit(screen, run)
        return
    glyph = STATE_GLYPHS.get(run["state"], "·")
    took = f" in {times.span(run['took'])}" if run["took"] is not None else ""
    tries = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    why = ""
    if run["state"] != "succeeded":
        cause = run["error"] or (run["reason"] or {}).get("words")
        why = f": {cause}" if cause else ""
    screen.line(plain(f"{glyph} {run['job']} {run['state']}{took}{tries}{why}"))
    if run["attempt"]:
        screen.next_step(f"rota logs {run['id']}")
    else:
        screen.next_step(f"rota why {run['id']}")


def _job_exit(run: Document) -> int:
    """The job's own exit status, as a shell would have seen it."""
    last = run["attempts"][-1]
    if last["signal"] and run["state"] == "failed":
        return 128 + int(last["signal"])
    status = last["exit"]
    if run["state"] == "failed" and status is not None and 0 < status < 256:  # an HTTP status is no exit code
        return int(status)
    return exits.OF_STATE[run["state"]]
