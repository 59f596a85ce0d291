"""Workers: `workers`, `workers revoke NAME`."""

from typing import Annotated

from cyclopts import Parameter

from rota.cli.common import Query, Show
from rota.cli.connection import Server
from rota.cli.failures import make_app
from rota.cli.terminal import Cell, plain
from rota.core.small_lists import matcher

_FIELDS = {
    "name": lambda worker: worker["name"],
    "state": lambda worker: worker["state"],
    "label": lambda worker: ",".join(f"{name}={value}" for name, value in worker["labels"].items()),
}

_STYLES = {"up": "good", "draining": "warn"}


workers = make_app("rota workers", "Who executes, how full each is, and who may.")


@workers.default
def list_workers(*, q: Query = "", server: Server = Server(), show: Show = Show()) -> int:
    """List workers: who is there, how full each is.

    rota workers · rota workers -q state:lost · rota workers revoke w1
    """
    wanted = matcher(q, _FIELDS)
    with server.connect() as rota:
        page = rota.run(rota.api.system.read("/workers"))
    page = {**page, "items": [worker for worker in page["items"] if wanted(worker)]}
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    moments = show.times(screen)
    rows = []
    for worker in page["items"]:
        slots = [
            f"{kind} {worker['reserved'].get(kind, 0)}/{most}" for kind, most in sorted(worker["capacity"].items())
        ]
        state = Cell(worker["state"], _STYLES.get(worker["state"], "bad"))
        labels = ",".join(f"{name}={value}" for name, value in worker["labels"].items())
        seen = moments.away(worker["last_seen"])
        rows.append([Cell(worker["name"], "bold"), state, ", ".join(slots), labels, seen, worker["version"]])
    screen.table(["WORKER", "STATE", "SLOTS", "LABELS", "SEEN", "VERSION"], rows)
    return 0


@workers.command
def revoke(
    name: Annotated[str, Parameter(help="The worker's name.")], /, *, server: Server = Server(), show: Show = Show()
) -> int:
    """End a worker's token: within seconds it is cut off, and it cannot come back without joining again.

    rota workers revoke w1
    """
    with server.connect() as rota:
        ended = rota.run(rota.api.system.revoke_worker(name))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, ended)
        return 0
    screen.line(f"worker {plain(name)} is cut off")
    screen.next_step("what it runs ends within a minute and is tried again; rota token create --join lets it join anew")
    return 0
