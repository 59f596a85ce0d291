"""What PostgreSQL's errors, and those of the way to it, mean to callers: mapped here, once, and nowhere else.

A database that cannot be reached or refuses to write now is StoreUnavailable. Where the connection broke while a verb
was under way, the verb was done whole or not at all, and nobody knows which: every verb may be repeated. A value that
no row can hold is Invalid, a search over too many rows TooLarge, and what no waiting mends StoreUnusable.
"""

from typing import Final

import asyncpg

from rota.core.errors import Invalid, RotaError, StoreUnavailable, StoreUnusable, TooLarge

FOREIGN: Final = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, UnicodeError, OverflowError,
)  # fmt: skip
# The whole verb is repeated: a deadlock, a lock that was not given in time, a row that somebody else was first to add.
REPEATED: Final = (
    asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError,
)  # fmt: skip

_POOLING: Final = "connect to the database itself, or through a pooler in session mode"
_GOES_ON: Final = "work goes on by itself"
_WAIT: Final = f"{_GOES_ON} once it answers"
_UNKNOWN: Final = "what was being written is there whole, or not at all"

# By SQLSTATE, or its first two characters: what happened, and what to do.
_UNAVAILABLE: Final[dict[str, tuple[str, str | None]]] = {
    "08": ("the connection to the database is gone", _UNKNOWN),
    "25006": ("the database is read-only", "it is a standby, or set read-only: connect to the primary"),
    "40": ("the database is too busy: others were first, again and again", _WAIT),
    "53": ("the database has run out of something", f"look at its log; {_GOES_ON}"),
    "53100": ("the disk under the database is full", f"free some space; {_GOES_ON}"),
    "53300": ("the database takes no more connections", "raise max_connections, or end other clients"),
    "55P03": ("the database is busy: a lock was not free in time", "look for long transactions in pg_stat_activity"),
    "57": ("the database stopped the statement", _WAIT),
    "57014": ("the database did not finish in time", "look at its load and at long transactions in pg_stat_activity"),
    "57P01": ("the database shuts down", _WAIT),
    "57P02": ("the database has crashed and recovers", _WAIT),
    "57P03": ("the database is starting or shutting down", _WAIT),
    "58": ("the disk under the database reports an error", "look at the database's log"),
}
_UNUSABLE: Final[dict[str, tuple[str, str | None]]] = {
    "0A": ("the database cannot do this", "Rota needs PostgreSQL 15 or newer"),
    "26000": ("statements are lost between two uses of a connection", _POOLING),
    "28": ("the database does not let this user in", "look at user and password in the URL, and at pg_hba.conf"),
    "3D000": ("there is no such database", "create it, or name another one in the URL"),
    "42": ("the database does not have what this Rota expects", "rota doctor"),
    "42501": (
        "the database role may not do this",
        "let it own the schema rota: CREATE SCHEMA rota AUTHORIZATION the_role",
    ),
    "42P05": ("statements of others turn up on a connection", _POOLING),
    "XX001": ("the database is damaged", "restore it from a backup"),
    "XX002": ("an index of the database is damaged", "REINDEX DATABASE, and look for the cause"),
}
_INVALID: Final[dict[str, str]] = {
    "22": "a value is one that the store cannot keep",
    "23": "the store refuses the row",
    "54": "a value is larger than the store can keep",
}


def mapped(error: Exception, where: str, *, search: bool = False) -> RotaError:
    """The error callers see in place of `error`; `where` names the database. `search`: people asked for a list."""
    if isinstance(error, RotaError):
        return error
    code = getattr(error, "sqlstate", None) or ""
    if code:
        return _of_state(code, error, where, search=search)
    if isinstance(error, UnicodeError) or "surrogates not allowed" in str(error):
        return Invalid("the text is not valid Unicode and cannot be kept")
    if isinstance(error, OverflowError | asyncpg.DataError):
        return Invalid(f"a value is one that the store cannot keep ({error})")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"the database does not answer: {where}", hint=_UNKNOWN)
    if isinstance(error, ValueError):  # before there is a connection nothing else is one
        return StoreUnusable(f"the URL of the database is not usable: {error}")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        words, hint = _UNAVAILABLE["25006"]
        return StoreUnavailable(f"{words}: {where} ({error})", hint=hint)
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database cannot be reached: {where} ({error})", hint=_WAIT)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):  # the driver lost the thread
        return StoreUnavailable(f"the connection to the database is gone: {where} ({error})", hint=_UNKNOWN)
    return StoreUnusable(f"the database does not answer as it should: {where} ({error})", hint="rota doctor")


def at_opening(error: StoreUnavailable) -> StoreUnavailable:
    """The same where nothing is at work yet that could go on by itself."""
    if error.hint is None or _GOES_ON not in error.hint:
        return error
    return StoreUnavailable(error.detail, hint="look at its address and at the database, then try again")


def _of_state(code: str, error: Exception, where: str, *, search: bool) -> RotaError:
    """The error of a SQLSTATE; the longest entry that fits it counts."""
    if code == "57014" and search:
        return TooLarge("the search looks at too many rows", hint="shorten its time range or name the job")
    for key in (code, code[:2]):
        if key in _UNAVAILABLE:
            words, hint = _UNAVAILABLE[key]
            return StoreUnavailable(f"{words}: {where} ({error})", hint=hint)
        if key in _UNUSABLE:
            words, hint = _UNUSABLE[key]
            return StoreUnusable(f"{words}: {where} ({error})", hint=hint)
        if key in _INVALID:
            return Invalid(f"{_INVALID[key]}: {error}")
    return StoreUnusable(f"the database does not answer as it should: {where} ({error})", hint="rota doctor")
