"""What the API and the pages work with: one frozen value, made by `wiring`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from rota.clock import Clock
from rota.core.model import Value
from rota.events import Emit
from rota.server.access import AccessControl
from rota.server.admission import Identity
from rota.server.api.limits import Limiter
from rota.server.commands import Commands
from rota.server.enrolment import Enrolment
from rota.server.hints import Hints
from rota.server.insight import Insight
from rota.server.queries.service import Queries
from rota.server.secrets import Vault
from rota.server.token_watch import TokenWatch
from rota.store.bundle import Store
from rota.wire.channel import ServerChannel


async def _nothing_wrong() -> list[str]:
    return []


async def _no_workers(channel: ServerChannel, identity: Identity) -> None:
    """Where there is no server behind the API."""


class ApiSettings(Value):
    """How the API presents itself. `host` is what it is bound to, `hosts` further names it may be called by."""

    version: str
    host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    timezone: str = "UTC"  # in which times of queries without an offset are read, and pages show theirs
    tls: bool = False  # whether browsers reach it by https (here or at a proxy in front)
    public_metrics: bool = False


@dataclass(frozen=True, kw_only=True)
class ApiServices:
    """The services behind the API. `health` says what keeps the server from being ready, in words."""

    store: Store
    server: Insight
    commands: Commands
    queries: Queries
    access: AccessControl
    vault: Vault
    hints: Hints
    clock: Clock
    settings: ApiSettings
    metrics: CollectorRegistry
    emit: Emit
    enrolment: Enrolment
    watch: TokenWatch
    limits: Limiter
    serve_worker: Callable[[ServerChannel, Identity], Awaitable[None]] = _no_workers
    health: Callable[[], Awaitable[list[str]]] = _nothing_wrong
    wake: Callable[[], None] = field(default=lambda: None)  # there may be notices to send
