"""Who may open a worker session, and as whom: protocol, token, name, labels, one process per name.

The hello is a claim; the token it came with says what of it may be believed. A second process of a connected
worker's name is refused and told to people: one of the two holds a copied token.
"""

from typing import ClassVar

from msgspec.structs import replace

from rota.clock import Clock
from rota.core.errors import RotaError
from rota.core.model import Value, Worker
from rota.events import Emit, WorkerRefused
from rota.server.conditions import Conditions
from rota.server.restore import RestoreWatch
from rota.store.bundle import Store
from rota.store.sessions import HelloOvertaken, TwinConnected
from rota.wire.messages import PROTOCOL, FromWorker, Hello


class NotAdmitted(RotaError):
    """The worker cannot connect."""

    code: ClassVar[str] = "WORKER_REFUSED"


class Identity(Value):
    """What a worker's token says of its holder. `labels` None: it may call itself what it likes."""

    name: str
    token_id: str = ""
    labels: dict[str, str] | None = None


class Admission:
    """Checks hellos and numbers sessions."""

    def __init__(self, store: Store, server: str, restore: RestoreWatch, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._server = server
        self._restore = restore
        self._clock = clock
        self._emit = emit
        self._conditions = Conditions(store.alerts, clock, emit)

    async def admit(self, message: FromWorker, identity: Identity | None) -> tuple[Hello, Worker]:
        """Open a session for a first message; returns what it says and the worker with its new session.

        Raises NotAdmitted, or StoreUnavailable when that is not known now.
        """
        if not isinstance(message, Hello):
            raise NotAdmitted("the first message was not a hello")
        hello = message
        try:
            hello = _believable(message, identity)
            worker = await self._connect(hello)
        except NotAdmitted as error:
            self._emit(WorkerRefused(worker=hello.worker, reason=error.detail))
            raise
        await self._restore.compare(hello)
        return hello, worker

    async def _connect(self, hello: Hello) -> Worker:
        """Write the worker's row; returns it."""
        now = self._clock.now()
        worker = Worker(
            name=hello.worker,
            boot_id=hello.boot_id,
            dial=hello.dial,
            session=0,
            server=self._server,
            version=hello.version,
            labels=hello.labels,
            capacity=hello.capacity,
            cpus=hello.cpus,
            memory=hello.memory,
            connected=now,
            last_seen=now,
        )
        try:
            number = await self._store.sessions.connect(worker)
        except TwinConnected as error:
            await self._tell_of_twin(hello)
            raise NotAdmitted(error.detail, hint=error.hint, again=True) from error
        except HelloOvertaken as error:
            raise NotAdmitted(error.detail, again=True) from error
        written = (await self._store.sessions.get([hello.worker]))[0]
        if written.session != number:
            raise NotAdmitted("the worker has connected again meanwhile", again=True)
        if written.boot_session == number:
            await self._conditions.clear(_twin_key(hello.worker))
        return written

    async def _tell_of_twin(self, hello: Hello) -> None:
        """Two processes use one name and one token: a restart that was quicker than the news of the end, or a copy."""
        detail = f"a second process calls itself worker {hello.worker} while the first is connected; it was refused"
        hint = f"if it is not just being restarted, its token was copied: rota workers revoke {hello.worker}"
        await self._conditions.put(_twin_key(hello.worker), detail, hint)


def _believable(hello: Hello, identity: Identity | None) -> Hello:
    """The hello as far as it may be believed; raises NotAdmitted where it claims what it may not."""
    if hello.protocol != PROTOCOL:
        hint = f"this server speaks version {PROTOCOL}; run the same version of Rota on both"
        raise NotAdmitted(f"protocol version {hello.protocol} is not spoken here", hint=hint)
    if identity is None:
        return hello
    if hello.worker != identity.name:
        detail = f"the token is worker {identity.name}'s, and the hello says {hello.worker[:80]}"
        raise NotAdmitted(detail, hint="give the worker a token of its own: rota token create --join")
    if identity.labels is None:
        return hello
    claimed = {name: text for name, text in hello.labels.items() if identity.labels.get(name) != text}
    if claimed:
        shown = ", ".join(f"{name}={text}" for name, text in list(claimed.items())[:5])
        raise NotAdmitted(f"the token does not allow the labels {shown[:200]}", hint="make a join token with them")
    return replace(hello, labels=identity.labels)


def _twin_key(worker: str) -> str:
    return f"worker-twin/{worker}"
