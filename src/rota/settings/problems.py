"""What is wrong with settings, all of it, each with its place."""

import difflib
from collections.abc import Iterable

from rota.core.errors import RotaError
from rota.core.model import Value


class SettingsProblem(Value):
    """One thing that is wrong with the settings; `where` is `file:line`, a variable or a flag."""

    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n  = {self.hint}" if self.hint else "")


class SettingsRefused(RotaError):
    """The settings are wrong; nothing was started."""

    code = "SETTINGS"

    def __init__(self, problems: Iterable[SettingsProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def unknown(where: str, message: str, name: str, known: Iterable[str]) -> SettingsProblem:
    """An unknown key, with the nearest known one."""
    names = list(known)
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
    return SettingsProblem(where=where, message=message, hint=hint)
