"""Finding and signalling processes by parentage, group and mark. Standard library only: the keeper needs it."""

import array
import ctypes
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "ROTA_TREE"  # environment variable that names the tree a process belongs to
MOST_DESCRIPTORS = 250  # the kernel passes at most 253 with one message

_SUBREAPER = 36


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """The children of all threads of `pid`; empty when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 — hot, and no Path needed
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 — as above
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def descendants_of(pid: int) -> Iterator[int]:
    """Everything below `pid`, parents first."""
    waiting = children_of(pid)
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children_of(child)


def mark_of(pid: int) -> str | None:
    """The mark in the environment of `pid`, None without one or when it cannot be read."""
    prefix = MARK.encode() + b"="
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        for _ in range(3):
            if environment or not os.readlink(f"/proc/{pid}/exe"):  # noqa: PTH115 — only whether it has one
                break
            time.sleep(0.001)  # it may be in the middle of exec, where its environment is empty for a moment
            environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def marked_processes(prefix: str) -> Iterator[int]:
    """All processes of this machine whose mark begins with `prefix`, except this one."""
    for name in os.listdir("/proc"):  # noqa: PTH208 — as above
        if name.isdigit() and int(name) != os.getpid():
            mark = mark_of(int(name))
            if mark is not None and mark.startswith(prefix):
                yield int(name)


def send_signal(pid: int, number: int) -> bool:
    """Signal `pid`; False when it belongs to somebody whom we may not signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def receive_with_descriptors(end: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """One packet and the descriptors that came with it, closed on exec; raise BlockingIOError when there is none.

    `socket.recv_fds` will not do: before Python 3.12 it forgets its flags.
    """
    found = array.array("i")
    space = socket.CMSG_SPACE(MOST_DESCRIPTORS * found.itemsize)
    data, ancillary, _, _ = end.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return data, list(found)


def signal_group(group: int, number: int) -> None:
    """Signal all processes of a group that may be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # an empty group, or one of processes that took another identity


def group_of(pid: int) -> int:
    """The process group of `pid`, 0 when it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether `pid` exists and is more than an exit status that nobody has taken yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X", b"")
