"""The keys schedule, at and timezone: checked by compiling them as the planner will."""

import re
from datetime import datetime
from typing import Final

from rota.core.model import JobSpec
from rota.core.schedule import Schedule, check_timezone, compile_schedule
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.document import Entry, Node, Scalar
from rota.jobfile.reading import Reading, line

_TIME_ONLY: Final = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?", re.ASCII)


def timezone(reading: Reading, node: Node) -> str | None:
    """A name of the tz database."""
    name = line(reading, node, "timezone")
    if name is None:
        return None
    try:
        return check_timezone(name)
    except ScheduleError as error:
        reading.wrong("E0208", error.detail, node, label=error.hint or "")
        return None


def check_when(reading: Reading, found: dict[str, Entry], spec: JobSpec, full_name: str) -> None:
    """Note why the job's schedule cannot be honoured."""
    if spec.schedule is not None and spec.at is not None:
        message = f"{reading.where} has both schedule and at"
        reading.wrong("E0148", message, found["at"].key, label="keep one: at is for a job that runs once")
        return
    if spec.schedule is None and spec.at is None:
        return
    key = "at" if spec.at is not None else "schedule"
    node = found[key].value
    assert isinstance(node, Scalar)
    if spec.at is not None and _TIME_ONLY.fullmatch(spec.at):
        help_line = f"at is for one-off jobs. For every day use:  schedule: every day at {spec.at}"
        reading.wrong("E0207", f'"at: {spec.at}" needs a date', node, help=[help_line])
        return
    try:
        job_schedule(spec, full_name)
    except ScheduleError as error:
        _note(reading, node, error, "E0207" if key == "at" else "E0206")


def _note(reading: Reading, node: Scalar, error: ScheduleError, code: str) -> None:
    position = error.position
    word = "" if position is None else re.split(r"[\s,]", node.text[position : position + 60])[0]
    if position is None or node.inner is None or not word:
        reading.wrong(code, error.detail, node, label=error.hint or "")
        return
    reading.wrong_inside(code, error.detail, node, position, len(word), error.hint or "")


def job_schedule(spec: JobSpec, full_name: str, anchor: datetime | None = None) -> Schedule:
    """The compiled schedule of a job; raise ScheduleError."""
    return compile_schedule(
        spec.schedule, at=spec.at, timezone=spec.timezone, dst=spec.dst, name=full_name, anchor=anchor
    )
