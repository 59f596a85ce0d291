"""The store as the servers see it: all contracts, joined, frozen."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rota.store.access import Access
from rota.store.alerts import Alerts
from rota.store.jobs import Jobs
from rota.store.leases import Leases
from rota.store.output import OutputStore
from rota.store.runs import Runs
from rota.store.sessions import Sessions
from rota.store.views import Views


@dataclass(frozen=True, kw_only=True)
class Store:
    """Everything durable. `close` waits for what was accepted to be written."""

    jobs: Jobs
    runs: Runs
    leases: Leases
    sessions: Sessions
    output: OutputStore
    alerts: Alerts
    access: Access
    views: Views
    close: Callable[[], Awaitable[None]]
