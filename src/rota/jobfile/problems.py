"""What is wrong with a job file, where, why and what to do; and how that is shown to a person.

A `Problem` is complete in itself: it can be sent over the API and shown without the file. `Problems` gathers those
of one text, each cause once, so that a person sees everything in one pass.
"""

import bisect
import difflib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from rota.core.errors import Invalid
from rota.jobfile.codes import CODES

Severity = Literal["error", "warning"]

MOST_PROBLEMS: Final = 200
_WIDTH: Final = 110
_TAB: Final = "\t"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong: `line` and `column` count from 1; both are 0 when there is no text."""

    code: str
    message: str
    file: str
    line: int = 0
    column: int = 0
    length: int = 1
    path: str = ""  # where it is in the document: jobs.fetch.http.get
    label: str = ""  # what is said beside the carets
    help: tuple[str, ...] = ()
    severity: Severity = "error"

    @property
    def is_error(self) -> bool:
        """Whether nothing can be applied because of it; a warning only says so."""
        return self.severity == "error"

    @property
    def place(self) -> str:
        """`file:line:column`, or the path in the document when there is no text."""
        if self.line:
            return f"{self.file}:{self.line}:{self.column}"
        return f"{self.file}: {self.path}" if self.path else self.file


class JobFileError(Invalid):
    """The job file is wrong; nothing was applied."""

    code = "JOB_FILE"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.place}: {problem.message}" for problem in self.problems[:5]))


class Source:
    """A text with the positions of its lines."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def position(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of the character at `index`."""
        line = bisect.bisect_right(self._starts, index) - 1
        if line and line == len(self._starts) - 1 and self._starts[line] == len(self.text):
            line -= not self.text.endswith(("\n", "\r"))
        return line + 1, index - self._starts[line] + 1

    def line(self, number: int) -> str:
        """The text of a line, from 1, without its end."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e")


class Problems:
    """The problems of one text, in the order of their places, each cause once."""

    def __init__(self, source: Source | None, file: str) -> None:
        self.source = source
        self.file = file
        self._found: dict[tuple[str, int, str], Problem] = {}

    def add(
        self,
        code: str,
        message: str,
        start: int = 0,
        end: int | None = None,
        *,
        path: str = "",
        label: str = "",
        help: Iterable[str] = (),
    ) -> None:
        """Note a problem at the characters `start` to `end` of the text."""
        assert code in CODES
        key = (code, start if self.source else 0, "" if self.source else path)
        if key in self._found or len(self._found) >= MOST_PROBLEMS:
            return
        line, column, length = self._span(start, end)
        self._found[key] = Problem(
            code=code,
            message=message,
            file=self.file,
            line=line,
            column=column,
            length=length,
            path=path,
            label=label,
            help=tuple(help),
            severity="warning" if code.startswith("W") else "error",
        )

    def _span(self, start: int, end: int | None) -> tuple[int, int, int]:
        if self.source is None:
            return 0, 0, 1
        line, column = self.source.position(start)
        longest = max(1, len(self.source.line(line)) - column + 1)
        return line, column, max(1, min((end or start + 1) - start, longest))

    @property
    def found(self) -> tuple[Problem, ...]:
        """All problems, first those at the top of the text."""
        return tuple(sorted(self._found.values(), key=lambda problem: (problem.line, problem.column)))

    @property
    def has_errors(self) -> bool:
        """Whether there is more than warnings."""
        return any(problem.is_error for problem in self._found.values())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was most likely meant to be."""
    candidates = list(known)
    folded = {name.replace("-", ""): name for name in candidates}
    squeezed = word[:100].lower().replace("_", "").replace("-", "").replace(" ", "")
    if squeezed in folded:
        return folded[squeezed]
    close = difflib.get_close_matches(word[:100].lower().replace("_", "-"), candidates, n=1, cutoff=0.6)
    return close[0] if close else None


def render(problem: Problem, source_text: str | None) -> str:
    """Show a problem as the terminal does: code, message, place, the line with carets, what to do."""
    lines = [f"{problem.severity}[{problem.code}]: {_clean(problem.message)}"]
    if not problem.line:
        lines.append(f"  ┌─ {_clean(problem.place)}")
        lines += [f"  = {_clean(line)}" for line in (problem.label, *problem.help) if line]
        return "\n".join(lines)
    margin = max(2, len(str(problem.line)))
    lines.append(f"{' ' * margin}┌─ {_clean(problem.place)}")
    if source_text is not None:
        lines += _excerpt(problem, source_text, margin)
    elif problem.label:
        lines.append(f"{' ' * margin}= {_clean(problem.label)}")
    lines += [f"{' ' * margin}= {_clean(line)}" for line in problem.help]
    return "\n".join(lines)


def _excerpt(problem: Problem, source_text: str, margin: int) -> list[str]:
    """The line of the problem, cut to a window around it, and the carets below it."""
    line = Source(problem.file, source_text).line(problem.line).replace(_TAB, " ")
    column = problem.column - 1
    length = min(problem.length, _WIDTH)
    first = 0 if len(line) <= _WIDTH else max(0, min(column - 20, column + length - _WIDTH + 20))
    shown = line[first : first + _WIDTH]
    carets = " " * (column - first) + "^" * max(1, min(length, _WIDTH - (column - first)))
    label = f" {_clean(problem.label)}" if problem.label else ""
    number = str(problem.line).rjust(margin)
    return [f"{number}│ {_clean(shown)}".rstrip(), f"{' ' * margin}│ {carets}{label}"]


def _clean(text: str) -> str:
    """Keep a message from steering the terminal it is printed on."""
    return "".join(char if char.isprintable() or char == " " else "·" for char in text)
