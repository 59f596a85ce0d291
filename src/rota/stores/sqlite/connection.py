"""Connections to one SQLite database, as every part of the adapter wants them.

The writing one creates the file where it is missing; the reading one cannot change it and gives up on a search that
takes too long. Transactions are begun and ended by hand, so that none is open where nobody asked for it.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from rota.core.errors import StoreUnavailable
from rota.stores.sqlite.failures import FOREIGN, mapped

Result = TypeVar("Result")

BUSY_SECONDS: Final = 5.0  # how long to wait for another program, such as a backup, to let go of the file
SEARCH_SECONDS: Final = 3.0
_STEPS_BETWEEN_LOOKS: Final = 20_000  # virtual machine steps between looks at the time: about a millisecond
_CACHED_STATEMENTS: Final = 256


class Database(Protocol):
    """Runs work on the database: writes one after another and durable on return, reads beside them."""

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""

    async def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` by itself and return once it is committed; when it raises, nothing was changed."""

    async def read(self, work: Callable[[sqlite3.Connection], Result], *, patient: bool = False) -> Result:
        """Run `work` on one snapshot, which holds all that was committed before the call.

        It is stopped with TooLarge after SEARCH_SECONDS, unless the caller is `patient`.
        """

    def write_soon(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """As `write`, for what nobody waits for and the next attempt makes good."""

    async def close(self) -> None:
        """End everything that was accepted, then close the connections."""


def open_writer(path: Path | None) -> sqlite3.Connection:
    """The connection that writes; `path` None is a database in memory."""
    where = words(path)
    if path is not None and not path.parent.is_dir():
        raise StoreUnavailable(f"there is no folder {path.parent} to keep the database in", hint="make the folder")
    if path is not None:
        _make_private(path)
    try:
        connection = _connect(":memory:" if path is None else str(path))
    except FOREIGN as error:
        raise mapped(error, where) from error
    try:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        connection.execute("PRAGMA page_size = 8192")  # only a new file takes it
        connection.execute("PRAGMA secure_delete = OFF")  # secrets are ciphertext; zeroing costs a tenth of every write
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except FOREIGN as error:
        connection.close()
        raise mapped(error, where) from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that reads only, and stops a search after SEARCH_SECONDS."""
    try:
        connection = _connect(path.absolute().as_uri() + "?mode=ro", uri=True)
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -32768")
    except FOREIGN as error:
        raise mapped(error, words(path)) from error
    return connection


def words(path: Path | None) -> str:
    """The database in words, for messages."""
    return "the database in memory" if path is None else str(path)


class Deadline:
    """Stops the statement under way once its time is over; a connection has at most one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._end = float("inf")
        connection.set_progress_handler(self._is_over, _STEPS_BETWEEN_LOOKS)

    def start(self, *, patient: bool) -> None:
        """Give the work that begins now its full time, or all the time it wants."""
        self._end = float("inf") if patient else time.monotonic() + SEARCH_SECONDS

    def _is_over(self) -> bool:
        return time.monotonic() > self._end


def _make_private(path: Path) -> None:
    """Make the file where it is missing, for its owner alone: output, tokens and ciphertext of secrets lie in it.

    SQLite gives the files beside it the rights of the file. What cannot be made is SQLite's to say.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions, usable from whichever thread owns it."""
    connection = sqlite3.connect(
        name, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
    )
    connection.create_function("contains", 2, _contains, deterministic=True)
    return connection


def _contains(text: str | None, part: str) -> bool:
    """Whether `part` (case folded) is in `text`, in any script: SQLite's LIKE folds ASCII only."""
    return text is not None and part in text.casefold()
