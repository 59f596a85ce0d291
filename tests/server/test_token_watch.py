"""What is open in a token's name ends with the token: sessions and streams, by one look for all."""

import asyncio
from datetime import timedelta

import aiohttp
import pytest
from tests.server.api_installation import ADMIN, Installation, open_installation
from tests.server.served_installation import open_served

from rota.core.errors import StoreUnavailable
from rota.server.access import AccessControl
from rota.server.token_watch import IDLE, LOOK, TokenWatch
from rota.store.access import TokenRecord


@pytest.fixture
async def rota():
    async with open_installation() as one:
        yield one


async def token(rota: Installation, **more: object) -> TokenRecord:
    return (await rota.services.access.create_token("x", ["read"], actor=ADMIN, **more)).record  # type: ignore[arg-type]


async def test_it_ends_what_has_ended_and_nothing_else(rota: Installation) -> None:
    watch, ended = rota.services.watch, list[str]()
    lasting, revoked = await token(rota), await token(rota)
    expiring = await token(rota, expires=rota.clock.now() + timedelta(minutes=1))
    assert await watch.tick() == IDLE  # nothing is open: nothing is asked
    with (
        watch.hold(lasting.id, lambda: ended.append("lasting")),
        watch.hold(revoked.id, lambda: ended.append("revoked")),
        watch.hold(revoked.id, lambda: ended.append("revoked again")),
        watch.hold(expiring.id, lambda: ended.append("expiring")),
        watch.hold("nothing", lambda: ended.append("nothing")),
    ):
        assert await watch.tick() == LOOK
        assert ended == ["nothing"]
        ended.clear()
        await AccessControl(rota.store.access, rota.clock).revoke_token(revoked.id, actor=ADMIN)  # at another server
        rota.clock.advance(minutes=2)
        await watch.tick()
        assert ended == ["revoked", "revoked again", "expiring", "nothing"]
    ended.clear()
    assert await watch.tick() == IDLE
    assert ended == []


async def test_while_the_store_is_away_what_is_open_stays_open(
    rota: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(ids: object) -> dict[str, TokenRecord]:
        raise StoreUnavailable

    monkeypatch.setattr(rota.store.access, "get_tokens", away)
    watch, ended = TokenWatch(rota.services.access, rota.events.append), list[str]()
    with watch.hold("t", lambda: ended.append("t")):
        assert await watch.tick() == LOOK
    assert ended == []


async def test_a_live_stream_ends_within_five_seconds() -> None:
    async with open_served() as served, aiohttp.ClientSession() as session:
        made = await served.rota.services.access.create_token("x", ["read"], actor=ADMIN)
        headers = {"Authorization": f"Bearer {made.text}"}
        url = f"{served.url}/api/v1/stream?topics=jobs"
        async with session.get(url, headers=headers) as stream:
            assert stream.status == 200
            assert b"hello" in await stream.content.readuntil(b"hello")
            await served.rota.services.access.revoke_token(made.record.id, actor=ADMIN)
            async with asyncio.timeout(5):
                await stream.content.read()
        async with session.get(url, headers=headers) as again:
            assert again.status == 401


async def test_streams_of_one_token_are_so_many() -> None:
    async with open_served(streams_each=3) as served, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {served.rota.tokens['read']}"}
        url = f"{served.url}/api/v1/stream?topics=jobs"
        streams = [await session.get(url, headers=headers) for _ in range(3)]
        assert [stream.status for stream in streams] == [200] * 3
        refused = await session.get(url, headers=headers)
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "5"
        assert "3 for one token" in (await refused.json(content_type=None))["hint"]
        streams[0].close()
        async with asyncio.timeout(10):
            while (again := await session.get(url, headers=headers)).status != 200:
                again.close()
        for stream in (*streams, refused, again):
            stream.close()
