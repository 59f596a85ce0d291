"""What the commands write: data to stdout, talk to stderr, colours only where a person looks.

Text that came from jobs or from the server is never written as it is: whatever could steer a terminal is shown
instead of obeyed; of escape sequences only colours may pass.
"""

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TextIO

from rich.cells import cell_len

from rota.core.glyphs import STATE_GLYPHS

_SGR: Final = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_RESET: Final = "\x1b[0m"
_STYLES: Final = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1", "busy": "36"}

_STATE_STYLES: Final = {
    "succeeded": "good",
    "failed": "bad",
    "timed-out": "bad",
    "lost": "bad",
    "missed": "bad",
    "rejected": "bad",
    "running": "busy",
    "starting": "busy",
    "queued": "busy",
    "cancelled": "warn",
    "skipped": "dim",
}


class Cell(NamedTuple):
    """A cell of a table with its style."""

    text: str
    style: str = ""


class Screen:
    """Where a command writes."""

    def __init__(self, *, colour: bool | None = None, quiet: bool = False, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._error = sys.stderr
        self._quiet = quiet
        self.is_terminal = self._out.isatty()
        wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.colour = wanted and self.is_terminal if colour is None else colour
        self._talk_colour = wanted and self._error.isatty() if colour is None else colour

    def line(self, text: str = "") -> None:
        """A line of data."""
        self._out.write(text + "\n")

    def raw(self, data: bytes) -> None:
        """Bytes of data, as they are."""
        self._out.flush()
        self._out.buffer.write(data)

    def flush(self) -> None:
        """Let what was written be seen."""
        self._out.flush()

    def document(self, value: Any, *, one_line: bool = False) -> None:
        """A JSON document."""
        self.line(json.dumps(value, ensure_ascii=False, indent=None if one_line else 2))

    def talk(self, text: str, style: str = "") -> None:
        """A line for the person at the terminal; not with --quiet."""
        if not self._quiet:
            self._error.write((paint(text, style) if self._talk_colour else text) + "\n")
            self._error.flush()

    def complain(self, text: str) -> None:
        """What went wrong; also with --quiet."""
        self._error.write(text + "\n")
        self._error.flush()

    def next_step(self, command: str) -> None:
        """What one would do now."""
        self.talk(f"Next: {command}", "dim")

    def painted(self, text: str, style: str) -> str:
        """`text` in a style, where colours are wanted."""
        return paint(text, style) if self.colour else text

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> None:
        """Aligned columns; cut to the terminal's width, never cut elsewhere."""
        cells = [[_cell(one) for one in row] for row in rows]
        widths = [
            max([cell_len(header), *(cell_len(row[index].text) for row in cells)])
            for index, header in enumerate(headers)
        ]
        room = shutil.get_terminal_size().columns if self.is_terminal else None
        for row in [[Cell(header, "bold") for header in headers], *cells]:
            self.line(self._row(row, widths, room))

    def _row(self, row: Sequence[Cell], widths: Sequence[int], room: int | None) -> str:
        parts: list[str] = []
        used = 0
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            text = cell.text
            if room is not None and used + cell_len(text) > room:
                text = _cut(text, room - used)
            last = index == len(row) - 1
            padding = "" if last else " " * (width - cell_len(text) + 2)
            parts.append(self.painted(text, cell.style) + padding)
            used += width + 2
            if room is not None and used >= room:
                break
        return "".join(parts).rstrip()


def paint(text: str, style: str) -> str:
    """`text` in a style."""
    return f"\x1b[{_STYLES[style]}m{text}{_RESET}" if style and text else text


def state_cell(state: str, extra: str = "") -> Cell:
    """A state as glyph and word."""
    return Cell(f"{STATE_GLYPHS.get(state, '·')} {state}{extra}", _STATE_STYLES.get(state, ""))


def plain(text: object) -> str:
    """`text` on one line with everything shown that could steer a terminal."""
    return "".join(char if _is_harmless(char) else _shown(char) for char in str(text))


def log_text(text: str, *, colour: bool) -> str:
    """A line of a log: colours pass where they are wanted, every other sequence is shown and not obeyed."""
    if text.isascii() and text.isprintable():
        return text
    parts: list[str] = []
    position = 0
    coloured = False
    for match in _SGR.finditer(text):
        parts.append(_harmless(text[position : match.start()]))
        if colour:
            parts.append(match[0])
            coloured = True
        position = match.end()
    parts.append(_harmless(text[position:]))
    return "".join(parts) + (_RESET if coloured else "")


def _harmless(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_harmless(char) or char == "\t" else _shown(char) for char in text)


def _is_harmless(char: str) -> bool:
    """Not a control, an override of the reading direction, or half a character."""
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co") or char == "\u200d"


def _shown(char: str) -> str:
    """A character that is not obeyed, as it is written in programs."""
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _cell(value: Cell | str) -> Cell:
    return Cell(plain(value.text), value.style) if isinstance(value, Cell) else Cell(plain(value))


def _cut(text: str, width: int) -> str:
    """`text` within `width` cells, with a sign that there was more."""
    if width <= 1:
        return ""
    while cell_len(text) > width - 1:
        text = text[:-1]
    return text + "…"
