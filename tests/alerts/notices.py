"""Notices as the recorder would make them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rota.core.alerting import notice_id
from rota.core.model import Notice, RunId

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUN = RunId("01a20a1c-f546-8cae-8034-4d7748cb991f")


def make_notice(event: str = "failed", *, route: str = "mail:ops@example.com", **facts: Any) -> Notice:
    """A notice about a run of finance/rates-fetch."""
    known: dict[str, Any] = {
        "title": "ECB exchange rates",
        "owner": "team-finance",
        "runbook": "https://wiki.example.com/run/rates",
        "timezone": "Europe/Prague",
        "state": "failed",
        "cause": "http 503 from api.example.com",
        "due": (NOON - timedelta(minutes=20)).isoformat(),
        "started": (NOON - timedelta(minutes=20)).isoformat(),
        "finished": (NOON - timedelta(minutes=4)).isoformat(),
        "fails_in_row": 3,
        "attempt": 4,
        "tries": 4,
        "worker": "local-1",
        "exit": 503,
        "signal": None,
        "error": "http 503 from api.example.com",
        "last_success": (NOON - timedelta(days=3)).isoformat(),
        "next": (NOON + timedelta(hours=15)).isoformat(),
        "revision": 13,
        "changed": (NOON - timedelta(hours=5)).isoformat(),
    }
    about_a_job = event not in ("test", "condition")
    return Notice(
        id=notice_id(event, RUN if about_a_job else event, route),
        event=event,
        route=route,
        created=NOON,
        thread=RUN,
        job="finance/rates-fetch" if about_a_job else None,
        run_id=RUN if about_a_job else None,
        facts=known | facts if about_a_job else facts,
    )
