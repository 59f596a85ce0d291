"""The store as the servers see it: all contracts, joined, frozen."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rota.store.access import Access
from rota.store.alerts import Alerts
from rota.store.held import Held
from rota.store.jobs import Jobs
from rota.store.leases import Leases
from rota.store.output import OutputStore
from rota.store.runs import Runs
from rota.store.sessions import Sessions
from rota.store.signals import Signals
from rota.store.transfer import Transfer
from rota.store.views import Views
from rota.store.vitals import VitalsBook


@dataclass(frozen=True, kw_only=True)
class Store:
    """Everything durable. `close` waits for what was accepted to be written.

    `shards`: into how many slices the jobs are cut. `embedded`: one process at a time has it, by the lock on its
    folder, so that leases need no renewal.
    """

    jobs: Jobs
    runs: Runs
    held: Held
    leases: Leases
    sessions: Sessions
    output: OutputStore
    alerts: Alerts
    access: Access
    views: Views
    signals: Signals
    transfer: Transfer
    vitals: VitalsBook
    shards: int
    embedded: bool
    close: Callable[[], Awaitable[None]]
