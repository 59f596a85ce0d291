"""Who asks: the value that every command takes and every audit entry names."""

from typing import Final

from rota.core.model import Value

SCOPES: Final = ("admin", "write", "read", "metrics")


class Actor(Value):
    """A person or program with the scopes of its credential; `token_id` is None for Rota's own acts."""

    name: str
    scopes: frozenset[str]
    token_id: str | None = None
    request_id: str | None = None
