"""The agent's end of the keeper: starts it, asks it to start and end trees, hears what became of them.

If the keeper dies alone, everything below it is killed before anybody is told, and a new keeper is started. If agent
and keeper die together, the next start finds the remains by their mark and kills them before it goes on.
"""

import asyncio
import contextlib
import errno
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rota.core.errors import RotaError
from rota.worker.keeper import BY_FILE, INLINE_LIMIT, LOCK_PATIENCE, PROTOCOL
from rota.worker.processes import (
    MARK,
    MOST_DESCRIPTORS,
    become_subreaper,
    children_of,
    descendants_of,
    marked_processes,
    send_signal,
)
from rota.worker.shortage import is_shortage

_START_PATIENCE = 20.0
_RECEIVE = 256 * 1024
_RELAUNCH_REST = 0.5
_PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from rota.worker.keeper import main
sys.exit(main(int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
"""
_decode = msgspec.json.Decoder().decode
_ROOT = str(Path(__file__).parents[2])  # where the package is


class FolderTaken(RotaError):
    """Another worker uses this state folder."""

    code = "FOLDER_TAKEN"


class KeeperFailed(RotaError):
    """The keeper process could not be started."""

    code = "KEEPER_FAILED"


class TreeOver(msgspec.Struct, frozen=True, array_like=True):
    """A tree has ended and nothing of it lives."""

    exit: int | None
    signal: int | None
    cpu_seconds: float
    peak_memory: int
    why: str | None  # "timeout", "deadline" (the worker's), "ended" (we asked), None: by itself
    left: int  # processes that the main process left behind and that were killed


class SpawnFailed(msgspec.Struct, frozen=True, array_like=True):
    """The main process could not be started."""

    errno: int
    where: str  # "cwd" or "argv"
    message: str  # the folder, or what the system said


class Swept(msgspec.Struct, frozen=True, array_like=True):
    """What a warm process's attempt left behind has been killed."""

    killed: int


class KeeperDied(msgspec.Struct, frozen=True):
    """The keeper died, and the tree with it: what it did is not known."""


TreeEvent = TreeOver | SpawnFailed | Swept | KeeperDied
Listener = Callable[[TreeEvent], None]

_EVENTS: dict[str, type[TreeOver] | type[SpawnFailed] | type[Swept]] = {
    "over": TreeOver,
    "failed": SpawnFailed,
    "swept": Swept,
}
_FINAL = (TreeOver, SpawnFailed)


class KeeperLink:
    """Speaks with the keeper; all methods return at once, what happens is told to the tree's listener."""

    def __init__(self, state: Path, lock_patience: float = LOCK_PATIENCE) -> None:
        self._state = state.absolute()
        self._lock_patience = lock_patience
        self._prefix = f"{self._state}#"
        self._listeners: dict[int, Listener] = {}
        self._keys = 0
        self._pending: deque[tuple[list[Any], list[int]]] = deque()
        self._flushing = False
        self._closing = False
        self._is_up = False
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._until: float | None = None
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The keeper's process id, 0 without one."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start the keeper, wait until it holds the folder, and kill what an earlier worker left behind."""
        self._state.mkdir(parents=True, exist_ok=True)
        become_subreaper()
        self._launch()
        await self._await_ready()
        self.kill_orphans()
        self._listen()

    def spawn(self, order: dict[str, Any], descriptors: list[int], listener: Listener) -> int:
        """Start a tree and return its key; `descriptors` become `order["targets"]` and are closed here.

        `order` has argv, env, cwd, targets and may have timeout, grace and continue_for (seconds beyond the deadline).
        """
        self._keys += 1
        key = self._keys
        order["env"][MARK] = f"{self._prefix}{os.getpid()}.{self.restarts}.{key}.{secrets.token_hex(4)}"
        self._listeners[key] = listener
        self._say(["spawn", key, order], descriptors)
        return key

    def arm(self, key: int, timeout: float | None, grace: float) -> None:
        """Give a running tree a time-out counted from now, or none."""
        self._say(["arm", key, timeout, grace])

    def end(self, key: int, grace: float) -> None:
        """End a tree: TERM now, KILL after `grace` seconds."""
        self._say(["end", key, grace])

    def extend(self, key: int, seconds: float) -> None:
        """Let a tree live so much longer than the worker's deadline."""
        self._say(["extend", key, seconds])

    def live_until(self, moment: float) -> None:
        """End all trees at this moment (boot-time seconds) unless told of a later one."""
        self._until = moment
        self._say(["until", 0, moment])

    def sweep(self, key: int) -> None:
        """Kill everything of a tree but its main process; answered by Swept."""
        self._say(["sweep", key])

    async def stop(self) -> None:
        """Let the keeper kill everything and wait for its end."""
        self._closing = True
        process = self._process
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if process is not None:
            await _ended(process)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        arguments = [_ROOT, str(theirs.fileno()), str(self._state), str(self._lock_patience)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
                env={"LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            raise KeeperFailed(f"{sys.executable} could not be started as the keeper: {error}") from error
        finally:
            theirs.close()
        self._socket = ours

    async def _await_ready(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            data = await asyncio.wait_for(loop.sock_recv(self._socket, _RECEIVE), _START_PATIENCE)
        except (TimeoutError, OSError) as error:
            raise KeeperFailed(f"the keeper did not say that it is ready: {error!r}") from error
        if not data:
            raise KeeperFailed("the keeper ended at once")
        verb, _, detail = [*_decode(data)[0], None][:3]
        if verb == "locked":
            await self.stop()
            raise FolderTaken(
                f"{self._state} is used by process {detail}",
                hint="stop the other one, or give this worker a folder of its own",
            )
        if verb != "ready" or _decode(data)[0][1] != PROTOCOL:
            raise KeeperFailed(f"the keeper speaks another protocol: {data[:100]!r}")

    def _listen(self) -> None:
        self._is_up = True
        asyncio.get_running_loop().add_reader(self._socket, self._receive)  # type: ignore[arg-type]

    # ── talking ──────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, message: list[Any], descriptors: list[int] | None = None) -> None:
        self._pending.append((message, descriptors or []))
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what was asked during this turn of the loop, several orders in one message."""
        self._flushing = False
        while self._pending and self._socket is not None:
            messages, descriptors = self._batch()
            data = json.dumps(messages).encode()  # not msgspec: it refuses half surrogates, which a job may contain
            if not self._send(data, descriptors):
                self._flushing = True  # the keeper is busy: try again shortly
                asyncio.get_running_loop().call_later(0.005, self._flush)
                return
            for _ in messages:
                self._pending.popleft()
            for descriptor in descriptors:
                os.close(descriptor)

    def _batch(self) -> tuple[list[list[Any]], list[int]]:
        messages: list[list[Any]] = []
        descriptors: list[int] = []
        for message, carried in self._pending:
            if messages and (len(messages) >= 16 or len(descriptors) + len(carried) > MOST_DESCRIPTORS - 1):
                break
            messages.append(message)
            descriptors += carried
        return messages, descriptors

    def _send(self, data: bytes, descriptors: list[int]) -> bool:
        assert self._socket is not None
        try:
            if len(data) <= INLINE_LIMIT:
                socket.send_fds(self._socket, [data], descriptors)
                return True
            memory = memory_file("rota-order", data)
            try:
                socket.send_fds(self._socket, [BY_FILE], [memory, *descriptors])
            finally:
                os.close(memory)
        except OSError as error:
            # Otherwise the keeper is gone; `_receive` sees it and tells everybody.
            return not (is_shortage(error.errno) or error.errno == errno.ETOOMANYREFS)
        return True

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._keeper_died()
            return
        for verb, key, *details in _decode(data):
            event = msgspec.convert(details, _EVENTS[verb])
            listener = self._listeners.pop(key, None) if isinstance(event, _FINAL) else self._listeners.get(key)
            if listener is not None:
                listener(event)

    # ── when the keeper dies ─────────────────────────────────────────────────────────────────────────────

    def _keeper_died(self) -> None:
        """Kill what it kept, start another one, and tell everybody whose tree is gone."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._closing:
            return
        for _, descriptors in self._pending:
            for descriptor in descriptors:
                os.close(descriptor)
        self._pending.clear()
        self.kill_orphans()
        self.restarts += 1
        if self._is_up:
            self._relaunch()
        else:  # it does not even come up: do not try as fast as we can
            loop.call_later(_RELAUNCH_REST, self._relaunch)
        self._is_up = False
        lost, self._listeners = self._listeners, {}
        for listener in lost.values():
            listener(KeeperDied())

    def _relaunch(self) -> None:
        if not self._closing:
            self._launch()
            self._listen_when_ready()
            if self._until is not None:
                self.live_until(self._until)
            self._flush()

    def _listen_when_ready(self) -> None:
        """The new keeper's first word is `ready`; orders may be sent before it."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()

        def first() -> None:
            assert self._socket is not None
            loop.remove_reader(self._socket)
            try:
                data = self._socket.recv(_RECEIVE)
            except OSError:
                data = b""
            if data and _decode(data)[0][0] == "ready":
                self._listen()
            else:
                self._keeper_died()

        loop.add_reader(self._socket, first)

    def kill_orphans(self) -> None:
        """Kill every process that carries our mark and what is below it, until none is left."""
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            marked = set(marked_processes(self._prefix))
            for pid in tuple(marked):
                marked.update(descendants_of(pid))
            for pid in marked:
                send_signal(pid, 9)
            _reap_unknown(marked)
            if not marked:
                return
            time.sleep(0.002)


def _reap_unknown(killed: set[int]) -> None:
    """Take the exit status of killed processes that have become our children."""
    for pid in set(children_of(os.getpid())) & killed:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # somebody else took it


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of an anonymous file that holds `data`, positioned at its start."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        undo.pop_all()
    return descriptor


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a child without blocking the loop."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(0):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait()
