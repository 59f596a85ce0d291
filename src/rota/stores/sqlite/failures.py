"""What SQLite's own errors mean to callers: mapped here, once, and nowhere else.

A store that cannot write now (full, locked, read-only, unreadable) is StoreUnavailable and nothing was changed; a row
that breaks a constraint or text that no database can hold is Invalid.
"""

import sqlite3
from typing import Final

from rota.core.errors import Invalid, RotaError, StoreUnavailable, StoreUnusable, TooLarge

FOREIGN: Final = (sqlite3.Error, UnicodeEncodeError, OverflowError)

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY: ("the database is locked by another program", "end the program that holds it open"),
    sqlite3.SQLITE_LOCKED: ("the database is locked by another program", "end the program that holds it open"),
    sqlite3.SQLITE_NOMEM: ("the database has no memory left", None),
    sqlite3.SQLITE_READONLY: ("the database is read-only", "give this user the right to write its file and folder"),
    sqlite3.SQLITE_IOERR: ("the disk under the database reports an error", "look at the system log, then: rota doctor"),
    sqlite3.SQLITE_FULL: ("the disk under the database is full", "free some space; work goes on by itself"),
    sqlite3.SQLITE_CANTOPEN: ("the database file cannot be opened", "see that its folder exists and is writable"),
    sqlite3.SQLITE_PERM: ("the database file may not be opened", "give this user the right to use it"),
}
_UNUSABLE: Final = {
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}
_RESTORE: Final = "restore it from a backup, or name another file"


def mapped(error: Exception, where: str) -> RotaError:
    """The error callers see in place of `error`; `where` names the database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _UNAVAILABLE:
        words, hint = _UNAVAILABLE[code]
        return StoreUnavailable(f"{words}: {where} ({error})", hint=hint)
    if code in _UNUSABLE:
        return StoreUnusable(f"{_UNUSABLE[code]}: {where} ({error})", hint=_RESTORE)
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooLarge("the search looks at too many rows", hint="shorten its time range or name the job")
    if isinstance(error, UnicodeEncodeError):
        return Invalid("the text is not valid Unicode and cannot be kept")
    if isinstance(error, OverflowError | sqlite3.DataError):
        return Invalid(f"a value is larger than the store can keep ({error})")
    if isinstance(error, sqlite3.IntegrityError):
        return Invalid(f"the store refuses the row: {error}")
    return StoreUnusable(f"the database does not answer as it should: {where} ({error})", hint="rota doctor")
