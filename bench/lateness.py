"""When functions really started, told by themselves: each appends one record to a file outside the system.

Each process has a file of its own: those that append to the same one wait for each other.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

RECORD: Final = struct.Struct("<dd16s")  # due and start in seconds since 1970, the job's number as text

MODULE: Final = """
import os, struct, time

_file = os.open({path!r} + "." + str(os.getpid()), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def stamp(run):
    now = time.time()
    os.write(_file, struct.pack("<dd16s", run.due.timestamp(), now, run.job.rpartition("-")[2].encode()))
"""


@dataclass(frozen=True, kw_only=True)
class Lateness:
    """What the starts of a workload were like."""

    wanted: int
    started: int  # distinct (job, instant)
    doubled: int
    milliseconds: Sequence[float]  # sorted

    def at(self, share: float) -> float:
        """The lateness that this share of all starts did not exceed."""
        if not self.milliseconds:
            return math.nan
        return self.milliseconds[min(len(self.milliseconds) - 1, math.ceil(share * len(self.milliseconds)) - 1)]

    def figure(self, note: str) -> dict[str, Any]:
        """As a result."""
        return {
            "value": round(self.at(0.99), 1),
            "unit": "ms p99",
            "better": "lower",
            "p50_ms": round(self.at(0.5), 1),
            "max_ms": round(self.at(1.0), 1),
            "runs": self.wanted,
            "lost": self.wanted - self.started,
            "doubled": self.doubled,
            "note": note,
        }


def install(folder: Path) -> tuple[dict[str, Any], Path]:
    """Write the module; returns what makes a job of it, and how the paths of the records' files begin."""
    path = folder / "starts"
    (folder / "bench_stamp.py").write_text(MODULE.format(path=str(path)))
    return {"python": "bench_stamp:stamp", "cwd": str(folder)}, path


def records(path: Path) -> Iterator[tuple[float, float, bytes]]:
    """All records so far: due, start, the job's number."""
    for file in path.parent.glob(f"{path.name}.*"):
        yield from RECORD.iter_unpack(file.read_bytes())


def read(path: Path, instants: Sequence[float], jobs: int) -> Lateness:
    """What the records say about these instants of so many jobs."""
    due = set(instants)
    seen: Counter[tuple[float, bytes]] = Counter()
    late = []
    for instant, start, job in records(path):
        if instant in due:
            seen[instant, job] += 1
            late.append(1000 * (start - instant))
    return Lateness(
        wanted=len(due) * jobs,
        started=len(seen),
        doubled=sum(count - 1 for count in seen.values()),
        milliseconds=sorted(late),
    )
