"""Reasons in words."""

import re
from pathlib import Path

import pytest

from rota.core.model import Reason
from rota.core.reasons import REASONS, advice, explain

SOURCE = Path(__file__).parents[2] / "src" / "rota"


def test_parameters_are_filled_in() -> None:
    reason = Reason(code="CANCELLED", params={"by": "ada", "why": ": wrong day"})
    assert explain(reason) == "cancelled by ada: wrong day"


def test_missing_parameter_shows_its_name() -> None:
    assert explain(Reason(code="LOST", params={"worker": "w1"})).startswith("the worker w1 vanished")
    assert "{losses}" in explain(Reason(code="LOST"))


def test_parameters_are_data_not_templates() -> None:
    hostile = "{0} {by.__class__} {worker!r:>99}"
    assert explain(Reason(code="FAILED", params={"error": hostile})) == hostile


def test_unknown_code_is_shown_as_it_is() -> None:
    assert explain(Reason(code="FROM_THE_FUTURE")) == "FROM_THE_FUTURE"
    assert advice(Reason(code="FROM_THE_FUTURE")) == ""


def test_advice_names_the_thing() -> None:
    assert advice(Reason(code="MISSING_SECRET", params={"name": "API_KEY"})) == "rota secret set API_KEY"


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_can_be_told_without_its_parameters(code: str) -> None:
    assert explain(Reason(code=code))
    advice(Reason(code=code))


def test_every_code_used_in_the_source_has_words() -> None:
    used = set()
    for path in SOURCE.rglob("*.py"):
        used |= set(re.findall(r'Reason\(\s*code="([A-Z_]+)"', path.read_text()))
    assert "OVERLAP_SKIP" in used
    assert used <= REASONS.keys()
