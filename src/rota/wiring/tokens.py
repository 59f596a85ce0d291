"""`rota token create --database`: a token made straight in the store, before there is any server or any other token."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from rota.core.actor import Actor
from rota.server.access import AccessControl, NewToken
from rota.settings.database import DatabaseUrl
from rota.wiring.stores import open_store

_SETUP = Actor(name="setup", scopes=frozenset({"admin"}))


def create_token(
    url: DatabaseUrl,
    name: str,
    scopes: Sequence[str],
    *,
    expires: datetime | None = None,
    uses: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> NewToken:
    """Make a token in the store, preparing an empty one."""

    async def create() -> NewToken:
        async with open_store(url) as opened:
            access = AccessControl(opened.store.access, opened.clock)
            return await access.create_token(name, scopes, expires=expires, uses=uses, labels=labels, actor=_SETUP)

    return asyncio.run(create())
