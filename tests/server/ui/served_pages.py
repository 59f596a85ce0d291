"""The pages of an installation on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from api_installation import Installation

from rota.server.web import serve


@dataclass(frozen=True)
class ServedPages:
    """Where the pages are."""

    url: str
    rota: Installation

    async def login_link(self, path: str) -> str:
        """A one-use link that signs a browser in and leads to `path`."""
        admin = next(token for token in await self.rota.services.access.tokens() if token.name == "admin")
        code = await self.rota.services.access.create_login_code(admin.id)
        return f"{self.url}/login?code={code}&next={path}"


@contextlib.asynccontextmanager
async def serve_pages(rota: Installation) -> AsyncIterator[ServedPages]:
    """Serve until the block ends."""
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(rota.app, "127.0.0.1", 0, stop=stop, bound=bound.set_result))
    try:
        yield ServedPages(url=f"http://127.0.0.1:{await bound}", rota=rota)
    finally:
        rota.services.hints.close()
        stop.set()
        await task
