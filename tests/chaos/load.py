"""What the cluster has to do while it is harmed: jobs that tell a probe of themselves, and a client.

The client triggers, edits and pauses through any server; what was acknowledged, and between which moments, goes into
the history.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.api import PATIENCE_SECONDS, Api
from tests.e2e.running_cluster import until
from tests.history import probe
from tests.history.records import Acknowledged, Definition, History, JobHistory, Window

EDITS: Final = ("*/2 * * * * *", "*/3 * * * * *", "1,4,5,30-40 * * * * *")
HAND: Final = "c/by-hand"
FLOOD: Final = "c/flood"
EDITED: Final = "c/edited"
PAUSED: Final = "c/paused"

Spec = dict[str, Any]


def shell(*lines: str) -> str:
    """A shell job that tells the probe when it starts and ends."""
    return probe.SHELL + "\n".join(("probe start", *lines, "probe end")) + "\n"


def living(seconds: float) -> str:
    """A shell job of so many seconds that keeps saying that it is alive."""
    return shell(f"for i in $(seq {round(seconds / 0.2)}); do sleep 0.2; probe alive; done")


def prepare(folder: Path) -> None:
    """Put what the jobs need beside them."""
    (folder / "probing.py").write_text(probe.PYTHON)


def few(folder: Path) -> dict[str, Spec]:
    """Two dozen jobs of every kind, about ten starts a second."""
    usual = _usual(folder)
    python: Spec = {**usual, "cwd": str(folder), "python": "probing:work", "overlap": "allow"}
    once: Spec = {**usual, "delivery": "at-most-once", "retry": {"tries": 1}, "overlap": "allow"}
    jobs: dict[str, Spec] = {
        EDITED: {**usual, "schedule": EDITS[0], "overlap": "allow", "shell": shell()},
        PAUSED: {**usual, "schedule": "* * * * * *", "overlap": "allow", "shell": shell()},
        HAND: {**usual, "overlap": "allow", "shell": shell("sleep 0.2")},
        FLOOD: {**usual, "overlap": "allow", "shell": shell("head -c 50000000 /dev/zero | tr '\\0' x | fold -w 200")},
        "c/queue": {**usual, "schedule": "*/4 * * * * *", "overlap": "queue", "shell": shell("sleep 0.5")},
        "c/second": {**usual, "schedule": "* * * * * *", "overlap": "allow", "shell": shell("sleep 0.1")},
    }
    for number in range(4):
        jobs[f"c/python-{number}"] = {**python, "schedule": f"{number % 2}/2 * * * * *"}
        jobs[f"c/shell-{number}"] = {**usual, "schedule": f"{number}/5 * * * * *", "shell": shell("sleep 0.1")}
        jobs[f"c/once-{number}"] = {**once, "schedule": f"{number}/4 * * * * *", "shell": shell("sleep 0.3")}
        jobs[f"c/long-{number}"] = {**usual, "schedule": f"{number * 2}/10 * * * * *", "shell": living(6.0)}
    return jobs


def many(folder: Path) -> dict[str, Spec]:
    """Two hundred jobs, from every second to every minute: some forty starts a second."""
    usual = _usual(folder)
    python: Spec = {**usual, "cwd": str(folder), "python": "probing:work", "overlap": "allow"}
    once: Spec = {**usual, "delivery": "at-most-once", "retry": {"tries": 1}, "overlap": "allow"}
    jobs: dict[str, Spec] = {HAND: {**usual, "overlap": "allow", "shell": shell("sleep 0.2")}}
    for number in range(10):
        jobs[f"c/second-{number}"] = {**python, "schedule": "* * * * * *"}
        jobs[f"c/long-{number}"] = {**usual, "schedule": f"{number * 3}/30 * * * * *", "shell": living(8.0)}
    for number in range(20):
        jobs[f"c/once-{number}"] = {**once, "schedule": f"{number}/20 * * * * *", "shell": shell("sleep 0.2")}
    for number in range(60):
        jobs[f"c/python-{number}"] = {**python, "schedule": f"{number % 5}/5 * * * * *"}
        jobs[f"c/minute-{number}"] = {**python, "schedule": f"{number} * * * * *"}
    for number in range(39):
        jobs[f"c/shell-{number}"] = {**usual, "schedule": f"{number % 15}/15 * * * * *", "shell": shell()}
    return jobs


def _usual(folder: Path) -> Spec:
    return {"retry": {"tries": 3, "wait": "0.2s..1s"}, "env": {"PROBE_FILE": str(folder / "probe")}}


class Client:
    """Does one thing after another, and keeps at each until it is acknowledged."""

    def __init__(self, api: Api, history: History, rng: Random) -> None:
        self._api = api
        self._history = history
        self._rng = rng
        self._wanted: dict[str, Spec] = {}
        self._stop = threading.Event()
        self._paused: Window | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="client")
        self._changes = True
        self.triggers = 0

    def define(self, wanted: dict[str, Spec]) -> None:
        """Make the jobs."""
        self._wanted |= wanted
        items = [{"job": name, "spec": spec} for name, spec in wanted.items()]
        answer, window = self._api.until_answered("POST", "/api/v1/jobs:batch", {"jobs": items})
        refused = [item for item in answer["items"] if item["status"] == "refused"]
        assert not refused, refused[:3]
        for name, spec in wanted.items():
            job = JobHistory(name=name, at_most_once=spec.get("delivery") == "at-most-once")
            job.overlaps = spec.get("overlap") == "allow"
            job.probes_its_end = "http" not in spec
            job.definitions.append(Definition(window=window, expression=spec.get("schedule")))
            self._history.jobs[name] = job

    def start(self) -> None:
        """Begin to trigger, edit and pause."""
        self._thread.start()

    def only_trigger(self) -> None:
        """Edit and pause no more; returns when the last of that is acknowledged."""
        self._changes = False
        before = self.triggers
        until(lambda: self.triggers > before, lambda: "the client stands still", PATIENCE_SECONDS)

    def change_again(self) -> None:
        """Edit and pause as before."""
        self._changes = True

    def halt(self) -> None:
        """Stop after what is under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=150)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Stop, resume what is paused, then pause everything: nothing is due any more."""
        self.halt()
        if self._paused is not None:
            self._resume()
        for name, job in self._history.jobs.items():
            if job.definitions[-1].expression is None:
                continue
            _, window = self._api.until_answered("POST", f"/api/v1/jobs/{name}/pause", {"reason": "the end"})
            job.definitions.append(Definition(window=window, expression=None))

    def _work(self) -> None:
        triggers: list[Callable[[], None]] = [self._trigger] * 6
        acts = [*triggers, self._edit, self._turn_pause] if EDITED in self._wanted else triggers
        try:
            while not self._stop.wait(self._rng.uniform(0.0, 0.6)):
                self._rng.choice(acts if self._changes else triggers)()
        except BaseException as error:  # handed to the test by halt()
            self._failure = error

    def _trigger(self) -> None:
        self.triggers += 1
        key = f"key-{self.triggers}-{self._rng.getrandbits(32):x}"
        for _ in range(self._rng.choice((1, 1, 2))):  # an impatient client repeats even what was answered
            answer, window = self._api.until_answered("POST", f"/api/v1/jobs/{HAND}/runs", {}, {"Idempotency-Key": key})
            self._history.acknowledged.append(Acknowledged(key=key, run=answer["id"], window=window))

    def _edit(self) -> None:
        expression = self._rng.choice(EDITS)
        spec = {**self._wanted[EDITED], "schedule": expression}
        answer, window = self._api.until_answered("PUT", f"/api/v1/jobs/{EDITED}", spec)
        assert answer["schedule"] == expression, f"an edit was acknowledged as {answer['schedule']}"
        self._history.jobs[EDITED].definitions.append(Definition(window=window, expression=expression))

    def _turn_pause(self) -> None:
        if self._paused is not None:
            self._resume()
            return
        _, self._paused = self._api.until_answered("POST", f"/api/v1/jobs/{PAUSED}/pause", {"reason": "a test"})
        assert self._api.get(f"/api/v1/jobs/{PAUSED}")["paused"] is not None, "an acknowledged pause is gone"

    def _resume(self) -> None:
        assert self._paused is not None
        answer, window = self._api.until_answered("POST", f"/api/v1/jobs/{PAUSED}/resume", {})
        assert answer["paused"] is None, "an acknowledged resume is gone"
        self._history.jobs[PAUSED].pauses.append((self._paused, window))
        self._paused = None
