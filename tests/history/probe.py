"""Witness from outside: every attempt appends one fixed-size line per event to a file Rota knows nothing of.

A line is written by a single write to a file opened for appending, so lines of many processes never mix. Times are
those of /proc/uptime, which all processes of a machine share and no wall clock moves.
"""

from dataclasses import dataclass
from pathlib import Path

LAYOUT = "%-5s %14s %-28s %-36s %4s %18s %8s\n"
LINE_BYTES = 5 + 14 + 28 + 36 + 4 + 18 + 8 + 6 + 1

SHELL = f"""\
probe() {{
  read -r up rest < /proc/uptime
  printf '{LAYOUT.strip()}\\n' "$1" "$up" "$ROTA_JOB" "$ROTA_RUN_ID" "$ROTA_ATTEMPT" "$ROTA_FENCE" "$$" >> "$PROBE_FILE"
}}
"""

PYTHON = f"""\
import os

def probe(event):
    with open("/proc/uptime") as clock:
        up = clock.read().split()[0]
    names = ("ROTA_JOB", "ROTA_RUN_ID", "ROTA_ATTEMPT", "ROTA_FENCE")
    line = {LAYOUT!r} % (event, up, *(os.environ[name] for name in names), os.getpid())
    target = os.open(os.environ["PROBE_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(target, line.encode())
    os.close(target)

def work():
    probe("start")
    probe("end")
"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line: an attempt started ("start"), still lives ("alive"), or reached its end ("end")."""

    kind: str
    uptime: float
    job: str
    run: str
    attempt: int
    fence: int
    pid: int


def uptime() -> float:
    """Seconds since this machine started, on the clock of the probes."""
    return float(Path("/proc/uptime").read_text().split()[0])


def line(kind: str, job: str, run: str, attempt: str, fence: str, pid: int) -> bytes:
    """The line for an event that happens now."""
    return (LAYOUT % (kind, f"{uptime():.2f}", job, run, attempt, fence, pid)).encode()


def read_events(path: Path) -> list[Event]:
    """All events in the order in which they were written; raises ValueError on a line that is not one."""
    raw = path.read_bytes() if path.exists() else b""
    if len(raw) % LINE_BYTES:
        raise ValueError(f"{path}: {len(raw)} bytes are not a whole number of lines of {LINE_BYTES}")
    return [_event(raw[start : start + LINE_BYTES]) for start in range(0, len(raw), LINE_BYTES)]


def _event(raw: bytes) -> Event:
    fields = raw.decode().split()
    if len(fields) != 7 or not raw.endswith(b"\n"):
        raise ValueError(f"not a probe line: {raw!r}")
    kind, up, job, run, attempt, fence, pid = fields
    return Event(kind=kind, uptime=float(up), job=job, run=run, attempt=int(attempt), fence=int(fence), pid=int(pid))
