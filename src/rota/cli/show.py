"""One thing in full: `show JOB | RUN | WORKER`."""

from typing import Annotated, Any

from cyclopts import Parameter

from rota.cli import times
from rota.cli.common import Show, Times
from rota.cli.connection import Server
from rota.cli.terminal import Cell, Screen, plain, state_cell
from rota.client.client import BlockingClient
from rota.core.errors import NotFound
from rota.core.ids import is_run_id
from rota.jobfile.render import dump_yaml

Document = dict[str, Any]


def show(
    thing: Annotated[str, Parameter(help="NS/JOB, a run (id, NS/JOB@latest, link) or a worker's name.")],
    /,
    *,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Show a job, a run or a worker.

    rota show web/fetch · rota show web/fetch@latest --json
    """
    screen = show.screen()
    with server.connect() as rota:
        kind, document = _find(rota, thing)
    if show.is_data:
        show.emit(screen, document, items="")
        return 0
    moments = show.times(screen)
    {"job": _job, "run": _run, "worker": _worker}[kind](document, screen, moments)
    return 0


def _find(rota: BlockingClient, thing: str) -> tuple[str, Document]:
    """What is meant, and its document."""
    if "@" in thing or "://" in thing or is_run_id(thing):
        return "run", rota.run(rota.api.runs.resolve(thing))
    if "/" in thing:
        return "job", rota.run(rota.api.jobs.get(thing))
    workers = rota.run(rota.api.system.read("/workers"))["items"]
    for worker in workers:
        if worker["name"] == thing:
            return "worker", worker
    known = ", ".join(worker["name"] for worker in workers[:10])
    hint = f"jobs are NS/NAME, runs are NS/JOB@latest or an id, workers are: {known or 'none'}"
    raise NotFound(f'there is no worker "{plain(thing[:60])}"', hint=hint)


def _facts(screen: Screen, rows: list[tuple[str, str]]) -> None:
    """Names and values, one to a line; empty values are left out."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        if value:
            screen.line(f"{screen.painted(f'{name:<{width}}', 'dim')}  {plain(value)}")


def _job(job: Document, screen: Screen, moments: Times) -> None:
    paused = job["paused"]
    end = f" until {moments.at(paused['until'], job['timezone'])}" if paused and paused["until"] else ""
    why = f" ({paused['reason']})" if paused and paused["reason"] else ""
    last = job["last"]
    screen.line(screen.painted(plain(job["job"]), "bold") + (f"  {plain(job['title'])}" if job["title"] else ""))
    _facts(
        screen,
        [
            ("is", ", ".join(job["conditions"]) or "healthy"),
            ("schedule", f"{job['schedule_words']} ({job['timezone']})"),
            ("paused", f"since {moments.at(paused['since'])} by {paused['by']}{end}{why}" if paused else ""),
            ("broken", job["broken"] or ""),
            *(("now", f"{run['state']}  {moments.away(run['due'])}  {run['id']}") for run in job["active"]),
            ("last", f"{last['state']} {moments.away(last['due'])}  {last['id']}" if last["state"] else "never ran"),
            ("last success", moments.away(job["last_success"])),
            ("fails", f"{job['fails_in_row']} in a row" if job["fails_in_row"] else ""),
            ("owner", job["owner"] or ""),
            ("labels", ", ".join(f"{name}={value}" for name, value in job["labels"].items())),
            ("source", job["source"] or ""),
            ("revision", f"{job['revision']}, changed {moments.away(job['updated'])}"),
        ],
    )
    for number, upcoming in enumerate(job["next"]):
        label = screen.painted("    " if number else "next", "dim")
        screen.line(f"{label}          {moments.at(upcoming, job['timezone'])}")
    screen.line()
    for line in dump_yaml(job["namespace"], {job["name"]: job["spec"]}).rstrip().splitlines():
        screen.line(plain(line))


def _run(run: Document, screen: Screen, moments: Times) -> None:
    state = state_cell(run["state"])
    screen.line(f"{screen.painted(state.text, state.style)}  {screen.painted(plain(run['job']), 'bold')}  {run['id']}")
    reason = run["reason"]
    _facts(
        screen,
        [
            ("cause", run["error"] or ""),
            ("reason", f"{reason['words']} [{reason['code']}]" if reason else ""),
            ("advice", reason["advice"] if reason else ""),
            ("due", moments.at(run["due"])),
            ("trigger", run["trigger"] + (f" by {run['actor']}" if run["actor"] else "")),
            ("retry of", run["retry_of"] or ""),
            ("started", moments.at(run["started"])),
            ("took", times.span(run["took"])),
            ("exit", "" if run["exit"] is None else str(run["exit"])),
            ("params", ", ".join(f"{name}={value}" for name, value in run["params"].items())),
            ("revision", str(run["revision"])),
        ],
    )
    if run["attempts"]:
        screen.line()
        headers = ["TRY", "STATE", "WORKER", "STARTED", "TOOK", "EXIT", "CPU", "MEMORY", "ERROR"]
        screen.table(headers, [_attempt(attempt, moments) for attempt in run["attempts"]])
        screen.next_step(f"rota logs {run['id']}")


def _attempt(attempt: Document, moments: Times) -> list[Cell | str]:
    took = None
    if attempt["started"] and attempt["finished"]:
        took = (times.instant(attempt["finished"]) - times.instant(attempt["started"])).total_seconds()
    usage = attempt["usage"]
    signal = f"signal {attempt['signal']}" if attempt["signal"] else ""
    return [
        str(attempt["number"]),
        state_cell(attempt["state"]),
        attempt["worker"],
        moments.at(attempt["started"]),
        times.span(took),
        signal or ("" if attempt["exit"] is None else str(attempt["exit"])),
        times.span(usage["cpu_seconds"]),
        "" if usage["peak_memory"] is None else _size(usage["peak_memory"]),
        attempt["error"] or "",
    ]


def _worker(worker: Document, screen: Screen, moments: Times) -> None:
    screen.line(screen.painted(plain(worker["name"]), "bold"))
    slots = [f"{kind} {worker['reserved'].get(kind, 0)}/{count}" for kind, count in sorted(worker["capacity"].items())]
    _facts(
        screen,
        [
            ("state", worker["state"]),
            ("slots", ", ".join(slots)),
            ("labels", ", ".join(f"{name}={value}" for name, value in worker["labels"].items())),
            ("machine", f"{worker['cpus']} cpus, {_size(worker['memory'])}"),
            ("version", worker["version"]),
            ("connected", moments.away(worker["connected"])),
            ("seen", moments.away(worker["last_seen"])),
            ("running", ", ".join(worker["running"])),
        ],
    )


def _size(size: int) -> str:
    """Bytes, rounded for reading."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
