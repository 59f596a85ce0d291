"""Compiled schedules of job definitions, kept by (job, revision) so that no tick compiles what it has compiled."""

from collections import OrderedDict
from typing import Final

from rota.core.model import Job, JobId
from rota.core.schedule import Schedule, compile_schedule

_CAPACITY: Final = 100_000


class Definitions:
    """A bounded cache from a job's revision to its compiled schedule."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._schedules: OrderedDict[tuple[JobId, int], Schedule] = OrderedDict()
        self._capacity = capacity

    def schedule(self, job: Job) -> Schedule:
        """The schedule of the job's present revision; raises ScheduleError when it cannot be compiled."""
        key = (job.id, job.revision)
        schedule = self._schedules.get(key)
        if schedule is None:
            schedule = compile_job(job)
            self._schedules[key] = schedule
            if len(self._schedules) > self._capacity:
                self._schedules.popitem(last=False)
        return schedule


def compile_job(job: Job) -> Schedule:
    """The schedule a job's definition asks for, seeded by its name and anchored at its creation."""
    spec = job.spec
    return compile_schedule(
        spec.schedule, at=spec.at, timezone=spec.timezone, dst=spec.dst, name=job.full_name, anchor=job.created
    )
