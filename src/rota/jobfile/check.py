"""Reads and checks all job files together, in one pass."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from rota.jobfile.document import MOST_BYTES
from rota.jobfile.parse import FileResult, ParsedJob, parse_bytes
from rota.jobfile.paths import job_files
from rota.jobfile.problems import Problem, Problems


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs and problems of all files; `sources` has the text of every file that could be read."""

    jobs: tuple[ParsedJob, ...]
    problems: tuple[Problem, ...]
    sources: Mapping[str, str]
    files: tuple[Path, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the files from being applied."""
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(problem for problem in self.problems if not problem.is_error)


def check_paths(paths: Sequence[Path], *, now: datetime | None = None) -> CheckResult:
    """Read every job file of `paths`; never raises for what they hold. With `now`, schedules may give warnings."""
    files = job_files(paths)
    results = [_read(file, now) for file in files]
    problems = [problem for result in results for problem in result.problems]
    problems += _empty_folders(paths, files)
    jobs, doubles = _without_doubles([job for result in results for job in result.jobs])
    texts = {str(file): result.text for file, result in zip(files, results, strict=True) if result.text}
    return CheckResult(jobs=jobs, problems=tuple(problems + doubles), sources=texts, files=tuple(files))


def _read(file: Path, now: datetime | None) -> FileResult:
    """One file; at most one byte more than allowed is read into memory."""
    try:
        if not file.is_file() and file.exists() and not file.is_fifo() and not file.is_char_device():
            raise IsADirectoryError(f"{file} is not a file")
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems = Problems(None, str(file))
        problems.add("E0101", f"{file} cannot be read: {reason.lower()}")
        return FileResult(jobs=(), problems=problems.found)
    return parse_bytes(data, str(file), now)


def _empty_folders(paths: Sequence[Path], files: Sequence[Path]) -> list[Problem]:
    """A folder without any job file is more likely a slip than a wish."""
    found: list[Problem] = []
    for path in paths:
        if path.is_dir() and not any(path in file.parents for file in files):
            problems = Problems(None, str(path))
            problems.add("W0204", f"{path} holds no job files", help=["they are named *.yaml or *.yml"])
            found += problems.found
    return found


def _without_doubles(jobs: Sequence[ParsedJob]) -> tuple[tuple[ParsedJob, ...], list[Problem]]:
    """Each job once; a second definition is a problem that names both places."""
    first: dict[str, ParsedJob] = {}
    doubles: list[Problem] = []
    for job in jobs:
        known = first.setdefault(job.full_name, job)
        if known is not job:
            doubles.append(
                Problem(
                    code="E0147",
                    message=f"job {job.full_name} is defined twice",
                    file=job.file,
                    line=job.line,
                    column=job.column,
                    length=len(job.name),
                    label=f"first defined in {known.file}:{known.line}",
                    help=("rename one of them, or delete it",),
                )
            )
    return tuple(first.values()), doubles
