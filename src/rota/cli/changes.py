"""Job files against the server: `plan`, `apply`."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Flag, Show
from rota.cli.connection import Server
from rota.cli.files import checked, report
from rota.cli.terminal import Cell, Screen, plain
from rota.client.client import BlockingClient
from rota.core.errors import Conflict, Invalid
from rota.jobfile.check import CheckResult
from rota.jobfile.parse import parse_spec
from rota.jobfile.plan import Current, Plan, Wanted
from rota.jobfile.plan import plan as make_plan
from rota.jobfile.plan_text import render_plan
from rota.jobfile.render import render_spec

Prune = Annotated[bool, Parameter(negative="", help="Also delete jobs that left these files; their history stays.")]
Document = dict[str, Any]
_SIGNS = {"created": ("+", "good"), "changed": ("~", "warn"), "removed": ("-", "bad")}


def plan(
    *paths: Path,
    prune: Prune = False,
    exit_code: Flag = False,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Show what applying job files would change. Changes nothing.

    rota plan jobs/ · rota plan jobs/ --exit-code

    Parameters
    ----------
    paths:
        Files or folders.
    exit_code:
        Exit 10 when there are changes.
    """
    screen = show.screen()
    result = checked(paths)
    if result.errors:
        report(result, screen)
        return exits.CHECK_ERRORS
    with server.connect() as rota:
        made = _plan(rota, result, paths, prune=prune)
    if show.is_data:
        show.emit(screen, json.loads(msgspec.json.encode(made)))
    else:
        for line in render_plan(made).splitlines():
            screen.line(screen.painted(plain(line), _plan_style(line)))
        if made.has_changes and not made.conflicts:
            flag = " --prune" if prune else ""
            screen.next_step(f"rota apply {' '.join(str(path) for path in paths)}{flag}")
    if made.conflicts:
        return exits.CONFLICT
    return exits.CHANGES if exit_code and made.has_changes else exits.SUCCESS


def apply(
    *paths: Path,
    prune: Prune = False,
    plan_id: Annotated[
        str | None, Parameter(name="--plan", help="Only if the plan is still this one (else exit 11).")
    ] = None,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Apply job files, all or nothing: nothing changes when any job is wrong.

    rota apply jobs.yaml · rota apply jobs/ --prune

    Parameters
    ----------
    paths:
        Files or folders.
    """
    screen = show.screen()
    result = checked(paths)
    if result.errors:
        report(result, screen)
        screen.complain("nothing was applied")
        return exits.CHECK_ERRORS
    with server.connect() as rota:
        if plan_id is not None and not _is_current(rota, result, paths, plan_id, screen, prune=prune):
            return exits.STALE
        sources = _pruned_sources(rota, result, paths) if prune else []
        jobs = [
            {"job": job.full_name, "spec": render_spec(job.spec), "source": _source(job.file)} for job in result.jobs
        ]
        if not jobs and not sources:
            raise Invalid("these files hold no jobs; nothing was applied", hint="--prune would delete those they held")
        answer = rota.run(rota.api.jobs.apply(jobs, prune=sources))
    if show.is_data:
        show.emit(screen, answer)
        return 0
    _applied(answer, result, screen)
    return 0


def _plan(rota: BlockingClient, result: CheckResult, paths: Iterable[Path], *, prune: bool) -> Plan:
    """The plan of these files against what the server has now."""
    wanted = {job.full_name: Wanted(spec=job.spec, source=_source(job.file)) for job in result.jobs}
    known = list(rota.each(rota.api.jobs.each()))
    current = {job["job"]: _current(job) for job in known}
    sources = {job["source"] for job in known if _is_below(job["source"], paths)}
    return make_plan(current, wanted, datetime.now(UTC), prune=prune, sources=sources)


def _current(job: Document) -> Current:
    """A job of the server as the plan compares it."""
    spec = parse_spec(job["namespace"], job["name"], job["spec"])
    anchor = datetime.fromisoformat(job["created"])
    return Current(spec=spec, revision=job["revision"], source=job["source"], anchor=anchor)


def _is_current(
    rota: BlockingClient, result: CheckResult, paths: Iterable[Path], plan_id: str, screen: Screen, *, prune: bool
) -> bool:
    """Whether the plan that was looked at is what would happen now; says so when it is not."""
    now = _plan(rota, result, paths, prune=prune).id
    if now != plan_id:
        screen.complain(f"error: plan {plain(plan_id[:40])} is stale: it would be {now} now; nothing was applied")
        screen.complain("  = look again: rota plan")
    return now == plan_id


def _pruned_sources(rota: BlockingClient, result: CheckResult, paths: Iterable[Path]) -> list[str]:
    """The files below `paths` whose jobs are not all wanted any more."""
    wanted = {job.full_name for job in result.jobs}
    left = {
        job["source"]
        for job in rota.each(rota.api.jobs.each())
        if job["job"] not in wanted and _is_below(job["source"], paths)
    }
    for source in left:
        if "," in source:
            raise Conflict(f"the file {source} has a comma in its name and cannot be pruned", hint="rename it")
    return sorted(left)


def _is_below(source: str | None, paths: Iterable[Path]) -> bool:
    """Whether a job's file is one of `paths` or lies below one."""
    if source is None:
        return False
    file = Path(source)
    return any(file == path.resolve() or path.resolve() in file.parents for path in paths)


def _source(file: str) -> str:
    """A job file as the server remembers it: the same whoever applies it from wherever."""
    return str(Path(file).resolve())


def _applied(answer: Document, result: CheckResult, screen: Screen) -> None:
    """What became of each job that is not as it was."""
    rows = []
    for item in answer["items"]:
        if item["status"] in _SIGNS:
            sign, style = _SIGNS[item["status"]]
            rows.append([Cell(sign, style), item["job"], item["status"]])
    for sign, job, status in rows:
        text = sign.text if isinstance(sign, Cell) else sign
        style = sign.style if isinstance(sign, Cell) else ""
        screen.line(f"{screen.painted(text, style)} {plain(job)}  {plain(status)}")
    for problem in result.warnings:
        screen.talk(f"! {plain(problem.place)}: {plain(problem.message)}", "warn")
    words = ("created", "changed", "removed", "unchanged")
    screen.line(" · ".join(f"{answer[word]} {word}" for word in words if answer[word]) or "nothing to apply")
    first = next((item["job"] for item in answer["items"] if item["status"] == "created"), None)
    screen.next_step(f"rota run {plain(first)} --wait" if first else "rota next")


def _plan_style(line: str) -> str:
    return {"+": "good", "~": "warn", "-": "bad", "!": "warn", "✕": "bad", "=": "dim"}.get(line[:1], "")
