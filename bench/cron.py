"""How many next instants a second the schedule engine computes, over expressions people really write."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from rota.core.schedule import Schedule, compile_schedule

COMMON: Final = (
    "* * * * *",
    "*/5 * * * *",
    "0 * * * *",
    "0 3 * * *",
    "30 2 * * *",
    "15,45 9-17 * * 1-5",
    "0 9 * * mon-fri",
    "0 0 1 * *",
    "0 4 * * 0",
    "*/10 * * * * *",
    "every day at 03:00",
    "every 5m",
)
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York")
START: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STEPS: Final = 20_000
ROUNDS: Final = 3


def _walk_epochs(schedule: Schedule) -> float:
    """Seconds for STEPS instants as integers."""
    following = schedule.next_epoch
    instant: int | None = int(START.timestamp())
    begin = time.perf_counter()
    for _ in range(STEPS):
        instant = following(instant if instant is not None else 0)
    return time.perf_counter() - begin


def _walk_datetimes(schedule: Schedule) -> float:
    """Seconds for STEPS instants as occurrences."""
    instant = START
    begin = time.perf_counter()
    for _ in range(STEPS):
        occurrence = schedule.next(instant)
        instant = occurrence.due if occurrence is not None else START
    return time.perf_counter() - begin


def _rate(schedules: list[Schedule], walk: Callable[[Schedule], float]) -> float:
    """Instants a second over all schedules together; the best of a few rounds, since others share the machine."""
    best = min(sum(walk(schedule) for schedule in schedules) for _ in range(ROUNDS))
    return len(schedules) * STEPS / best


def run() -> dict[str, dict[str, Any]]:
    """The figures of this area."""
    schedules = [compile_schedule(text, timezone=zone, name="bench/job") for text in COMMON for zone in ZONES]
    return {
        "cron_next_per_s": {
            "value": round(_rate(schedules, _walk_epochs)),
            "unit": "1/s",
            "better": "higher",
            "note": f"{len(COMMON)} common expressions in {len(ZONES)} zones, whole seconds",
        },
        "cron_next_datetime_per_s": {
            "value": round(_rate(schedules, _walk_datetimes)),
            "unit": "1/s",
            "better": "higher",
            "note": "the same as aware datetimes",
        },
    }


if __name__ == "__main__":
    for name, figure in run().items():
        print(f"{name:28} {figure['value']:>12,} {figure['unit']}  {figure['note']}")
