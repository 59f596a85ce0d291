"""What a route is: path, method, permission, parameters, body and answer, declared in one place.

The gate enforces exactly what is declared here, and the OpenAPI document is made from it, so neither can forget a
route or disagree with the other.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, dataclass_transform

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rota.core.actor import Actor
from rota.server.api.services import ApiServices

PREFIX: Final = "/api/v1"
BODY_LIMIT: Final = 1024 * 1024
BATCH_LIMIT: Final = 32 * 1024 * 1024
PERMISSIONS: Final = ("public", "read", "write", "admin", "metrics", "worker", "join")


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a route takes from its path and query."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a route reads from its body; unknown keys are refused."""


class NoParameters(Parameters):
    """Nothing."""


class NoBody(Body):
    """Nothing."""


P = TypeVar("P", bound=Parameters)
B = TypeVar("B")


@dataclass(frozen=True)
class Call(Generic[P, B]):
    """One authorised request with its checked input."""

    request: Request
    services: ApiServices
    actor: Actor
    parameters: P
    body: B
    request_id: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a handler answers: a value to encode, or a finished response (`raw`)."""

    value: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: Response | None = None


@dataclass(frozen=True, kw_only=True)
class Route(Generic[P, B]):
    """One thing the API can do.

    `answer` is the type of the JSON answer, or None with `media_type` naming what comes instead. `reads` are the
    media types of the body; JSON is decoded into `body`, anything else is given to the handler as bytes.
    """

    method: str
    path: str
    permission: str
    summary: str
    handler: Callable[[Call[P, B]], Awaitable[Answer]]
    parameters: type[P]
    body: type[B]
    answer: Any = None
    status: int = 200
    media_type: str = "application/json"
    reads: tuple[str, ...] = ("application/json",)
    body_required: bool = True
    body_limit: int = BODY_LIMIT
    errors: tuple[int, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)  # name → what it does, for the documentation
    is_websocket: bool = False  # then the handler only answers requests that do not ask for an upgrade
    remembered: bool = True  # whether an Idempotency-Key keeps the answer; not where it holds a credential

    @property
    def has_body(self) -> bool:
        """Whether the route reads a body."""
        return self.body is not NoBody

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of the path's variable parts."""
        return tuple(
            part[1:-1].partition(":")[0] for part in _parts(self.path) if part.startswith("{") and part.endswith("}")
        )

    @property
    def plain_path(self) -> str:
        """The path as OpenAPI writes it, without converters."""
        return "/".join(
            "{" + part[1:-1].partition(":")[0] + "}" if part.startswith("{") else part for part in self.path.split("/")
        )


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
