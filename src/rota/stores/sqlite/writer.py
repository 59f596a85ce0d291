"""The lanes work runs on: one writer with group commit, one reader beside it, or everything in the caller.

The writer's thread takes whatever is waiting, up to a few hundred verbs or a few milliseconds, runs each in a
savepoint of its own inside one transaction, commits once, and only then answers all callers with one wake-up of their
loop. A verb that fails undoes its own savepoint only; when the commit itself fails, nobody was told otherwise.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rota.core.errors import RotaError, StoreUnavailable
from rota.stores.sqlite.connection import Deadline, Result, open_reader, words
from rota.stores.sqlite.failures import FOREIGN, mapped

Work = Callable[[sqlite3.Connection], Any]

GROUP_VERBS: Final = 256
GROUP_SECONDS: Final = 0.005
_CLOSED: Final = "the store is closed"


@dataclass(slots=True)
class _Task:
    """One piece of work, who waits for it, and what came of it."""

    work: Work
    future: asyncio.Future[Any]
    patient: bool = False
    result: Any = None
    error: Exception | None = None


class _Lane:
    """A connection and the thread that alone uses it."""

    def __init__(self, connection: sqlite3.Connection, where: str, name: str) -> None:
        self._connection = connection
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._ended = self._loop.create_future()
        self._closed = False
        # A daemon: a process that ends without closing loses only what was never acknowledged.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def submit(self, work: Work, *, patient: bool = False) -> asyncio.Future[Any]:
        """Queue `work`; the future resolves when it is done (and committed, in the writer's lane)."""
        if self._closed:
            raise StoreUnavailable(_CLOSED)
        future = self._loop.create_future()
        self._tasks.put(_Task(work, future, patient))
        return future

    async def close(self) -> None:
        """Finish what was queued, then close the connection."""
        if not self._closed:
            self._closed = True
            self._tasks.put(None)
        await asyncio.shield(self._ended)

    def _serve(self) -> None:
        open_ = True
        while open_:
            first = self._tasks.get()
            if first is None:
                break
            done, open_ = self._run(first)
            self._answer(done)
        self._connection.close()
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits for the end
            self._loop.call_soon_threadsafe(_resolve_end, self._ended)

    def _run(self, first: _Task) -> tuple[list[_Task], bool]:
        """Work on `first` and perhaps more; returns what is done and whether there may be more to come."""
        raise NotImplementedError

    def _answer(self, done: list[_Task]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits for the answers
            self._loop.call_soon_threadsafe(_resolve, done)


class WriterLane(_Lane):
    """Writes, one transaction per group."""

    def _run(self, first: _Task) -> tuple[list[_Task], bool]:
        group: list[_Task] = []
        open_ = True
        task: _Task | None = first
        end = time.monotonic() + GROUP_SECONDS
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            while task is not None:
                group.append(task)
                run_in_savepoint(self._connection, task, self._where)
                if len(group) >= GROUP_VERBS or time.monotonic() > end:
                    break
                try:
                    task = self._tasks.get_nowait()
                except queue.Empty:
                    break
                open_ = task is not None
            self._connection.execute("COMMIT")
        except FOREIGN as error:
            # SQLite may have undone the whole transaction by itself (a full disk), or the commit failed: no verb
            # of the group may be believed, the ones that had succeeded included.
            undo(self._connection)
            failure = mapped(error, self._where)
            group = group or [first]
            for other in group:
                other.error = other.error or failure
        return group, open_


class ReaderLane(_Lane):
    """Reads, each on a snapshot of its own."""

    def __init__(self, path: Path) -> None:
        connection = open_reader(path)
        self._deadline = Deadline(connection)
        super().__init__(connection, words(path), "rota-store-reader")

    def _run(self, first: _Task) -> tuple[list[_Task], bool]:
        self._deadline.start(patient=first.patient)
        run_in_snapshot(self._connection, first, self._where)
        return [first], True


class ThreadedDatabase:
    """A database with its own threads. Without a reader (memory has one connection) reads queue with the writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._reader = None if path is None else ReaderLane(path)
        self._writer = WriterLane(connection, words(path), "rota-store-writer")

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._writer.is_closed

    async def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` in the writer's lane; returns once it is committed."""
        result: Result = await self._writer.submit(work)
        return result

    async def read(self, work: Callable[[sqlite3.Connection], Result], *, patient: bool = False) -> Result:
        """Run `work` in the reader's lane."""
        result: Result = await (self._reader or self._writer).submit(work, patient=patient)
        return result

    def write_soon(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Queue `work`; a failure is forgotten."""
        self._writer.submit(work).add_done_callback(_forget)

    async def close(self) -> None:
        """Finish what was queued; the reader goes first, so that the writer can fold the log into the file."""
        if self._reader is not None:
            await self._reader.close()
        await self._writer.close()


class InlineDatabase:
    """A database without threads, for simulations: every verb is over when its call returns."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._where = words(path)
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` here, in a transaction."""
        return self._write(work)

    async def read(self, work: Callable[[sqlite3.Connection], Result], *, patient: bool = False) -> Result:
        """Run `work` here."""
        self._check_open()
        try:
            return work(self._connection)
        except FOREIGN as error:
            raise mapped(error, self._where) from error

    def write_soon(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run `work` here; that the store cannot write now is forgotten."""
        with contextlib.suppress(StoreUnavailable):
            self._write(work)

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._connection.close()

    def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        self._check_open()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except FOREIGN as error:
            undo(self._connection)
            raise mapped(error, self._where) from error
        except BaseException:
            undo(self._connection)
            raise
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(_CLOSED)


def run_in_savepoint(connection: sqlite3.Connection, task: _Task, where: str) -> None:
    """Run one verb of a group; what it raises undoes it alone, unless SQLite has given up the whole transaction."""
    connection.execute("SAVEPOINT verb")
    try:
        task.result = task.work(connection)
    except Exception as error:  # the edge of the writer's loop: the caller gets it, the others go on
        task.error = _for_caller(error, where)
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO verb")
    connection.execute("RELEASE verb")


def run_in_snapshot(connection: sqlite3.Connection, task: _Task, where: str) -> None:
    """Run one read; all its statements see the same state."""
    try:
        connection.execute("BEGIN")
        task.result = task.work(connection)
    except Exception as error:  # noqa: BLE001 - the edge of the reader's loop: the caller gets it, the others go on
        task.error = _for_caller(error, where)
    undo(connection)


def undo(connection: sqlite3.Connection) -> None:
    """Leave no transaction open, whatever has happened."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):  # it is gone already, and with it what it wrote
            connection.execute("ROLLBACK")


def _for_caller(error: Exception, where: str) -> Exception:
    """The error as the caller shall see it: foreign ones in our words, programming errors as they are."""
    if isinstance(error, RotaError) or not isinstance(error, FOREIGN):
        return error
    return mapped(error, where)


def _resolve(done: list[_Task]) -> None:
    """Answer the callers; those that have given up are passed over."""
    for task in done:
        if task.future.done():
            continue
        if task.error is not None:
            task.future.set_exception(task.error)
        else:
            task.future.set_result(task.result)


def _resolve_end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _forget(future: asyncio.Future[Any]) -> None:
    """Take the exception, if any, so that nobody is told of it."""
    if not future.cancelled():
        future.exception()
