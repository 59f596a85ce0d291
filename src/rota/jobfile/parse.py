"""A whole job file, or one job of the API → JobSpecs, with everything that is wrong with it."""

from collections.abc import Mapping as AbstractMapping
from datetime import datetime
from typing import Any, Final

import msgspec

from rota.core.errors import TooLarge
from rota.core.model import JobSpec
from rota.jobfile import document
from rota.jobfile.document import Entry, Node, Scalar, Unreadable
from rota.jobfile.fields import FILE_KEYS, JOB_KEYS
from rota.jobfile.job_keys import read_defaults, read_job, with_defaults
from rota.jobfile.json_text import NotJson, compose_json
from rota.jobfile.names import check_name, name_problem
from rota.jobfile.problems import JobFileError, Problem, Problems, Source
from rota.jobfile.reading import Reading, entries, show
from rota.jobfile.when_keys import job_schedule
from rota.jobfile.yaml_text import compose

VERSION: Final = 1
DEFAULT_NAMESPACE: Final = "default"
MOST_SPEC_BYTES: Final = 1024 * 1024


class ParsedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a file and where its name stands."""

    namespace: str
    name: str
    spec: JobSpec
    file: str
    line: int
    column: int = 1

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class FileResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one file says; `jobs` are those that could be read, even when others are wrong."""

    jobs: tuple[ParsedJob, ...]
    problems: tuple[Problem, ...]
    text: str = ""


def parse_bytes(data: bytes, file: str, now: datetime | None = None) -> FileResult:
    """Parse the bytes of a job file. Never raises: everything wrong is a problem."""
    problems = Problems(None, file)
    text = document.decode(data, problems)
    if text is None:
        return FileResult(jobs=(), problems=problems.found)
    return parse_text(text, file, now)


def parse_text(text: str, file: str, now: datetime | None = None) -> FileResult:
    """Parse the text of a job file; with `now`, surprises of the schedules are warnings."""
    text = text.removeprefix("\ufeff")
    problems = Problems(Source(file, text), file)
    jobs: tuple[ParsedJob, ...] = ()
    if document.check_characters(text, problems):
        root = _compose(text, file, problems)
        if root is not None:
            jobs = _File(problems, now).read(root)
    return FileResult(jobs=jobs, problems=problems.found, text=text)


def parse_spec(namespace: str, name: str, mapping: AbstractMapping[str, Any]) -> JobSpec:
    """One job that came over the API, in the form of a job file; raise JobFileError with every problem."""
    full_name = f"{namespace}/{name}"
    problems = Problems(None, full_name)
    _check_api_name(problems, "namespace", namespace)
    _check_api_name(problems, "job", name)
    _refuse_huge(mapping, full_name)
    spec = None
    try:
        node = document.from_python(dict(mapping), problems)
    except Unreadable:
        raise JobFileError(problems.found) from None
    if isinstance(node, document.Mapping):
        spec = read_job(Reading(problems, f"job {full_name}"), node, full_name, ())
    if problems.has_errors or spec is None:
        raise JobFileError(problem for problem in problems.found if problem.is_error)
    return spec


def _check_api_name(problems: Problems, what: str, name: str) -> None:
    problem, fix = name_problem(name)
    if problem:
        label = f'write "{fix}"' if fix else ""
        problems.add("E0146", f'{what} "{name[:40]}" is not allowed: {problem}', path=what, label=label)


def _refuse_huge(mapping: AbstractMapping[str, Any], full_name: str) -> None:
    """A spec is kept with every revision; what is huge does not belong into it."""
    budget = MOST_SPEC_BYTES
    waiting: list[Any] = [mapping]
    while waiting and budget >= 0:
        value = waiting.pop()
        budget -= len(value) + 8 if isinstance(value, str) else 8
        if isinstance(value, AbstractMapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
    if budget < 0:
        raise TooLarge(f"the spec of {full_name} is larger than 1 MiB", hint="keep scripts and bodies in files")


def _compose(text: str, file: str, problems: Problems) -> Node | None:
    """The tree: JSON where the text is JSON, else YAML."""
    is_json = file.lower().endswith(".json")
    if is_json or text.lstrip()[:1] == "{":
        attempt = problems if is_json else Problems(problems.source, file)
        try:
            node = compose_json(text, attempt)
        except Unreadable:
            if is_json:
                return None
        except NotJson as error:
            if is_json:
                problems.add("E0104", f"the file is not JSON: {error.message}", error.index)
                return None
        else:
            return node if is_json or not attempt.found else compose_json(text, problems)
    return compose(text, problems)


class _File:
    """Reads the tree of one file."""

    def __init__(self, problems: Problems, now: datetime | None) -> None:
        self._problems = problems
        self._now = now
        self._namespace = DEFAULT_NAMESPACE

    def read(self, root: Node) -> tuple[ParsedJob, ...]:
        """The jobs of the file."""
        reading = Reading(self._problems, "the file")
        found = entries(reading, root, FILE_KEYS, "a job file")
        if not isinstance(root, document.Mapping):
            return ()
        self._version(reading, found, root)
        if "namespace" in found:
            self._read_namespace(reading, found["namespace"])
        defaults = None
        if "defaults" in found:
            defaults = read_defaults(Reading(self._problems, "defaults"), found["defaults"].value)
        if "jobs" not in found:
            looks_like_job = sorted(set(root.entries) & set(JOB_KEYS))
            hint = "write jobs: and put each job below it under its name" if looks_like_job else "add jobs:"
            reading.wrong("E0144", "the file has no jobs", Scalar(value="", text="", start=0, end=1), label=hint)
            return ()
        return self._jobs(reading, found["jobs"].value, defaults)

    def _version(self, reading: Reading, found: dict[str, Entry], root: Node) -> None:
        if "version" not in found:
            top = Scalar(value="", text="", start=root.start, end=root.start + 1)
            reading.wrong("E0140", "the file does not say its version", top, label="begin the file with: version: 1")
            return
        value = found["version"].value
        if not isinstance(value, Scalar) or value.text.strip() != str(VERSION):
            reading.wrong("E0140", f"version {show(value)} is not known", value, label="this server reads version: 1")

    def _read_namespace(self, reading: Reading, entry: Entry) -> None:
        value = entry.value
        if not isinstance(value, Scalar):
            reading.wrong("E0141", f"namespace must be a name, not {show(value)}", value)
            return
        self._namespace = check_name(reading, value, "the namespace") or DEFAULT_NAMESPACE

    def _jobs(self, reading: Reading, node: Node, defaults: document.Mapping | None) -> tuple[ParsedJob, ...]:
        if isinstance(node, Scalar) and node.value is None:
            return ()
        if not isinstance(node, document.Mapping):
            reading.wrong("E0141", f"jobs must be a map of name: job, not {show(node)}", node)
            return ()
        jobs = [self._job(reading, entry, defaults) for entry in node.entries.values()]
        return tuple(job for job in jobs if job is not None)

    def _job(self, reading: Reading, entry: Entry, defaults: document.Mapping | None) -> ParsedJob | None:
        name = check_name(reading, entry.key, "the job name")
        full_name = f"{self._namespace}/{name or entry.key.text[:40]}"
        own = Reading(self._problems, f"job {full_name}")
        if not isinstance(entry.value, document.Mapping):
            own.wrong("E0141", f"job {full_name} must be a map of keys, not {show(entry.value)}", entry.value)
            return None
        node, taken = with_defaults(entry.value, defaults)
        node = document.Mapping(entries=node.entries, start=entry.key.start, end=entry.key.end, path=node.path)
        spec = read_job(own, node, full_name, taken)
        if spec is None or name is None:
            return None
        self._warn(own, entry, spec, full_name)
        line, column = self._problems.source.position(entry.key.start) if self._problems.source else (0, 1)
        return ParsedJob(
            namespace=self._namespace, name=name, spec=spec, file=self._problems.file, line=line, column=column
        )

    def _warn(self, reading: Reading, entry: Entry, spec: JobSpec, full_name: str) -> None:
        """Say what may surprise the owner of a schedule."""
        if self._now is None or self._problems.has_errors or (spec.schedule is None and spec.at is None):
            return
        assert isinstance(entry.value, document.Mapping)
        own = entry.value.entries.get("at" if spec.at is not None else "schedule")
        node: Node = own.value if own is not None else entry.key
        schedule = job_schedule(spec, full_name)
        for number, warning in enumerate(schedule.warnings(self._now)):
            ended = schedule.next(self._now) is None and not schedule.triggers_at_start
            place = Scalar(value="", text="", start=node.start + number, end=node.end, path=node.path)
            reading.wrong("W0202" if ended else "W0201", f"{full_name}: {warning}", place)
