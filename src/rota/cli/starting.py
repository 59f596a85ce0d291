"""What the verbs share that start a process: options of its log, wrong settings, lines for people."""

from collections.abc import Callable
from dataclasses import dataclass

from cyclopts import Parameter

from rota.cli.common import Flag
from rota.cli.terminal import Screen, plain
from rota.settings import SettingsRefused


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Log:
    """What it says of itself on stderr."""

    log_level: str | None = None
    """debug, info, warning or error."""
    log_format: str | None = None
    """text or json."""
    debug: Flag = False
    """Show a traceback when Rota itself goes wrong."""

    @property
    def flags(self) -> dict[str, str | None]:
        """As settings."""
        return {"log.level": self.log_level, "log.format": self.log_format}


def tell_problems(screen: Screen, error: SettingsRefused) -> None:
    """All that is wrong with the settings."""
    for problem in error.problems:
        screen.complain(f"error: {plain(problem.where)}: {plain(problem.message)}")
        if problem.hint:
            screen.complain(f"  = {plain(problem.hint)}")
    screen.complain("nothing was started")


def say_to(screen: Screen) -> Callable[[str], None]:
    """Prints lines as they come."""

    def say(line: str) -> None:
        screen.line(line)
        screen.flush()

    return say
