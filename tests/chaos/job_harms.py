"""Harms that jobs do: a command that kills its own worker, and targets of http jobs that never come to an end."""

import asyncio
import contextlib
from datetime import datetime
from typing import Any, Final

from tests.chaos.life import Life
from tests.chaos.load import Spec, shell
from tests.chaos.ways import ScriptedWay
from tests.e2e.running_cluster import until
from tests.history.records import Acknowledged
from tests.postgres.cluster import Cluster as Postgres

POISON: Final = "c/poison"
LOST_CAP: Final = 3  # attempts of a run that may be lost
TIMEOUT: Final = 3.0  # seconds, of the http jobs
FINAL: Final = frozenset({"succeeded", "failed", "lost", "cancelled", "timed-out"})
_KILL_AGENT: Final = r"""
pid=$PPID
while [ "$pid" -gt 1 ]; do
  if tr '\0' ' ' < /proc/$pid/cmdline | grep -q ' worker --name '; then kill -9 "$pid"; sleep 60; fi
  pid=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$pid/status)
done
"""


def trigger(life: Life, job: str) -> str:
    """One run by hand; its id."""
    key = f"{job}-{life.rng.getrandbits(32):x}"
    answer, window = life.api.until_answered("POST", f"/api/v1/jobs/{job}/runs", {}, {"Idempotency-Key": key})
    life.history.acknowledged.append(Acknowledged(key=key, run=answer["id"], window=window))
    return str(answer["id"])


def until_ended(life: Life, run: str, seconds: float) -> dict[str, Any]:
    """The run, when it has ended."""
    seen: list[dict[str, Any]] = []

    def ended() -> bool:
        seen.append(life.api.get(f"/api/v1/runs/{run}"))
        return seen[-1]["state"] in FINAL

    until(ended, lambda: f"{run} is {seen[-1]['state']}: {seen[-1]}", seconds)
    return seen[-1]


# ── a command that takes its worker along ────────────────────────────────────────────────────────────────


def poison(life: Life, _postgres: Postgres) -> None:
    """F30: a command kills its own agent each time: only as many workers as a run may lose attempts are hit."""
    machines = life.machines
    times = {one.name: len(machines.events(one.running, "ServerReached")) for one in machines.workers}
    environment = {"PROBE_FILE": str(life.folder / "probe")}
    life.client.define(
        {POISON: {"retry": {"tries": 3, "wait": "0.2s"}, "env": environment, "shell": shell(_KILL_AGENT)}}
    )
    run = until_ended(life, trigger(life, POISON), 120.0)
    hit = [worker for worker in machines.workers if worker.running.process.poll() is not None]
    assert run["state"] == "lost", run
    assert len(hit) == len(run["attempts"]) == LOST_CAP, f"{len(hit)} workers for {run['attempts']}"
    life.until_started(5)
    for worker in hit:
        machines.start_worker(worker)
    for worker in hit:
        machines.await_worker(worker, times[worker.name] + 1)
    life.notes.append(
        f"{len(hit)} of {len(machines.workers)} workers were hit, then the run was lost; the others went on"
    )


# ── targets without end ──────────────────────────────────────────────────────────────────────────────────


class Tarpit(ScriptedWay):
    """An HTTP server that keeps who calls: by the path it says nothing, lets bytes drip, or sends without end."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the caller has had enough."""
        asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        head, piece, pause = PATHS[asked.decode()]
        writer.write(head)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), pause)


_FINE: Final = b"HTTP/1.1 200 OK\r\n\r\n"
PATHS: Final = {
    "/silent": (b"", b"", None),
    "/dripping-head": (b"HTTP/1.1 200 OK\r\nx: ", b"x", 0.2),
    "/dripping-body": (_FINE, b"x", 0.2),
    "/endless-body": (_FINE, bytes(1_000_000), 0.01),
}


def tarpits(life: Life, _postgres: Postgres) -> None:
    """F33: http targets that never come to an end: each run ends at its timeout, and its slot is free again."""
    target = life.machines.ways.add(lambda: Tarpit(life.machines.servers[0].url))
    jobs: dict[str, Spec] = {
        f"c/http{path.replace('/', '-')}": {"overlap": "allow", "timeout": f"{TIMEOUT:g}s", "http": {"get": where}}
        for path in PATHS
        for where in [f"{target.url}{path}"]
    }
    life.client.define(jobs)
    runs = [trigger(life, job) for job in sorted(jobs) * 3]
    took = [duration(until_ended(life, run, 60.0)) for run in runs]
    life.notes.append(
        f"{len(runs)} http runs with a timeout of {TIMEOUT:g} s ended after {min(took):.1f} to {max(took):.1f} s"
    )

    def slots() -> list[int]:
        return [one["reserved"].get("http", 0) for one in life.api.get("/api/v1/workers")["items"]]

    until(lambda: not any(slots()), lambda: f"slots for http that are still taken: {slots()}")


def duration(run: dict[str, Any]) -> float:
    """How long its only attempt took; it must have been ended by its timeout."""
    [attempt] = run["attempts"]
    assert run["state"] == "timed-out", run
    return (datetime.fromisoformat(attempt["finished"]) - datetime.fromisoformat(attempt["started"])).total_seconds()
