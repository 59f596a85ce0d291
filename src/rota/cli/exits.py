"""Exit codes: what a script can rely on, and which error ends with which."""

from typing import Final

from rota.client.errors import ServerFailed, Unreachable
from rota.core.errors import (
    Conflict,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RotaError,
    StoreUnavailable,
    TooLarge,
)

SUCCESS: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
CONFLICT: Final = 5
UNREACHABLE: Final = 6
PARTIAL: Final = 7
CHANGES: Final = 10
STALE: Final = 11
RUN_FAILED: Final = 20
RUN_TIMED_OUT: Final = 21
RUN_NOT_RUN: Final = 22
STILL_RUNNING: Final = 23
RUN_LOST: Final = 24
CHECK_ERRORS: Final = 30
CHECK_WARNINGS: Final = 31
DOCTOR: Final = 40
INTERRUPTED: Final = 130

OF_STATE: Final = {
    "succeeded": SUCCESS,
    "failed": RUN_FAILED,
    "timed-out": RUN_TIMED_OUT,
    "cancelled": RUN_NOT_RUN,
    "skipped": RUN_NOT_RUN,
    "missed": RUN_LOST,
    "lost": RUN_LOST,
}

_OF_ERROR: Final[tuple[tuple[type[RotaError], int], ...]] = (
    (NotFound, NOT_FOUND),
    (NotAuthenticated, NOT_ALLOWED),
    (NotAllowed, NOT_ALLOWED),
    (Conflict, CONFLICT),
    (IllegalTransition, CONFLICT),
    (Unreachable, UNREACHABLE),
    (StoreUnavailable, UNREACHABLE),
    (Invalid, USAGE),
    (TooLarge, USAGE),
    (ServerFailed, UNEXPECTED),
)

# By code: they are errors of packages that the command line does not import.
_OF_CODE: Final = {
    "FOLDER_TAKEN": CONFLICT,
    "PORT_TAKEN": CONFLICT,
    "FOLDER_UNUSABLE": USAGE,
    "SECRET_KEY": USAGE,
    "STORE_UNUSABLE": USAGE,
    "TLS_UNUSABLE": USAGE,
    "WORKER_FILE": USAGE,
    "WORKER_REFUSED": NOT_ALLOWED,
}


def exit_code(error: RotaError) -> int:
    """The code a command ends with after `error`."""
    if error.code in _OF_CODE:
        return _OF_CODE[error.code]
    return next((code for kind, code in _OF_ERROR if isinstance(error, kind)), UNEXPECTED)
