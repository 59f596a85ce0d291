"""Errors as RFC 9457 problem+json: code, what happened, what to do, and the request's id; never a traceback."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from starlette.responses import Response

from rota.core.errors import (
    Conflict,
    Fenced,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RotaError,
    StoreUnavailable,
    TooLarge,
)
from rota.jobfile.problems import JobFileError

MEDIA_TYPE: Final = "application/problem+json"


class NoSuchMethod(RotaError):
    """The path does not take this method."""

    code: ClassVar[str] = "METHOD_NOT_ALLOWED"


class WrongMediaType(RotaError):
    """The body is of a kind that this path does not read."""

    code: ClassVar[str] = "UNSUPPORTED_MEDIA_TYPE"


class WrongHost(RotaError):
    """The request was meant for another host."""

    code: ClassVar[str] = "WRONG_HOST"


class Busy(RotaError):
    """There is too much of this at the moment; `after` says in how many seconds to come again."""

    code: ClassVar[str] = "TOO_MANY"


class RevisionMoved(Conflict):
    """The job has another revision than If-Match says."""

    code: ClassVar[str] = "REVISION_MOVED"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not honoured. `problems` lists all faults of a job's spec."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None
    request_id: str
    facts: dict[str, Any] = {}
    problems: list[dict[str, Any]] = []


_STATUS: Final[tuple[tuple[type[RotaError], int], ...]] = (
    (Busy, 429),
    (NotFound, 404),
    (NoSuchMethod, 405),
    (RevisionMoved, 412),
    (Conflict, 409),
    (IllegalTransition, 409),
    (TooLarge, 413),
    (WrongMediaType, 415),
    (WrongHost, 421),
    (NotAuthenticated, 401),
    (NotAllowed, 403),
    (StoreUnavailable, 503),
    (Fenced, 503),
    (Invalid, 422),
)
_STATUS_OF_CODE: Final = {"UPGRADE_REQUIRED": 426, "SECRET_KEY": 409}  # errors that are made elsewhere


def status_of(error: RotaError) -> int:
    """The HTTP status an error is answered with."""
    usual = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return _STATUS_OF_CODE.get(error.code, usual)


def problem_of(error: RotaError, request_id: str) -> Problem:
    """An error as the record that API, CLI and pages show."""
    status = status_of(error)
    listed: list[dict[str, Any]] = []
    if isinstance(error, JobFileError):
        listed = [msgspec.to_builtins(msgspec.structs.asdict(problem)) for problem in error.problems]
    return Problem(
        type=f"urn:rota:error:{error.code.lower().replace('_', '-')}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=error.code,
        detail=error.detail,
        hint=error.hint,
        request_id=request_id,
        facts=_plain(error.facts),
        problems=listed,
    )


def problem_response(error: RotaError, request_id: str) -> Response:
    """The answer to a request that was not honoured."""
    problem = problem_of(error, request_id)
    headers: dict[str, str] = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="rota"'
    if problem.status == 503:
        headers["Retry-After"] = "1"
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, math.ceil(error.facts.get("after", 1))))
    if problem.status == 426:
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if isinstance(error, NoSuchMethod):
        headers["Allow"] = str(error.facts.get("allow", ""))
    return Response(msgspec.json.encode(problem), problem.status, headers, media_type=MEDIA_TYPE)


def internal_error(request_id: str) -> Response:
    """The answer when Rota itself went wrong; what happened is in the server's log under the request's id."""
    hint = "the server's log holds the cause under this request id"
    return problem_response(RotaError("an internal error; nothing more is known here", hint=hint), request_id)


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that JSON can say; others as text."""
    return {
        name: value if isinstance(value, str | int | float | bool | list | None) else str(value)
        for name, value in facts.items()
    }
