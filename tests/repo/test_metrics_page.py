"""The page of metrics and events is in step with the code."""

from repo_scripts import load_script

from rota.telemetry import Metrics

metrics = load_script("list_metrics")


def test_the_page_is_in_step() -> None:
    assert metrics.PAGE.read_text() == metrics.page(), "run: python scripts/list_metrics.py"


def test_it_has_every_metric() -> None:
    page = metrics.page()
    for family in Metrics().registry.collect():
        assert f"| `{family.name}" in page
