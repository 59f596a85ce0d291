"""Reads a tutorial as a program: files to write, commands to run, and what their output must hold.

A fenced block whose first line reads ```LANGUAGE NAME is a file of that name. A ```console block holds commands after
`$ ` and below each some lines of its output, in which … stands for anything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FENCE = re.compile(r"^```(?P<language>\w+)(?: (?P<name>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file the reader is told to write."""

    name: str
    text: str


@dataclass
class Command:
    """A command the reader is told to type, and lines that its output must hold."""

    text: str
    output: list[str] = field(default_factory=list)

    def missing(self, printed: str) -> list[str]:
        """The promised lines that are not in what was printed."""
        lines = [_squeezed(line) for line in printed.splitlines()]
        return [line for line in self.output if not any(_pattern(line).search(shown) for shown in lines)]


def steps(markdown: str) -> Iterator[File | Command]:
    """Everything a reader does, in order."""
    for block in _FENCE.finditer(markdown):
        if block["name"]:
            yield File(block["name"], block["body"])
        elif block["language"] == "console":
            yield from _commands(block["body"])


def _commands(body: str) -> Iterator[Command]:
    command: Command | None = None
    for line in body.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command
            command = Command(line[2:])
        elif line.strip() and command is not None:
            command.output.append(line)
    if command is not None:
        yield command


def _squeezed(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip()


def _pattern(line: str) -> re.Pattern[str]:
    """Blanks may differ in number; … stands for anything; what is not led or ended by … begins or ends the line."""
    text = _squeezed(line)
    parts = [re.escape(part.strip()) for part in text.split("…")]
    return re.compile("^" + ".*".join(parts) + "$")
