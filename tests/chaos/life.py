"""One life of a cluster: it starts, works, is harmed, is left alone until it has recovered, and is judged."""

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from tests.chaos import load
from tests.chaos.api import Api, now
from tests.chaos.load import Client, Spec
from tests.chaos.machines import Machines
from tests.chaos.verdict import Phase, Verdict, table
from tests.chaos.ways import Ways
from tests.e2e.running_cluster import until
from tests.history import probe
from tests.history.checker import PLANNED_AHEAD
from tests.history.found import collect
from tests.history.records import History

SETTLE_SECONDS: Final = 90.0  # liveness: after the last harm is mended everything ends within so long
CLOCK_ERROR: Final = timedelta(seconds=0.25)


class LeftOut(Exception):
    """This machine does not allow a harm; the words say why."""


class Life:
    """Machines, a client, and everything that is written down about them."""

    def __init__(self, folder: Path, database: str, seed: int, *, servers: int = 2, workers: int = 2) -> None:
        self.rng = Random(seed)
        self.folder = folder
        self.history = History(only_kills_lose=False, clock_error=CLOCK_ERROR, asks_in_vain=True)
        self.phases: list[Phase] = []
        self.notes: list[str] = []  # what a harm found worth telling, beside the verdict
        self.span = 0.0  # seconds that a harm which can be longer should take
        self._sizes = (servers, workers)
        self._stack = contextlib.ExitStack()
        self.database = database
        self.began = now()
        self.epoch = _epoch()
        self.machines: Machines
        self.api: Api
        self.client: Client

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            ways = stack.enter_context(Ways())
            fork = Random(self.rng.getrandbits(64))
            self.machines = stack.enter_context(Machines(self.folder, self.database, ways, fork))
            self.api = self.machines.begin(*self._sizes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def work(self, wanted: dict[str, Spec], client_works: bool = True) -> None:
        """Give it its jobs, and let the client begin."""
        load.prepare(self.folder)
        self.client = Client(self.api, self.history, Random(self.rng.getrandbits(64)))
        self._stack.callback(self._halt)
        self.phase("calm")
        self.client.define(wanted)
        if client_works:
            self.client.start()

    def at_end(self, act: Callable[[], None]) -> None:
        """Do this when the life is over."""
        self._stack.callback(act)

    def phase(self, name: str) -> None:
        """From now on this is what is done."""
        self.phases.append(Phase(name=name, began=now()))

    def go_on(self, seconds: float) -> None:
        """Let it work for a while. This is what takes time here, not a wait for something to happen."""
        time.sleep(seconds)

    def uptime(self) -> float:
        """This moment on the clock of the probes."""
        return probe.uptime()

    def events(self) -> list[probe.Event]:
        """What the probes saw so far."""
        return probe.read_events(self.folder / "probe")

    def until_started(self, count: int = 1, *, seconds: float = 60.0) -> None:
        """Wait until so many more attempts have started."""
        before = self._starts()
        until(lambda: self._starts() >= before + count, lambda: f"fewer than {count} attempts have started", seconds)

    def judge(self, within: float) -> Verdict:
        """End the work, wait until all is over, and say what is to be said. No start may be later than `within`."""
        self.client.finish()
        until(
            lambda: not self._unfinished(),
            lambda: f"unfinished {SETTLE_SECONDS:g} s after everything was mended: {self._unfinished()[:3]}",
            SETTLE_SECONDS,
        )
        ahead = now() + PLANNED_AHEAD  # rows planned ahead stand in the list of runs, not yet in the ledgers
        until(lambda: now() > ahead, lambda: "time stands still")
        self.history.until = now()
        collect(self.api.pages, self.history, self.began)
        self.history.events = self.events()
        drift = abs((_epoch() - self.epoch).total_seconds())
        assert drift < 1.0, f"the wall clock of this machine moved by {drift:.2f} s"
        return Verdict(self.history, self.phases, self.epoch, timedelta(seconds=within))

    def _unfinished(self) -> list[object]:
        found: list[object] = self.api.get("/api/v1/runs?q=state:queued,starting,running&limit=20")["items"]
        return found

    def _starts(self) -> int:
        return sum(event.kind == "start" for event in self.events())

    def _halt(self) -> None:
        with contextlib.suppress(BaseException):  # it is over: nobody asks any more how the client fared
            self.client.halt()


def judged(life: Life, within: float) -> Verdict:
    """The verdict about a life, in which nothing is wrong and nothing started later than that."""
    verdict = life.judge(within)
    print("\n".join(table(verdict.tallies, verdict.total)))
    assert not verdict.violations, verdict.story()
    assert verdict.total.latest <= within
    return verdict


def _epoch() -> datetime:
    """The wall clock's time at the uptime zero."""
    return now() - timedelta(seconds=probe.uptime())
