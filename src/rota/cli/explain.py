"""What a code means: `explain CODE`. Needs no server. (`explain cron` has a module of its own: it starts quicker.)"""

from typing import Annotated

from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Show
from rota.cli.terminal import plain
from rota.core.reasons import REASONS
from rota.jobfile.codes import CODES


def explain(
    code: Annotated[str | None, Parameter(help="E0142, W0201, NO_WORKER …")] = None,
    /,
    *,
    show: Show = Show(),
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
