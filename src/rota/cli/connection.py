"""The options that name a server, and the connection they make. Only verbs that need a server import this."""

import os
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Group, Parameter
from msgspec.structs import replace

from rota import __version__
from rota.client.client import BlockingClient
from rota.client.discovery import Target, discover

_SERVER = Group("Server", sort_key=9)


@Parameter(name="*", group=_SERVER)
@dataclass(frozen=True, kw_only=True)
class Server:
    """Which server; by default that of the nearest .rota."""

    url: str | None = None
    """Address of the server (ROTA_URL)."""
    token: str | None = None
    """Token (ROTA_TOKEN)."""
    data: Path | None = None
    """Data folder that tells both (ROTA_DATA)."""
    ca: Path | None = None
    """Certificates (PEM) that are believed of it, and no others (ROTA_CA)."""

    def target(self) -> Target:
        """The server that is meant."""
        found = discover(url=self.url, token=self.token, data=self.data, environment=os.environ, folder=Path.cwd())
        ca = self.ca or (Path(os.environ["ROTA_CA"]) if os.environ.get("ROTA_CA") else None)
        return replace(found, ca=ca)

    def connect(self) -> BlockingClient:
        """A client of the server that is meant."""
        return BlockingClient(self.target(), version=__version__)
