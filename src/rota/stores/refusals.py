"""What stores say when somebody else was first: the same words from each of them."""

from collections.abc import Iterable, Mapping, Sequence

from rota.core.errors import Conflict, Fenced
from rota.core.model import JobId, RunId
from rota.store.runs import LossGuard
from rota.store.sessions import HelloOvertaken, TwinConnected


def changed_jobs(names: Sequence[str]) -> Conflict:
    """Definitions, their counters, or their waiting runs have moved on."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Conflict(
        f"changed by someone else since it was read: {shown}",
        hint="look at the new state, then try again",
        jobs=tuple(names),
    )


def moved_runs(ids: Iterable[RunId]) -> Conflict:
    """Runs have moved on."""
    return Conflict("runs have moved on since they were read; nothing was written", runs=tuple(ids))


def moved_counters(ids: Iterable[JobId]) -> Conflict:
    """Counters have moved on."""
    return Conflict("counters have moved on since they were read; nothing was written", jobs=tuple(ids))


def shard_taken(epochs: Mapping[int, int]) -> Fenced:
    """A shard has another leader."""
    return Fenced("another server has taken over the shard; this plan was not written", shards=tuple(epochs))


def connected_again(guard: LossGuard) -> Fenced:
    """A worker that was to be called lost has a newer session."""
    return Fenced("the worker has connected again; what it held is not lost", workers=tuple(guard.sessions))


def server_lives(server: str) -> Fenced:
    """The server of a worker that was to be called lost may yet judge it."""
    return Fenced("the worker's server lives; it alone may call the worker lost", server=server)


def twin_connected(name: str, server: str) -> TwinConnected:
    """Another process has this worker's name."""
    return TwinConnected(
        f"another process named {name} is connected", hint="give each worker a name of its own", server=server
    )


def hello_overtaken(name: str) -> HelloOvertaken:
    """The worker has said a later hello meanwhile."""
    return HelloOvertaken(f"worker {name} has connected again since it said this hello")
