"""Compare the schedule engine with the brute-force oracle, cronsim and croniter on many random instants.

    python scripts/compare_cron.py --instants 10000000 [--seed N]

Every disagreement that is not a known difference (docs/reference/schedules.md) is printed with its expression,
zone and policy; the exit code is 1 if there was one. Figures at the end say how much was compared.
"""

import argparse
import importlib
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "core")]

brute_force: Any = importlib.import_module("brute_force")
peers: Any = importlib.import_module("cron_peers")
samples: Any = importlib.import_module("cron_samples")
schedules: Any = importlib.import_module("rota.core.schedule")
zones: Any = importlib.import_module("rota.core.zones")
ScheduleError: Any = importlib.import_module("rota.core.schedule_errors").ScheduleError

MANY = 10_000_000
WALK = 40


class Comparison:
    """Counts what was compared and prints what differed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.compared: Counter[str] = Counter()
        self.differences = 0

    def check(self, peer: str, ours: list[datetime], theirs: list[datetime], what: str) -> None:
        self.compared[peer] += len(theirs)
        if ours != theirs:
            self.differences += 1
            odd = sorted(set(ours) ^ set(theirs))[:3]
            print(f"DIFFERENT from {peer}: {what}: {[instant.isoformat() for instant in odd]}")

    def expression(self) -> str:
        known = samples.EVERYDAY + samples.SPECIAL + samples.SECONDS
        if self.random.random() < 0.5:
            return str(self.random.choice(known))
        return str(samples.random_expression(self.random))

    def one_moment(self, zone: str, moment: datetime) -> None:
        """One expression with every policy, and one interval, around `moment`."""
        start = moment - timedelta(days=self.random.choice((1, 2)), seconds=self.random.randrange(9000))
        end = moment + timedelta(days=2)
        expression = self.expression()
        try:
            schedules.compile_schedule(expression)
        except ScheduleError:
            return
        for policy in schedules.DstPolicy:
            schedule = schedules.compile_schedule(expression, timezone=zone, dst=policy)
            oracle = brute_force.Oracle(expression, zones.zone_info(zone), policy.value)
            self.same(schedule, oracle.between(start, end), start, end)
        seconds = self.random.choice((60, 300, 1800, 3600, 5400, 7200, 14_400, 21_600, 43_200, 86_400))
        schedule = schedules.compile_schedule(f"every {seconds}s", timezone=zone)
        expected = brute_force.interval_instants(seconds, zones.zone_info(zone), start, end)
        self.same(schedule, expected, start, end)
        self.libraries(expression, zone, start.replace(second=0))

    def same(self, schedule: Any, expected: list[datetime], start: datetime, end: datetime) -> None:
        what = f"{schedule!r} from {start} to {end}"
        self.check("brute force", [found.due for found in schedule.between(start, end, MANY)], expected, what)
        if [found.due for found in schedule.latest(start, end, MANY)] != expected:
            self.check("itself backwards", [], expected, what)
        if schedule.count(start, end) != len(expected):
            self.check("its own count", [], expected, what)

    def libraries(self, expression: str, zone: str, start: datetime) -> None:
        if peers.cronsim_comparable(expression) and not peers.cronsim_stumbles(expression, zone, start):
            self.walk("cronsim", expression, zone, start)
        if peers.croniter_comparable(expression):
            self.walk("croniter", expression, "UTC", start)

    def walk(self, peer: str, expression: str, zone: str, start: datetime) -> None:
        schedule = schedules.compile_schedule(expression, timezone=zone)
        ours = [found.due for found in schedule.between(start, datetime(2400, 1, 1, tzinfo=UTC), WALK)]
        theirs = peers.WALKS[peer](expression, zones.zone_info(zone), start, len(ours))
        self.check(peer, ours, theirs, f"{schedule!r} from {start}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instants", type=int, default=1_000_000, help="how many to compare at least")
    parser.add_argument("--seed", type=int, default=1, help="the same seed compares the same instants")
    options = parser.parse_args()
    comparison = Comparison(options.seed)
    while comparison.compared.total() < options.instants:
        zone = comparison.random.choice(samples.ZONES)
        for moment in samples.moments(comparison.random, zone, 1):
            comparison.one_moment(zone, moment)
    for peer, number in comparison.compared.most_common():
        print(f"{number:>12,} instants compared with {peer}")
    print(f"{comparison.differences:>12,} unknown differences (seed {options.seed})")
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
