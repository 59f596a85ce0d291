"""What runs wrote: `logs`."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from rota import __version__
from rota.cli.common import Flag, Reference, Show, Times
from rota.cli.connection import Server
from rota.cli.terminal import Screen, log_text, paint
from rota.client.client import Client
from rota.core.errors import Invalid

Document = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Lines:
    """Which lines, and how."""

    grep: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """Only lines with this regular expression."""
    stream: str | None = None
    """Only stdout, stderr or rota."""
    tail: Annotated[int | None, Parameter(name=["-n", "--tail"])] = None
    """Only the last lines."""
    timestamps: Annotated[bool, Parameter(name=["-t", "--timestamps"], negative="")] = False
    """The time before each line."""

    def matcher(self) -> Callable[[Document], bool]:
        """Whether a line is wanted."""
        stream = self.stream
        if stream not in (None, "stdout", "stderr", "rota"):
            raise Invalid(f'"{stream[:40]}" is not a stream', hint="stdout, stderr or rota")
        try:
            pattern = re.compile(self.grep) if self.grep is not None else None
        except re.error as error:
            raise Invalid(f'--grep "{self.grep}" is not a regular expression: {error}') from error
        return lambda line: (
            (stream is None or line["stream"] == stream)
            and (pattern is None or pattern.search(line["text"]) is not None)
        )


def logs(
    reference: Reference,
    /,
    *,
    follow: Annotated[
        bool, Parameter(name=["-f", "--follow"], negative="", help="As it is written, to the end.")
    ] = False,
    attempt: Annotated[int, Parameter(help="Which attempt (default: the newest).")] = 0,
    raw: Flag = False,
    lines: Lines = Lines(),
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Show what a run wrote, or follow it as it is written.

    rota logs web/fetch · rota logs -f RUN · rota logs web/fetch@last-failed --grep error

    Parameters
    ----------
    raw:
        Bytes as the job wrote them, escape sequences included.
    """
    wanted = lines.matcher()
    if raw and (follow or lines != Lines()):
        hint = "leave out -f, -n, -t, --grep and --stream"
        raise Invalid("--raw gives the whole output of one attempt as it is", hint=hint)
    screen = show.screen()

    async def work() -> int:
        async with Client(server.target(), version=__version__) as client:
            run = await client.runs.resolve(reference)
            if raw:
                async for piece in client.runs.raw_log(run["id"], attempt=attempt):
                    screen.raw(piece)
                return 0
            start = -lines.tail if lines.tail is not None else 0
            found = client.follow_log(run["id"], attempt=attempt, start=start, follow=follow)
            count = await _write(found, wanted, screen, show, timestamps=lines.timestamps)
            if not count and not show.is_data:
                screen.talk(f"run {run['id']} is {run['state']} and has written nothing", "dim")
            return 0

    return asyncio.run(work())


async def _write(
    lines: AsyncIterator[Document],
    wanted: Callable[[Document], bool],
    screen: Screen,
    show: Show,
    *,
    timestamps: bool,
) -> int:
    """Write the lines that are wanted; returns how many there were at all."""
    moments = show.times(screen)
    gathered: list[Document] = []
    count, shown_attempt = 0, None
    async for line in lines:
        count += 1
        if not wanted(line):
            continue
        if show.jsonl:
            screen.document(line, one_line=True)
        elif show.json:
            gathered.append(line)
        else:
            if shown_attempt not in (None, line["attempt"]):
                screen.talk(f"── attempt {line['attempt']} ──", "dim")
            shown_attempt = line["attempt"]
            screen.line(_line(line, screen, moments if timestamps else None))
        screen.flush()
    if show.json and not show.jsonl:
        screen.document({"items": gathered})
    return count


def _line(line: Document, screen: Screen, moments: Times | None) -> str:
    """One line; what Rota itself says of the run is marked."""
    text = log_text(line["text"], colour=screen.colour)
    if line["stream"] == "rota":
        text = f"· {paint(text, 'dim') if screen.colour else text}"
    return f"{moments.at(line['time'])}  {text}" if moments else text
