"""Watched job files: saved changes apply by themselves; a bad edit changes nothing and is said.

Every look compares names, sizes and times of the files below the watched paths with the last look; only a change
reads them. All files are checked together and applied together: a job that left the files is deleted (its history
stays). While any file is wrong, the last good jobs of all of them stay as they are, a condition stands, and who is
told of failures of those jobs is told.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.alerting import notice_id
from rota.core.errors import RotaError
from rota.core.model import Condition, Notice
from rota.events import ConditionCleared, ConditionRaised, Emit
from rota.jobfile.check import CheckResult, check_paths
from rota.jobfile.paths import job_files
from rota.loop import Loop
from rota.server.commands import ApplyResult, Commands, WantedJob
from rota.store.bundle import Store

REST: Final = timedelta(seconds=1)
CONDITION: Final = "job-files"
ACTOR: Final = Actor(name="watched files", scopes=frozenset({"admin"}))
Fingerprint = tuple[tuple[str, int, int, int], ...]


class JobFiles(Loop):
    """Applies watched files when they change."""

    def __init__(self, paths: Sequence[Path], store: Store, commands: Commands, clock: Clock, emit: Emit) -> None:
        super().__init__(emit)
        self.paths = [path.resolve() for path in paths]
        self._store = store
        self._commands = commands
        self._clock = clock
        self._seen: Fingerprint | None = None
        self.last: ApplyResult | None = None

    def watches(self, source: str) -> bool:
        """Whether a job of this source belongs to the watched files."""
        path = Path(source)
        return any(path == watched or watched in path.parents for watched in self.paths)

    async def tick(self) -> timedelta:
        """Apply the files if they have changed since the last look."""
        found = await asyncio.to_thread(_fingerprint, self.paths)
        if found != self._seen:
            await self._apply()
            self._seen = found
        return REST

    async def _apply(self) -> None:
        """Read, check and apply everything, or leave all as it is and say why."""
        checked = await asyncio.to_thread(check_paths, self.paths)
        errors = checked.errors
        if errors:
            first = errors[0]
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            await self._complain(f"{first.file}:{first.line}: {first.message}{more}")
            return
        try:
            self.last = await self._commands.apply(
                _wanted(checked), actor=ACTOR, prune_sources=await self._known_sources(), watcher=True
            )
        except RotaError as error:
            await self._complain(error.detail)
            return
        if await self._store.alerts.clear_condition(CONDITION):
            self._emit(ConditionCleared(key=CONDITION))

    async def _known_sources(self) -> list[str]:
        """The watched files that jobs came from so far."""
        sources = {job.source for job in await self._store.jobs.by_source(None) if job.source}
        return sorted(source for source in sources if self.watches(source))

    async def _complain(self, detail: str) -> None:
        """Raise the condition, once per wording, and tell those who are told of these jobs' failures."""
        now = self._clock.now()
        hint = f"nothing was changed; rota check {' '.join(str(path) for path in self.paths)} shows all problems"
        await self._store.alerts.raise_condition(Condition(key=CONDITION, detail=detail, since=now, hint=hint))
        self._emit(ConditionRaised(key=CONDITION, detail=detail))
        jobs = [job for job in await self._store.jobs.by_source(None) if job.source and self.watches(job.source)]
        routes = sorted({route for job in jobs for route in job.spec.alert.to})
        wording = hashlib.sha256(detail.encode()).hexdigest()
        facts = {"title": "a watched job file cannot be applied", "cause": detail, "hint": hint}
        await self._store.alerts.add(
            [
                Notice(
                    id=notice_id("condition", f"{wording}@{now.isoformat()}", route),
                    event="condition",
                    route=route,
                    created=now,
                    thread=CONDITION,
                    facts=facts,
                )
                for route in routes
            ]
        )


def _wanted(checked: CheckResult) -> list[WantedJob]:
    """The jobs of checked files as commands take them."""
    return [
        WantedJob(full_name=job.full_name, spec=job.spec, source=str(Path(job.file).resolve())) for job in checked.jobs
    ]


def _fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """Names, sizes and times of all files; any edit changes it."""
    found: list[tuple[str, int, int, int]] = []
    for file in job_files(paths):
        try:
            facts = file.stat()
        except OSError:
            continue
        found.append((str(file), facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return tuple(found)
