"""What can go wrong between a client and the server, as the errors everything else raises."""

from typing import Any, ClassVar, Final

from rota.core.errors import (
    Conflict,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RotaError,
    StoreUnavailable,
    TooLarge,
)


class Unreachable(RotaError):
    """The server cannot be reached."""

    code: ClassVar[str] = "UNREACHABLE"
    retryable: ClassVar[bool] = True


class NoServerKnown(Unreachable):
    """Nobody said where the server is."""

    code: ClassVar[str] = "NO_SERVER_KNOWN"


class ServerFailed(RotaError):
    """The server answered with an error of its own."""

    code: ClassVar[str] = "SERVER_FAILED"


class TooMany(Unreachable):
    """The server was asked too often, or is asked by too many; later it answers again."""

    code: ClassVar[str] = "TOO_MANY"


class NotRota(Unreachable):
    """Something answers there, and it is not a Rota server."""

    code: ClassVar[str] = "NOT_ROTA"


_KINDS: Final[dict[int, type[RotaError]]] = {
    400: Invalid,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: TooLarge,
    415: Invalid,
    421: NotAllowed,
    422: Invalid,
    429: TooMany,
    503: StoreUnavailable,
}


def error_of(status: int, problem: dict[str, Any]) -> RotaError:
    """The error a problem+json answer stands for; its facts keep code, request id and list of problems."""
    kind = _KINDS.get(status, Invalid if 400 <= status < 500 else ServerFailed)
    return kind(
        str(problem.get("detail") or problem.get("title") or f"the server answered {status}"),
        hint=problem.get("hint"),
        code=problem.get("code"),
        status=status,
        request_id=problem.get("request_id"),
        problems=problem.get("problems") or [],
        facts=problem.get("facts") or {},
    )
