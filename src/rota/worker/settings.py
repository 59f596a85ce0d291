"""What a worker is told when it starts: its name, its folder, what it may run and reach."""

import os
import sys
from pathlib import Path

import msgspec


def default_capacity() -> dict[str, int]:
    """Attempts of each kind at once, from the number of processors."""
    cpus = os.cpu_count() or 1
    return {"python": cpus, "shell": 4 * cpus, "http": 200}


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one worker, parsed once."""

    name: str
    state: Path  # folder of its own: locks, the attempts' folders
    labels: dict[str, str] = {}
    capacity: dict[str, int] = msgspec.field(default_factory=default_capacity)
    cpus: int | None = None  # what it says it has; None: what the machine has
    memory: int | None = None  # bytes
    resources: dict[str, int] = {}  # what it offers beside processors and memory
    allowed_users: tuple[str, ...] = ()  # whom `user:` may name; needs a worker that runs as root
    private_networks_allowed: bool = False  # True inside `rota up`
    allowed_networks: tuple[str, ...] = ()  # "10.1.0.0/16": private networks that http jobs may reach
    interpreter: str = sys.executable  # for python jobs that name none
    keep_files: float = 7 * 86400.0  # seconds that files left in ROTA_OUT are kept
    runner_attempts: int = 5000  # a warm python process is replaced after so many attempts
    runner_memory: int = 1024**3  # … or when it has grown beyond so many bytes
