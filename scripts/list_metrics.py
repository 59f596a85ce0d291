"""Writes docs/reference/metrics.md from what the code defines: every metric, every event with its level in the log.

Run it after a change of either; a test compares the page with the code.
"""

import logging
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from rota.events import Event
from rota.telemetry import LEVELS, Metrics

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
_INTRODUCTION = """\
# Metrics and the log

<!-- Written by scripts/list_metrics.py; change the code, not this page. -->

`GET /metrics` of a server answers in Prometheus' text format, with a token of the scope `metrics`
(`rota token create --scope metrics`). Each server counts what it did itself. Gauges "of the installation" are asked of
the store at that moment and are the same at every server; while the store does not answer they keep their values,
and `rota_store_answers` is 0.

What one would be woken for:

| Alarm | Because |
|---|---|
| `rota_store_answers == 0` for a minute | nothing new starts, nothing is written |
| `rota_shards_unled > 0` for half a minute | these jobs are planned by nobody |
| `rota_planner_lag_seconds > 10` | jobs start late |
| `rota_oldest_wait_seconds > 300` | no worker has room, or none is there |
| `rota_workers{state="up"} == 0` | nothing can run |
| `rate(rota_workers_lost_total[10m]) > 0` | machines or the network to them fail |
| `increase(rota_restores_suspected_total[1h]) > 0` | the database was set back; at-most-once jobs are held |
"""


def page() -> str:
    """The page as it should be."""
    lines = [_INTRODUCTION, "## Metrics", "", "| Metric | Kind | Labels | What |", "|---|---|---|---|"]
    lines += sorted(_metric_rows())
    lines += ["", "## Events", "", "Each is a line of the log (on stderr) named so, with these fields.", ""]
    lines += ["| Event | Level | Fields | What happened |", "|---|---|---|---|"]
    lines += [_event_row(kind) for kind in sorted(Event.__subclasses__(), key=lambda kind: kind.__name__)]
    return "\n".join(lines) + "\n"


def _metric_rows() -> list[str]:
    """A row for each metric of the registry."""
    metrics = Metrics()
    rows = []
    for one in (*vars(metrics).values(), *vars(metrics.operation).values()):
        for family in one.describe() if isinstance(one, MetricWrapperBase) else ():
            labels = ", ".join(one._labelnames)
            suffix = "_total" if family.type == "counter" else ""
            rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |")
    return rows


def _event_row(kind: type[Event]) -> str:
    """A row for an event."""
    level = logging.getLevelName(LEVELS.get(kind, logging.INFO)).lower()
    fields = ", ".join(f"`{name}`" for name in kind.__annotations__)
    told = " ".join((kind.__doc__ or "").split())
    return f"| `{kind.__name__}` | {level} | {fields} | {told} |"


if __name__ == "__main__":
    PAGE.write_text(page())
