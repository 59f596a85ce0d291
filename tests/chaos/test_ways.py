"""The ways between processes do what they are told: delay, silence, cuts, lost answers, disorder."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from random import Random

import asyncpg
import pytest
from tests.chaos.frames import Disorder, FrameWay
from tests.chaos.statements import StatementWay
from tests.chaos.ways import ScriptedWay, Ways
from tests.postgres.clusters import Clusters

HEAD = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
def ways() -> Iterator[Ways]:
    with Ways() as running:
        yield running


@pytest.fixture
def echo() -> Iterator[str]:
    """Where whatever is sent comes back."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
        connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                opened.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    for connection in opened:
        connection.close()


def dial(way: ScriptedWay) -> socket.socket:
    """A connection by this way."""
    connection = socket.create_connection(("127.0.0.1", int(way.url.rpartition(":")[2])), timeout=5)
    connection.settimeout(5)
    return connection


def heard(connection: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"it ended after {data!r}"
        data += piece
    return data


def is_silent(connection: socket.socket) -> bool:
    """Whether nothing comes for a while."""
    connection.settimeout(0.3)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def test_bytes_pass_both_ways_and_wait_as_long_as_they_are_told(ways: Ways, echo: str) -> None:
    way = ways.add(lambda: ScriptedWay(echo))
    with dial(way) as connection:
        connection.sendall(b"one")
        assert heard(connection, 3) == b"one"
        ways.do(lambda: setattr(way.back, "delay", 0.4))
        began = time.monotonic()
        connection.sendall(b"two")
        assert heard(connection, 3) == b"two"
        assert time.monotonic() - began >= 0.4
    assert (way.toward.passed, way.back.passed) == (6, 6)


@pytest.mark.parametrize("name", ["toward", "back"])
def test_a_silent_direction_keeps_what_it_is_given(ways: Ways, echo: str, name: str) -> None:
    way = ways.add(lambda: ScriptedWay(echo))
    with dial(way) as connection:
        connection.sendall(b"one")
        assert heard(connection, 3) == b"one"
        ways.do(getattr(way, name).freeze)
        connection.sendall(b"two")
        assert is_silent(connection)
        ways.do(way.thaw)
        assert heard(connection, 3) == b"two"


def test_a_cut_is_told_and_a_closed_way_lets_nobody_in(ways: Ways, echo: str) -> None:
    way = ways.add(lambda: ScriptedWay(echo))
    with dial(way) as connection:
        connection.sendall(b"one")
        assert heard(connection, 3) == b"one"
        ways.do(way.cut)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    ways.do(lambda: setattr(way, "closed", True))
    with dial(way) as connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_lost_when_its_statement_is_committed(ways: Ways, clusters: Clusters) -> None:
    async def use(url: str, direct: str) -> tuple[list[int], bool]:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE seen (number integer)")
        await connection.execute(
            "CREATE FUNCTION rota_note_1(p integer) RETURNS void LANGUAGE sql AS 'INSERT INTO seen VALUES (p)'"
        )
        await connection.fetch("SELECT rota_note_1($1)", 1)
        way.loses = lambda verb: verb == "note"
        lost = False
        try:
            await connection.fetch("SELECT rota_note_1($1)", 2)
        except (asyncpg.PostgresConnectionError, ConnectionError):
            lost = True
        connection.terminate()
        other = await asyncpg.connect(direct)
        rows = await other.fetch("SELECT number FROM seen ORDER BY number")
        await other.close()
        return [row["number"] for row in rows], lost

    with clusters.database() as url:
        way = ways.add(lambda: StatementWay(url))
        assert asyncio.run(use(way.url, url)) == ([1, 2], True)
        assert (way.begun["note"], way.lost["note"]) == (2, 1)


def test_a_statement_is_held_until_it_is_let_go(ways: Ways, clusters: Clusters) -> None:
    async def use(url: str) -> tuple[bool, object]:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "CREATE FUNCTION rota_nothing_1(p integer) RETURNS integer LANGUAGE sql AS 'SELECT NULL::integer'"
        )
        way.hold_back("nothing")
        asking = asyncio.create_task(connection.fetchval("SELECT rota_nothing_1($1)", 1))
        done, _ = await asyncio.wait([asking], timeout=0.3)
        ways.do(way.let_go)
        answer = await asking
        await connection.close()
        return bool(done), answer

    with clusters.database() as url:
        way = ways.add(lambda: StatementWay(url))
        assert asyncio.run(use(way.url)) == (False, None)
        assert way.answered_nothing["nothing"] == 1


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────


def frame(text: bytes) -> bytes:
    """An unmasked WebSocket message."""
    return bytes([0x82, len(text)]) + text


def sent(ways: Ways, echo: str, disorder: Disorder, *texts: bytes) -> bytes:
    """What comes back when these messages are sent on a way with disorder in one direction."""
    way = ways.add(lambda: FrameWay(echo, Random(1)))
    with dial(way) as connection:
        connection.sendall(HEAD + frame(b"hello"))
        assert heard(connection, len(HEAD) + 7) == HEAD + frame(b"hello")
        ways.do(lambda: setattr(way, "disorder", disorder))
        way.old["back"].clear()
        for text in texts:
            connection.sendall(frame(text))
        connection.sendall(bytes([0x89, 0]))  # a ping ends it: control frames are left alone
        data = b""
        while not data.endswith(bytes([0x89, 0])):
            data += heard(connection, 1)
        return data[:-2]


def test_messages_are_left_as_they_are_without_disorder(ways: Ways, echo: str) -> None:
    long = b"x" * 120
    assert sent(ways, echo, Disorder(), b"a", long) == frame(b"a") + frame(long)


def test_messages_are_repeated_in_both_directions(ways: Ways, echo: str) -> None:
    assert sent(ways, echo, Disorder(repeats=1.0), b"a") == frame(b"a") * 4


def test_messages_change_places(ways: Ways, echo: str) -> None:
    told = sent(ways, echo, Disorder(swaps=1.0), b"a", b"b", b"c", b"d")
    assert told == frame(b"a") + frame(b"b") + frame(b"c") + frame(b"d"), "swapped on the way there, and back again"


def test_old_messages_come_again(ways: Ways, echo: str) -> None:
    told = sent(ways, echo, Disorder(replays=1.0), b"a", b"b")
    assert told.count(b"a") + told.count(b"b") == 8
