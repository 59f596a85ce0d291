"""Processes as /proc shows them: who descends from whom, who carries the mark of a folder, who is still alive."""

import contextlib
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks since the machine started


def find(pid: int) -> Process | None:
    """The process with this number, unless it has ended (a zombie has ended)."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else Process(pid, int(fields[19]))


def alive(process: Process) -> bool:
    """Whether it has not ended."""
    return find(process.pid) == process


def children(pid: int) -> list[Process]:
    """The living processes that a process started itself, or that fell to it."""
    return [process for process in descendants(pid) if (fields := _stat(process.pid)) and int(fields[1]) == pid]


def descendants(pid: int) -> list[Process]:
    """All living descendants of a process."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return [process for number in found if (process := find(number)) is not None]


def marked(text: str) -> list[Process]:
    """All living processes whose environment or command line holds `text`, ourselves not."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            shown = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if text.encode() in shown and (process := find(int(entry.name))) is not None:
                found.append(process)
    return found


def survivors(processes: list[Process], seconds: float) -> list[Process]:
    """Those of `processes` that have not ended after so many seconds; returns as soon as all have."""
    deadline = time.monotonic() + seconds
    left = []
    for process in processes:
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:
            continue
        with contextlib.closing(os.fdopen(handle, "rb", buffering=0)) as ended:
            if alive(process):
                select.select([ended], [], [], max(0.0, deadline - time.monotonic()))
            if alive(process):
                left.append(process)
    return left


def describe(process: Process) -> str:
    """What a process is, for the report."""
    try:
        command = (PROC / str(process.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = "(ended)"
    return f"{process.pid} {command.strip()[:200]}"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
