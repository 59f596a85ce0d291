"""Pages written from the program's own tables are in step with them."""

from pathlib import Path
from types import ModuleType

import pytest
from scripts import draw_run_states, list_reasons

from rota.core.model import RunState
from rota.core.reasons import REASONS, ReasonText
from rota.core.run_state import TRANSITIONS


@pytest.mark.parametrize("script", [draw_run_states, list_reasons], ids=lambda script: script.__name__)
def test_page_is_in_step(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0


def test_diagram_has_every_state_and_every_legal_move() -> None:
    drawn = draw_run_states.draw()
    arrows = [line for line in drawn.splitlines() if " --> " in line and ": " in line]
    assert len(arrows) == sum(len(targets) for targets in TRANSITIONS.values())
    assert all(f"`{state.value}`" in drawn for state in RunState)


def test_every_state_is_explained() -> None:
    page = draw_run_states.PAGE.read_text()
    assert all(f"\n| `{state.value}` | " in page.partition("## The states")[2] for state in RunState)


def test_stale_page_is_noticed_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reasons.md"
    page.write_text(list_reasons.PAGE.read_text())
    monkeypatch.setattr(list_reasons, "PAGE", page)
    monkeypatch.setitem(REASONS, "BRAND_NEW", ReasonText("a | b", "do {this}"))
    assert list_reasons.main(["--check"]) == 1
    assert "run: python scripts/list_reasons.py" in capsys.readouterr().err
    assert list_reasons.main([]) == 0
    assert "| `BRAND_NEW` | a \\| b | do {this} |" in page.read_text()
    assert page.read_text().startswith("# Reason codes")
    assert list_reasons.main(["--check"]) == 0
