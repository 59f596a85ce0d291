"""The address of the store. It may hold a password, which is revealed to the store alone."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from rota.settings.readers import Wrong

VARIABLE: Final = "ROTA_DATABASE"
SCHEMES: Final = ("postgresql", "sqlite")
_EXAMPLES: Final = "postgresql://USER@HOST/NAME, or sqlite:///PATH"
_NOT_SHOWN: Final = "(it is not shown: it may hold a password)"


class DatabaseUrl:
    """`postgresql://…` or `sqlite:///PATH`; whoever prints it sees no password."""

    __slots__ = ("_text", "scheme", "shown")

    def __init__(self, text: str) -> None:
        """Raises Wrong, which does not repeat the text."""
        self._text = text
        scheme, separator, rest = text.partition("://")
        self.scheme = "postgresql" if scheme == "postgres" else scheme
        if not separator or self.scheme not in SCHEMES or not text.isprintable():
            raise Wrong(f"this is not the address of a database {_NOT_SHOWN}", hint=f"write {_EXAMPLES}")
        self.shown = self._shown_sqlite(rest) if self.scheme == "sqlite" else self._shown_server(text)

    def reveal(self) -> str:
        """The whole address, for the store that is opened with it."""
        return self._text

    @property
    def path(self) -> Path:
        """The file of `sqlite:///PATH`: relative as it stands, absolute with a fourth slash."""
        return Path(unquote(self._text.removeprefix("sqlite:///")))

    @property
    def has_password(self) -> bool:
        """Whether the address itself opens the database."""
        return self.scheme != "sqlite" and bool(re.search(r"://[^/@]*:[^/@]+@|[?&][a-z_]*pass[a-z]*=", self._text))

    def __repr__(self) -> str:
        return self.shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseUrl) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def _shown_sqlite(self, rest: str) -> str:
        if not rest.startswith("/") or not rest.strip("/"):
            raise Wrong("sqlite has no server", hint="write sqlite:///PATH, or sqlite:////ABSOLUTE/PATH")
        return f"sqlite, {self.path}"

    def _shown_server(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            hosts, user = parts.netloc.rpartition("@")[2], parts.username
        except ValueError as error:
            raise Wrong(f"the address cannot be read {_NOT_SHOWN}", hint=f"write {_EXAMPLES}") from error
        return f"postgresql://{f'{user}@' if user else ''}{hosts}{parts.path}"


def database_url(value: Any) -> DatabaseUrl:
    """The address of the store, from a setting."""
    if not isinstance(value, str) or not value.strip():
        raise Wrong("this is not a text", hint=f"write {_EXAMPLES}")
    return DatabaseUrl(value.strip())


def find_database(flag: str | None, environment: Mapping[str, str]) -> DatabaseUrl | None:
    """The store that a command is to open itself: that of the flag, else that of ROTA_DATABASE."""
    text = flag or environment.get(VARIABLE)
    return database_url(text) if text else None
