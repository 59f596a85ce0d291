"""The root of Rota's errors.

Each error class carries its facts as attributes; its docstring is the message a person reads first.
"""

from typing import Any, ClassVar


class RotaError(Exception):
    """Something Rota was asked to do cannot be done."""

    code: ClassVar[str] = "ERROR"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", *, hint: str | None = None, **facts: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.hint = hint
        self.facts = facts
        super().__init__(self.detail)


class NotFound(RotaError):
    """There is no such thing."""

    code = "NOT_FOUND"


class Conflict(RotaError):
    """The thing has changed since it was read, or already exists."""

    code = "CONFLICT"


class Invalid(RotaError):
    """The request cannot be honoured as it stands."""

    code = "INVALID"


class TooLarge(RotaError):
    """The request is larger than the limit."""

    code = "TOO_LARGE"


class NotAuthenticated(RotaError):
    """No valid credential came with the request."""

    code = "NOT_AUTHENTICATED"


class NotAllowed(RotaError):
    """The credential does not allow this."""

    code = "NOT_ALLOWED"


class StoreUnavailable(RotaError):
    """The store cannot be reached or refuses to write; what was asked is done whole, or not at all."""

    code = "STORE_UNAVAILABLE"
    retryable = True


class StoreUnusable(RotaError):
    """The store cannot be used as it is: damaged, not Rota's, or of a newer version."""

    code = "STORE_UNUSABLE"


class Fenced(RotaError):
    """A newer owner has taken over; this write was refused."""

    code = "FENCED"


class IllegalTransition(RotaError):
    """A run in this state cannot take this event."""

    code = "ILLEGAL_TRANSITION"
