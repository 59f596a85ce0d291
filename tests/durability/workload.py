"""The load under which the server is killed: jobs of all kinds, and a client who triggers, edits and pauses.

The client repeats a call that was not answered until it is, as a careful client does; what was acknowledged, and
between which moments, goes into the history.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from cluster import Cluster, Unanswered
from tests.history import probe
from tests.history.checker import PLANNED_AHEAD
from tests.history.records import Acknowledged, Definition, History, JobHistory, Window

EDITS = ("*/2 * * * * *", "*/3 * * * * *", "1,4,5,30-40 * * * * *")
HAND = "d/by-hand"
WATCHED = "d/watched"


def now() -> datetime:
    """This moment on the clock that the server goes by as well."""
    return datetime.now(UTC)


def shell(*lines: str) -> str:
    """A shell job that tells the probe when it starts and ends."""
    return probe.SHELL + "\n".join(("probe start", *lines, "probe end")) + "\n"


class Target:
    """The HTTP target: tells the probe of each request as it arrives and before it is answered."""

    def __init__(self, path: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def do_GET(self) -> None:
                names = ("Rota-Job", "Rota-Run", "Rota-Attempt", "Rota-Fence")
                job, run, attempt, fence = (self.headers[name] for name in names)
                for kind in ("start", "end"):
                    with path.open("ab", buffering=0) as target:
                        target.write(probe.line(kind, job, run, attempt, fence, 0))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # the caller was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def specs(folder: Path, url: str) -> dict[str, dict[str, Any]]:
    """The jobs, as a job file would say them."""
    again: dict[str, Any] = {"retry": {"tries": 3, "wait": "0.2s..1s"}}
    usual: dict[str, Any] = {**again, "env": {"PROBE_FILE": str(folder / "probe")}}
    return {
        "d/shell-second": {**usual, "schedule": "* * * * * *", "overlap": "allow", "shell": shell("sleep 0.1")},
        "d/shell-long": {**usual, "schedule": "*/3 * * * * *", "missed": "run-all", "shell": shell("sleep 2")},
        "d/shell-queue": {**usual, "schedule": "*/4 * * * * *", "overlap": "queue", "shell": shell("sleep 0.5")},
        "d/shell-stubborn": {
            **usual,
            "schedule": "*/5 * * * * *",
            "shell": shell("trap '' TERM HUP INT", "setsid sleep 30 >/dev/null 2>&1 &", "sleep 1"),
        },
        "d/shell-once": {
            **usual,
            "schedule": "*/2 * * * * *",
            "delivery": "at-most-once",
            "retry": {"tries": 1},
            "shell": shell("sleep 0.3"),
        },
        "d/python-second": {
            **usual,
            "schedule": "* * * * * *",
            "overlap": "allow",
            "cwd": str(folder),
            "python": "probing:work",
        },
        "d/http-second": {**again, "schedule": "* * * * * *", "overlap": "allow", "http": {"get": url}},
        "d/edited": {**usual, "schedule": EDITS[0], "overlap": "allow", "shell": shell()},
        "d/paused": {**usual, "schedule": "* * * * * *", "overlap": "allow", "shell": shell()},
        HAND: {**usual, "overlap": "allow", "shell": shell("sleep 0.2")},
    }


def job_file(folder: Path) -> Path:
    """A folder to watch, with a job file in it."""
    watched = folder / "jobs"
    watched.mkdir()
    script = shell().replace("\n", "\n      ")
    (watched / "watched.yaml").write_text(f"""\
version: 1
namespace: d
jobs:
  watched:
    schedule: "*/2 * * * * *"
    overlap: allow
    env: {{ PROBE_FILE: "{folder / "probe"}" }}
    retry: {{ tries: 3, wait: 0.2s..1s }}
    shell: |
      {script}
""")
    return watched


class Client:
    """Does one thing after another, and keeps at each until it is acknowledged."""

    def __init__(self, cluster: Cluster, history: History, wanted: dict[str, dict[str, Any]], random: Random) -> None:
        self._cluster = cluster
        self._history = history
        self._wanted = wanted
        self._random = random
        self._stop = threading.Event()
        self._patience = threading.Event()
        self._count = 0
        self._paused_at: Window | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="client")

    def define(self) -> None:
        """Make the jobs."""
        for name, spec in self._wanted.items():
            _, window = self._until_answered("PUT", f"/api/v1/jobs/{name}", spec)
            job = JobHistory(name=name, at_most_once=spec.get("delivery") == "at-most-once")
            job.definitions.append(Definition(window=window, expression=spec.get("schedule")))
            self._history.jobs[name] = job

    def await_watched(self, since: datetime) -> None:
        """Wait until the job of the watched file is there."""
        for _ in range(400):
            if [item for item in self._cluster.get("/api/v1/jobs?limit=10")["items"] if item["job"] == WATCHED]:
                break
            self._patience.wait(0.05)
        window = Window(asked=since, answered=now())
        job = JobHistory(name=WATCHED, definitions=[Definition(window=window, expression="*/2 * * * * *")])
        self._history.jobs[WATCHED] = job

    def start(self) -> None:
        """Begin to trigger, edit and pause."""
        self._thread.start()

    def finish(self) -> None:
        """Complete what is under way, resume what is paused, then pause everything: nothing is due any more."""
        self.halt()
        if self._failure is not None:
            raise self._failure
        if self._paused_at is not None:
            self._resume()
        for name, job in self._history.jobs.items():
            _, window = self._until_answered("POST", f"/api/v1/jobs/{name}/pause", {"reason": "the end"})
            job.definitions.append(Definition(window=window, expression=None))

    def halt(self) -> None:
        """Stop at once."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=60)

    @property
    def done(self) -> int:
        """How much was acknowledged so far."""
        return self._count

    def expected_schedule(self) -> str:
        """What the edited job's schedule must be now."""
        return str(self._history.jobs["d/edited"].definitions[-1].expression)

    def _work(self) -> None:
        actions: list[Callable[[], None]] = [self._trigger] * 6 + [self._edit, self._turn_pause]
        try:
            while not self._stop.wait(self._random.uniform(0.0, 0.15)):
                self._random.choice(actions)()
        except BaseException as error:  # handed to the test by finish()
            self._failure = error

    def _trigger(self) -> None:
        key = f"key-{self._count}-{self._random.getrandbits(32):x}"
        for _ in range(self._random.choice((1, 1, 2))):  # an impatient client repeats even what was answered
            answer, _ = self._until_answered("POST", f"/api/v1/jobs/{HAND}/runs", {}, {"Idempotency-Key": key})
            self._history.acknowledged.append(Acknowledged(key=key, run=answer["id"]))

    def _edit(self) -> None:
        expression = self._random.choice(EDITS)
        spec = {**self._wanted["d/edited"], "schedule": expression}
        answer, window = self._until_answered("PUT", "/api/v1/jobs/d/edited", spec)
        assert answer["schedule"] == expression, f"an edit was acknowledged as {answer['schedule']}"
        self._history.jobs["d/edited"].definitions.append(Definition(window=window, expression=expression))

    def _turn_pause(self) -> None:
        if self._paused_at is not None:
            if now() - self._paused_at.answered > PLANNED_AHEAD + timedelta(seconds=1):
                self._resume()  # a shorter pause may hold nothing but rows planned before it, and leave no gap
            return
        _, self._paused_at = self._until_answered("POST", "/api/v1/jobs/d/paused/pause", {"reason": "a test"})
        answer, _ = self._until_answered("GET", "/api/v1/jobs/d/paused", None)
        assert answer["paused"] is not None, "an acknowledged pause is gone"

    def _resume(self) -> None:
        assert self._paused_at is not None
        answer, window = self._until_answered("POST", "/api/v1/jobs/d/paused/resume", {})
        assert answer["paused"] is None, "an acknowledged resume is gone"
        self._history.jobs["d/paused"].pauses.append((self._paused_at, window))
        self._paused_at = None

    def _until_answered(
        self, method: str, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> tuple[Any, Window]:
        """The answer, and between which moments the call took effect."""
        asked = now()
        for _ in range(3000):
            try:
                answer = self._cluster.call(method, path, body, headers)
            except Unanswered:
                self._patience.wait(0.03)
                continue
            self._count += 1
            return answer, Window(asked=asked, answered=now())
        raise AssertionError(f"{method} {path} was never answered")
