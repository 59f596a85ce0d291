"""Hints between servers: told to the others soon, gathered, and missed without harm."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from postgres_values import raw
from tests.postgres.between import Way
from tests.postgres.cluster import binaries
from tests.postgres.clusters import NEWEST, Clusters

from rota.stores.postgres.connection import Connector
from rota.stores.postgres.signals import CHANNEL, LONGEST_PAYLOAD, PostgresSignals, payload_of

HELLO = "hello"  # said until it is heard


@pytest.fixture(params=tuple(binaries()))
def kind(request: pytest.FixtureRequest) -> str:
    """Which PostgreSQL."""
    found: str = request.param
    return found


@pytest.fixture
def url(database: str | None) -> str:
    """Where a prepared database is."""
    assert database is not None
    return database


class Ear:
    """What one server heard."""

    def __init__(self, signals: PostgresSignals) -> None:
        self.heard: list[list[str]] = []
        self._came = asyncio.Event()
        signals.subscribe(self._hear)

    def _hear(self, topics: Sequence[str]) -> None:
        if HELLO not in topics:
            self.heard.append(list(topics))
        self._came.set()

    async def topics(self, count: int) -> list[str]:
        """All topics heard, once there are so many of them."""
        async with asyncio.timeout(10):
            while len(found := [topic for topics in self.heard for topic in topics]) < count:
                self._came.clear()
                await self._came.wait()
        return found

    async def missed(self, times: int = 1) -> None:
        """Return once it was said so often that something may have been missed."""
        async with asyncio.timeout(15):
            while self.heard.count([]) < times:
                self._came.clear()
                await self._came.wait()


async def listening(url: str) -> PostgresSignals:
    """Signals of one server; returns once it listens."""
    signals = PostgresSignals(Connector(url, "test"))
    signals.start()
    heard = asyncio.Event()
    signals.subscribe(lambda topics: heard.set())
    async with raw(url) as connection, asyncio.timeout(10):
        while not heard.is_set():
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload_of([HELLO]))
            await asyncio.sleep(0)
    return signals


@pytest.fixture
async def pair(url: str) -> AsyncIterator[tuple[PostgresSignals, PostgresSignals]]:
    """Signals of two servers."""
    one, two = await listening(url), await listening(url)
    yield one, two
    await one.close()
    await two.close()


async def test_others_hear_what_is_published_and_oneself_does_not(
    pair: tuple[PostgresSignals, PostgresSignals],
) -> None:
    one, two = pair
    mine, theirs = Ear(one), Ear(two)
    one.publish(["jobs", "runs"])
    assert sorted(await theirs.topics(2)) == ["jobs", "runs"]
    two.publish(["shards"])
    assert await mine.topics(1) == ["shards"]
    assert mine.heard == [["shards"]]


async def test_topics_are_gathered(pair: tuple[PostgresSignals, PostgresSignals]) -> None:
    one, two = pair
    ear = Ear(two)
    started = asyncio.get_running_loop().time()
    for number in range(400):
        one.publish([f"run:{number}", "runs"])
        await asyncio.sleep(0)
    assert set(await ear.topics(401)) == {"runs", *(f"run:{number}" for number in range(400))}
    seconds = asyncio.get_running_loop().time() - started
    assert len(ear.heard) <= 2 + 20 * seconds


async def test_what_does_not_fit_is_said_to_be_missed(pair: tuple[PostgresSignals, PostgresSignals]) -> None:
    one, two = pair
    ear = Ear(two)
    one.publish([f"run:{number:040}" for number in range(1000)])
    await ear.missed()
    one.publish(["small"])
    assert await ear.topics(1) == ["small"]


def test_the_longest_payload_is_one_the_database_takes(clusters: Clusters) -> None:
    full = payload_of(["x" * (LONGEST_PAYLOAD - len('[""]'))])
    assert len(full) == LONGEST_PAYLOAD
    clusters[NEWEST].execute(f"SELECT pg_notify('test', '{full}')")
    assert payload_of(["x" * LONGEST_PAYLOAD]) == "[]"
    assert msgspec.json.decode(payload_of(["ü" * 3000])) == ["ü" * 3000]
    assert payload_of(["ü" * 4000]) == "[]"


async def test_words_of_others_on_the_channel_are_taken_for_something(
    url: str, pair: tuple[PostgresSignals, PostgresSignals]
) -> None:
    one, _ = pair
    ear = Ear(one)
    async with raw(url) as connection:
        await connection.execute("SELECT pg_notify($1, 'not what we write')", CHANNEL)
    await ear.missed()


async def test_a_lost_connection_is_made_anew_and_listeners_are_told(url: str) -> None:
    async with Way(url) as way:
        signals, other = await listening(way.url), await listening(url)
        ear = Ear(signals)
        for time in (1, 2):
            way.cut()
            await ear.missed(time)
        other.publish(["after"])
        assert await ear.topics(1) == ["after"]
        signals.publish(["back"])
        assert await Ear(other).topics(1) == ["back"]
        await signals.close()
        await other.close()


async def test_publishing_without_a_database_harms_nobody() -> None:
    signals = PostgresSignals(Connector("postgresql://rota@127.0.0.1:1/none", "test"))
    signals.start()
    for number in range(1000):
        signals.publish([f"{number}"])
        await asyncio.sleep(0)
    await signals.close()
