"""What the system itself says became of everything: its rows and gap rows, read through its API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.history.records import GapRow, History, Row

Pages = Callable[[str], list[Any]]
"""All items of the list at a path of the API."""


def collect(pages: Pages, history: History, since: datetime) -> None:
    """Add the rows and gap rows of all jobs of the history; ledgers and the list of runs must agree."""
    start = (since - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = datetime.now(UTC)
    history.rows = [_row(item) for item in pages(f"/api/v1/runs?since={start}&limit=1000")]
    ahead = {row.id for row in history.rows if row.due > asked}  # on record before their time; not in ledgers yet
    scheduled = {row.id for row in history.rows if row.trigger == "schedule"}
    in_ledgers: list[str] = []
    for name in history.jobs:
        for item in pages(f"/api/v1/jobs/{name}/ledger?since={start}&limit=1000"):
            if item["type"] == "run":
                in_ledgers.append(item["id"])
            else:
                after, until = datetime.fromisoformat(item["from"]), datetime.fromisoformat(item["until"])
                history.gaps.append(GapRow(job=name, after=after, until=until, count=item["count"]))
    apart = (set(in_ledgers) ^ scheduled) - ahead
    assert not apart, f"ledgers and the list of runs disagree about {[row for row in history.rows if row.id in apart]}"
    assert len(in_ledgers) == len(set(in_ledgers)), "a ledger shows a run twice"


def _row(item: dict[str, Any]) -> Row:
    return Row(
        id=item["id"],
        job=item["job"],
        due=datetime.fromisoformat(item["due"]),
        trigger=item["trigger"],
        state=item["state"],
        attempts=tuple((attempt["number"], attempt["fence"]) for attempt in item["attempts"]),
    )
