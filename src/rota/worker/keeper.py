"""The keeper: one small process per worker that starts the attempts' processes, watches them and ends them.

Standard library only, single-threaded. It is the reaper of everything below it (child
subreaper), so what daemonises itself still ends up here. It owns the time-out ladder: TERM, the grace, KILL of the
whole tree. When the agent's socket closes it kills everything at once. It holds the lock on the state folder until
its last child is dead, so a new agent never runs beside the remains of an old one.

A *tree* is a main process and everything it started. It is over when nothing of it lives: once the main process has
ended, what it left behind is killed and counted. Members are found by parentage, by process group, and by the mark in
their environment; what clears its environment, leaves the group and daemonises escapes until the keeper ends.

The agent also says until when trees may live without a word from a server, and moves that moment on with each word.
When it comes no more, because no server is heard or because the agent itself stands still, they are ended by then.
"""

import fcntl
import json
import mmap
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rota.worker.processes import (
    MARK,
    become_subreaper,
    descendants_of,
    group_of,
    is_alive,
    mark_of,
    receive_with_descriptors,
    send_signal,
    signal_group,
)

PROTOCOL = 1
INLINE_LIMIT = 32 * 1024  # a longer message travels in a memory file
BY_FILE = b"@"

LAST_SECONDS = 2.0  # before the deadline: TERM then, KILL at the deadline

_TICK = 0.2  # how often the clock is compared while deadlines exist: it also notices a suspended machine
LOCK_PATIENCE = 15.0  # seconds that an old keeper may take to end its last child
_RESET = [signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXFSZ]


def _now() -> float:
    """Seconds that go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tree:
    """One main process and everything below it."""

    __slots__ = (
        "cpu", "deadline", "extra", "grace", "key", "kill_at", "left", "mark", "memory", "orphans", "pid", "silenced",
        "status", "why",
    )  # fmt: skip

    def __init__(self, key: int, pid: int, order: dict[str, Any]) -> None:
        self.key = key
        self.pid = pid
        self.mark = order["env"].get(MARK, "")
        self.grace = order.get("grace", 0.0)
        timeout = order.get("timeout")
        self.deadline = None if timeout is None else _now() + timeout
        self.extra = order.get("continue_for", 0.0)  # seconds it may live beyond the worker's deadline
        self.kill_at: float | None = None
        self.silenced = False  # its end was asked for because of the worker's deadline
        self.why: str | None = None  # "timeout", "deadline" or "ended" once its end was asked for
        self.status: int | None = None  # the wait status of the main process once it has ended
        self.cpu = 0.0
        self.memory = 0
        self.left = 0  # processes that outlived the main process
        self.orphans: set[int] = set()

    def note_usage(self, usage: Any) -> None:
        """Add what a reaped process consumed."""
        self.cpu += usage.ru_utime + usage.ru_stime
        self.memory = max(self.memory, usage.ru_maxrss * 1024)

    def members(self) -> Iterator[int]:
        """All living processes of the tree that can be found."""
        roots = set(self.orphans)
        if self.status is None:
            roots.add(self.pid)
        for root in roots:
            yield root
            yield from descendants_of(root)

    def next_step(self) -> float | None:
        """When the ladder goes on, None while it rests."""
        return self.kill_at if self.kill_at is not None else self.deadline


class Keeper:
    """The loop between the agent's socket and the trees."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._trees: dict[int, Tree] = {}
        self._mains: dict[int, Tree] = {}  # by pid
        self._orphans: dict[int, Tree] = {}  # by pid
        self._laddered: set[int] = set()  # keys of trees with a deadline or a kill to come
        self._sweeping: dict[int, set[int]] = {}  # key of a tree → what was killed of it so far
        self._until: float | None = None  # the worker's deadline, in boot-time seconds
        self._outgoing: list[list[Any]] = []
        self._nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._closed = False
        self._poll = select.epoll()
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        wake.setblocking(False)
        self._wake_writer = wake  # kept: signal.set_wakeup_fd does not own it
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(self._wake, select.EPOLLIN)
        self._poll.register(agent, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the agent is gone, then end everything."""
        self._say(["ready", PROTOCOL, os.getpid()])
        while not self._closed:
            self._flush()
            for descriptor, _ in self._poll.poll(self._rest()):
                if descriptor == self._wake.fileno():
                    self._wake.recv(4096)
                    self._reap()
                else:
                    self._take()
            if self._laddered:
                self._climb()
            if self._until is not None and self._trees:
                self._end_silenced(self._until)
            for key in tuple(self._sweeping):
                self._sweep(key)
        self._end_everything()

    # ── what the agent says ──────────────────────────────────────────────────────────────────────────────

    def _take(self) -> None:
        try:
            data, descriptors = receive_with_descriptors(self._agent, 2 * INLINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._closed = True
            return
        if data == BY_FILE:
            data = _read_memory(descriptors.pop(0))
        self._obey(json.loads(data), descriptors)

    def _obey(self, orders: list[list[Any]], descriptors: list[int]) -> None:
        for verb, key, *details in orders:
            if verb == "spawn":
                count = len(details[0]["targets"])
                self._spawn(key, details[0], descriptors[:count])
                for descriptor in descriptors[:count]:
                    os.close(descriptor)
                del descriptors[:count]
            elif verb == "sweep":
                self._sweep(key)
            elif verb == "until":
                self._until = details[0]
            elif verb == "extend" and key in self._trees:
                self._trees[key].extra = details[0]
            elif key in self._trees and verb == "arm":
                self._arm(self._trees[key], *details)
            elif key in self._trees and verb == "end":
                self._end(self._trees[key], "ended", details[0])

    def _spawn(self, key: int, order: dict[str, Any], descriptors: list[int]) -> None:
        actions = [
            (os.POSIX_SPAWN_DUP2, self._nothing, target) for target in (0, 1, 2) if target not in order["targets"]
        ]
        actions += [
            (os.POSIX_SPAWN_DUP2, descriptor, target)
            for descriptor, target in zip(descriptors, order["targets"], strict=True)
        ]
        try:
            os.chdir(order["cwd"])
        except (OSError, ValueError) as error:
            self._say(["failed", key, getattr(error, "errno", 0) or 0, "cwd", order["cwd"]])
            return
        argv = order["argv"]
        try:
            pid = os.posix_spawn(
                argv[0], argv, order["env"], file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
            )
        except (OSError, ValueError) as error:
            self._say(["failed", key, getattr(error, "errno", 0) or 0, "argv", str(error)])
            return
        tree = Tree(key, pid, order)
        self._trees[key] = self._mains[pid] = tree
        if tree.deadline is not None:
            self._laddered.add(key)

    def _arm(self, tree: Tree, timeout: float | None, grace: float) -> None:
        """Give a running tree a new deadline, or none."""
        tree.deadline = None if timeout is None else _now() + timeout
        tree.grace = grace
        if tree.next_step() is None:
            self._laddered.discard(tree.key)
        else:
            self._laddered.add(tree.key)

    # ── the ladder ───────────────────────────────────────────────────────────────────────────────────────

    def _rest(self) -> float | None:
        """Seconds until the clock must be looked at again; None sleeps until something happens."""
        if self._sweeping:
            return 0.002
        if self._outgoing:
            return 0.05
        steps = [self._trees[key].next_step() for key in self._laddered]
        soonest = min((step for step in steps if step is not None), default=None)
        if soonest is not None:
            return min(_TICK, max(0.0, soonest - _now()))
        return _TICK if self._until is not None and self._trees else None

    def _climb(self) -> None:
        now = _now()
        for key in tuple(self._laddered):
            tree = self._trees[key]
            if tree.kill_at is not None and now >= tree.kill_at:
                self._kill(tree)
                tree.kill_at = now + _TICK  # again until it is empty: it may be forking meanwhile
            elif tree.kill_at is None and tree.deadline is not None and now >= tree.deadline:
                self._end(tree, "timeout", tree.grace)

    def _end_silenced(self, until: float) -> None:
        """End what may not live beyond the deadline: gently shortly before it, at once when it has passed."""
        now = _now()
        for tree in tuple(self._trees.values()):
            last = until + tree.extra
            if now >= last - LAST_SECONDS and not tree.silenced:
                tree.silenced = True
                self._end(tree, "deadline", max(0.0, last - now))

    def _end(self, tree: Tree, why: str, grace: float) -> None:
        """Ask the tree to end and make sure of it after `grace` seconds."""
        tree.why = tree.why or why
        kill_at = _now() + grace
        tree.kill_at = kill_at if tree.kill_at is None else min(kill_at, tree.kill_at)
        self._laddered.add(tree.key)
        if grace <= 0:
            self._kill(tree)
            return
        self._adopt()
        group = tree.pid if tree.status is None else 0
        members = [pid for pid in tree.members() if not group or group_of(pid) != group]
        if group:
            signal_group(group, signal.SIGTERM)
        for pid in members:
            send_signal(pid, signal.SIGTERM)

    def _kill(self, tree: Tree) -> None:
        self._adopt()
        if tree.status is None:
            signal_group(tree.pid, signal.SIGKILL)
        for pid in tuple(tree.members()):
            send_signal(pid, signal.SIGKILL)

    # ── the dead ─────────────────────────────────────────────────────────────────────────────────────────

    def _reap(self) -> None:
        while True:
            try:
                # WNOWAIT keeps the dead one's number taken, so its group can still be killed without mistake.
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            main = self._mains.pop(dead.si_pid, None)
            if main is not None:
                self._main_ended(main)
            else:
                self._orphan_ended(dead.si_pid)

    def _main_ended(self, tree: Tree) -> None:
        self._adopt(finishing=tree)
        tree.left = len(tree.orphans)
        signal_group(tree.pid, signal.SIGKILL)
        _, status, usage = os.wait4(tree.pid, 0)
        tree.status = status
        tree.note_usage(usage)
        self._settle(tree)

    def _orphan_ended(self, pid: int) -> None:
        if pid not in self._orphans:
            self._adopt()
        owner = self._orphans.pop(pid, None)
        _, _, usage = os.wait4(pid, 0)
        if owner is not None:
            owner.orphans.discard(pid)
            owner.note_usage(usage)
            if owner.status is not None:
                self._adopt()  # its own children have come to us by its death
                self._settle(owner)

    def _settle(self, tree: Tree) -> None:
        """Kill what a finished tree left behind; say so once nothing is left."""
        for pid in tuple(tree.orphans):
            if not send_signal(pid, signal.SIGKILL):
                self._orphans.pop(pid, None)  # it took another identity; waiting for it would wait for ever
                tree.orphans.discard(pid)
        if tree.orphans:
            return
        del self._trees[tree.key]
        self._laddered.discard(tree.key)
        code = os.waitstatus_to_exitcode(tree.status or 0)
        exit_code, number = (code, None) if code >= 0 else (None, -code)
        self._say(["over", tree.key, exit_code, number, tree.cpu, tree.memory, tree.why, tree.left])

    def _sweep(self, key: int) -> None:
        """Kill what a warm process's attempt left behind, itself excepted; say so once all of it is dead."""
        tree = self._trees.get(key)
        if tree is None or tree.status is not None:
            self._sweeping.pop(key, None)
            return  # it is over, which is said anyway
        self._adopt()
        living = [pid for pid in tree.members() if pid != tree.pid and is_alive(pid)]
        killed = [pid for pid in living if send_signal(pid, signal.SIGKILL)]
        self._sweeping.setdefault(key, set()).update(killed)
        if not killed:
            self._say(["swept", key, len(self._sweeping.pop(key))])

    def _adopt(self, finishing: Tree | None = None) -> None:
        """Find to which tree each orphan that has come to us belongs."""
        with open("/proc/self/task/%d/children" % os.getpid(), "rb") as file:  # noqa: PTH123, UP031 — hot
            children = file.read().split()
        if len(children) == len(self._mains) + len(self._orphans) + (finishing is not None):
            return
        for pid in map(int, children):
            if pid in self._mains or pid in self._orphans or (finishing is not None and pid == finishing.pid):
                continue
            owner = self._owner_of(pid, finishing)
            if owner is not None:
                owner.orphans.add(pid)
                self._orphans[pid] = owner

    def _owner_of(self, pid: int, finishing: Tree | None) -> Tree | None:
        group = group_of(pid)
        if finishing is not None and group == finishing.pid:
            return finishing
        if group in self._mains:
            return self._mains[group]
        mark = mark_of(pid)
        if mark:
            for tree in self._trees.values():
                if tree.mark == mark:
                    return tree
        return None

    # ── the end, and talking ─────────────────────────────────────────────────────────────────────────────

    def _end_everything(self) -> None:
        """Kill until nothing is below us; only then is the lock on the folder given up."""
        while True:
            for pid in tuple(descendants_of(os.getpid())):
                send_signal(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            except ChildProcessError:
                return
            time.sleep(0.01)

    def _say(self, message: list[Any]) -> None:
        self._outgoing.append(message)

    def _flush(self) -> None:
        """Send what there is to say; never wait for a slow agent."""
        while self._outgoing:
            batch = self._outgoing[:100]
            try:
                self._agent.send(json.dumps(batch).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._closed = True
                return
            del self._outgoing[: len(batch)]


def _read_memory(descriptor: int) -> bytes:
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as memory:
            return memory[:]
    finally:
        os.close(descriptor)


def take_lock(state: Path, patience: float = LOCK_PATIENCE) -> int | None:
    """Lock the state folder and write who holds it; None when somebody else keeps it."""
    descriptor = os.open(state / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                os.close(descriptor)
                return None
            time.sleep(0.02)
            continue
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor


def main(descriptor: int, state: Path, patience: float) -> int:
    """Keep until the agent on the other end of `descriptor` is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the agent decides; its end is our signal
    agent = socket.socket(fileno=descriptor)
    agent.set_inheritable(False)
    os.umask(0o077)
    lock = take_lock(state, patience)
    if lock is None:
        holder = (state / "keeper.lock").read_text()
        agent.send(json.dumps([["locked", 0, holder]]).encode(), socket.MSG_NOSIGNAL)
        return 1
    become_subreaper()
    Keeper(agent).run()
    return 0
