"""Messages and conditions: `alerts`, `alerts test ROUTE`."""

import time
from typing import Annotated, Any

from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Query, Show
from rota.cli.connection import Server
from rota.cli.failures import make_app
from rota.cli.terminal import Cell, plain
from rota.client.client import BlockingClient
from rota.core.errors import Invalid
from rota.core.small_lists import matcher

_FIELDS = {
    "state": lambda notice: notice["state"],
    "event": lambda notice: notice["event"],
    "route": lambda notice: notice["route"],
    "job": lambda notice: notice["job"],
}
_STYLES = {"sent": "good", "given-up": "bad", "pending": "busy"}
_LOOK_SECONDS = 0.2

alerts = make_app("rota alerts", "What is wrong with the installation, and which messages went out.")


@alerts.default
def list_alerts(
    *,
    q: Query = "",
    limit: Annotated[int, Parameter(help="At most so many messages.")] = 50,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """What is wrong with the installation, and which messages went out.

    rota alerts · rota alerts -q state:given-up · rota alerts test mail:ops@example.com
    """
    wanted = matcher(q, _FIELDS)
    with server.connect() as rota:
        page = rota.run(rota.api.system.read("/alerts", limit=limit))
    page = {**page, "items": [notice for notice in page["items"] if wanted(notice)]}
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    for condition in page["conditions"]:
        screen.line(f"{screen.painted('!', 'bad')} {plain(condition['detail'])}")
        if condition["hint"]:
            screen.line(f"  = {plain(condition['hint'])}")
    moments = show.times(screen)
    rows = [
        [
            moments.at(notice["created"]),
            notice["event"],
            notice["job"] or "",
            notice["route"],
            Cell(notice["state"], _STYLES.get(notice["state"], "")),
            str(notice["tries"]),
            notice["error"] or "",
        ]
        for notice in page["items"]
    ]
    screen.table(["CREATED", "EVENT", "JOB", "ROUTE", "STATE", "TRIES", "ERROR"], rows)
    return 0


@alerts.command(name="test")
def send_test(
    route: Annotated[str | None, Parameter(help="channel:target (default: every route that jobs name).")] = None,
    /,
    *,
    timeout: Annotated[float, Parameter(help="Seconds to wait for the channel.")] = 30.0,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Send a test message and say whether the channel took it (exit 7 when one did not).

    rota alerts test mail:ops@example.com
    """
    screen = show.screen()
    with server.connect() as rota:
        routes = [route] if route else _routes(rota)
        sent = [rota.run(rota.api.system.test_alert(one))["id"] for one in routes]
        outcomes = _await(rota, sent, timeout)
    if show.is_data:
        show.emit(screen, {"items": outcomes})
    else:
        for notice in outcomes:
            screen.line(_outcome(notice))
    return exits.SUCCESS if all(notice["state"] == "sent" for notice in outcomes) else exits.PARTIAL


def _routes(rota: BlockingClient) -> list[str]:
    """Every route that a job names."""
    found: dict[str, None] = {}
    for job in rota.each(rota.api.jobs.each()):
        to = (job["spec"].get("alert") or {}).get("to") or []
        found |= dict.fromkeys([to] if isinstance(to, str) else to)
    if not found:
        raise Invalid("no job names an alert route", hint="rota alerts test mail:ops@example.com")
    return list(found)


def _await(rota: BlockingClient, ids: list[str], seconds: float) -> list[dict[str, Any]]:
    """The notices once each has been tried, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        known = {notice["id"]: notice for notice in rota.run(rota.api.system.read("/alerts", limit=1000))["items"]}
        notices = [known[one] for one in ids if one in known]
        untried = [notice for notice in notices if notice["state"] == "pending" and not notice["error"]]
        if not untried or time.monotonic() >= deadline:
            return notices
        time.sleep(_LOOK_SECONDS)


def _outcome(notice: dict[str, Any]) -> str:
    route = plain(notice["route"])
    if notice["state"] == "sent":
        return f"✓ {route}  the channel took it; look there"
    if notice["error"]:
        again = "given up" if notice["state"] == "given-up" else "it is tried again"
        return f"✕ {route}  {plain(notice['error'])} ({again})"
    return f"? {route}  not tried yet; rota alerts shows what becomes of it"
