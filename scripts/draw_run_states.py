"""Draws the run's state machine into docs/explanation/run-states.md, from the table the program itself obeys.

python scripts/draw_run_states.py           writes the page
python scripts/draw_run_states.py --check   fails when the page is not in step
"""

import sys
from pathlib import Path
from typing import Final

from rota.core.model import RunState
from rota.core.run_state import TRANSITIONS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "run-states.md"
BEGIN: Final = "<!-- begin: written by scripts/draw_run_states.py -->"
END: Final = "<!-- end -->"


def transitions() -> list[tuple[str, str, tuple[str, ...]]]:
    """(state, move, states it may lead to), in the order of the table."""
    return [
        (state.value, move.__name__, tuple(target.value for target in targets))
        for (state, move), targets in TRANSITIONS.items()
    ]


def draw() -> str:
    """The diagram and the table, between the marks of the page."""
    lines = [BEGIN, "", "```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    for state, move, targets in transitions():
        lines += [f"    {_name(state)} --> {_name(target)}: {move}" for target in targets]
    lines += [f"    {_name(state.value)} --> [*]" for state in RunState if state.is_final]
    lines += ["```", "", "| From | Move | To |", "|---|---|---|"]
    for state, move, targets in transitions():
        lines.append(f"| `{state}` | {move} | {', '.join(f'`{target}`' for target in targets)} |")
    return "\n".join([*lines, "", END])


def updated(page: str) -> str:
    """The page with its drawn part made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + draw() + after


def main(arguments: list[str]) -> int:
    """Write the page, or only compare it."""
    page = PAGE.read_text()
    if arguments == ["--check"]:
        if page == updated(page):
            return 0
        print(f"{PAGE} is not in step with TRANSITIONS; run: python scripts/draw_run_states.py", file=sys.stderr)
        return 1
    PAGE.write_text(updated(page))
    return 0


def _name(state: str) -> str:
    """A state's name as the diagram takes it."""
    return state.replace("-", "_")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
