"""Workers: `workers`."""

from rota.cli.common import Query, Show
from rota.cli.connection import Server
from rota.cli.filters import matcher
from rota.cli.terminal import Cell

_FIELDS = {
    "name": lambda worker: worker["name"],
    "state": lambda worker: worker["state"],
    "label": lambda worker: ",".join(f"{name}={value}" for name, value in worker["labels"].items()),
}


def workers(*, q: Query = "", server: Server = Server(), show: Show = Show()) -> int:
    """List workers: who is there, how full each is.

    rota workers · rota workers -q state:lost
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
        state = Cell(worker["state"], "good" if worker["state"] == "up" else "bad")
        labels = ",".join(f"{name}={value}" for name, value in worker["labels"].items())
        seen = moments.away(worker["last_seen"])
        rows.append([Cell(worker["name"], "bold"), state, ", ".join(slots), labels, seen, worker["version"]])
    screen.table(["WORKER", "STATE", "SLOTS", "LABELS", "SEEN", "VERSION"], rows)
    return 0
