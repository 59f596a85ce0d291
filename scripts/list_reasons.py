"""Lists the reason codes in docs/reference/reasons.md, from the table the program itself speaks from.

python scripts/list_reasons.py           writes the page
python scripts/list_reasons.py --check   fails when the page is not in step
"""

import sys
from pathlib import Path
from typing import Final

from rota.core.reasons import REASONS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference" / "reasons.md"
BEGIN: Final = "<!-- begin: written by scripts/list_reasons.py -->"
END: Final = "<!-- end -->"


def table() -> str:
    """One row per code, between the marks of the page."""
    lines = [BEGIN, "", "| Code | What it says | What you can do |", "|---|---|---|"]
    for code, text in sorted(REASONS.items()):
        lines.append(f"| `{code}` | {_cell(text.words)} | {_cell(text.advice)} |")
    return "\n".join([*lines, "", END])


def updated(page: str) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + table() + after


def main(arguments: list[str]) -> int:
    """Write the page, or only compare it."""
    page = PAGE.read_text()
    if arguments == ["--check"]:
        if page == updated(page):
            return 0
        print(f"{PAGE} is not in step with core.reasons; run: python scripts/list_reasons.py", file=sys.stderr)
        return 1
    PAGE.write_text(updated(page))
    return 0


def _cell(text: str) -> str:
    """Text as a table cell; a bar would end it."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
