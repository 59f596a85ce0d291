"""Takes from this process, for a while, what a worker needs of its machine."""

import contextlib
import itertools
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path


def open_descriptors() -> set[int]:
    """What is open in this process."""
    listed = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return {number for number in listed if _is_open(number)}


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """So many more files can be opened meanwhile."""
    taken = open_descriptors()
    free = (number for number in itertools.count() if number not in taken)
    with _limited(resource.RLIMIT_NOFILE, next(itertools.islice(free, count, None))):
        yield


def no_descriptors() -> contextlib.AbstractContextManager[None]:
    """This process can open nothing meanwhile, not even when it closes something."""
    return _limited(resource.RLIMIT_NOFILE, 3)


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file can be written beyond so many bytes meanwhile, be it on a disk or in memory."""
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with _limited(resource.RLIMIT_FSIZE, size):
            yield
    finally:
        signal.signal(signal.SIGXFSZ, old)


@contextlib.contextmanager
def _limited(what: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def _is_open(number: int) -> bool:
    """The list names also the descriptor by which it was read."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
