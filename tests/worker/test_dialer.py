"""The dialer against real servers: TLS and what is wrong with it, joining, refusals in words, spreading."""

import asyncio
import contextlib
import os
import socket
import stat
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.certificates import Authority
from tests.server.api_installation import ADMIN
from tests.server.served_installation import Served, hello, open_served

from rota.core.errors import StoreUnavailable
from rota.server.web import TlsUnusable, tls_context
from rota.wire.channel import ChannelClosed
from rota.wire.messages import Heartbeat, HeartbeatAcknowledged, Welcome
from rota.worker.dialer import Dialer, DialSettings, FileUnusable, Unreachable
from rota.worker.session import WorkerRefused


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with open_served() as one:
        yield one


async def join_token(served: Served, uses: int = 1) -> str:
    return (await served.rota.services.access.create_token("fleet", ["join"], uses=uses, actor=ADMIN)).text


def dialer(folder: Path, *servers: str, join: str | None = None, **more: Any) -> Dialer:
    rng = more.pop("rng", None)
    settings = DialSettings(servers=servers, name="w1", state=folder / "state", join_token=join, **more)
    return Dialer(settings, version="1", rng=rng)


async def refused(folder: Path, *servers: str, **more: Any) -> WorkerRefused | Unreachable:
    """Why it does not come in."""
    async with dialer(folder, *servers, **more) as one:
        with pytest.raises((WorkerRefused, Unreachable)) as caught:
            await one.dial()
    return caught.value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_joins_once_and_comes_in_with_its_own_token(served: Served, tmp_path: Path) -> None:
    async with dialer(tmp_path, served.url, join=await join_token(served)) as one:
        channel = await one.dial()
        await channel.send(hello())
        assert isinstance(await channel.receive(), Welcome)
        kept = tmp_path / "state" / "worker-token"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert [entry.name for entry in kept.parent.iterdir()] == ["worker-token"]
        before = kept.read_text()
        await channel.close()
        again = await one.dial()
        await again.close()
    async with dialer(
        tmp_path, served.url, join="rota_spent"
    ) as later:  # it holds one: the join token is not looked at
        await (await later.dial()).close()
    assert kept.read_text() == before


async def test_without_any_token_it_says_what_to_do(served: Served, tmp_path: Path) -> None:
    error = await refused(tmp_path, served.url)
    assert "no join token was given" in error.detail
    assert "ROTA_JOIN_TOKEN" in (error.hint or "")
    assert not error.facts.get("again")


async def test_a_join_token_that_is_spent_or_wrong(served: Served, tmp_path: Path) -> None:
    spent = await join_token(served)
    await served.rota.services.enrolment.join(spent, "w9")
    for join, words in ((spent, "used up"), ("rota_wrong", "not valid"), (served.rota.tokens["admin"], "join")):
        error = await refused(tmp_path, served.url, join=join)
        assert isinstance(error, WorkerRefused)
        assert words in error.detail
        assert served.url in error.detail
        assert join not in error.detail + (error.hint or "")
        assert not error.facts["again"]
    assert not (tmp_path / "state").exists()


async def test_a_name_in_use_may_become_free(served: Served, tmp_path: Path) -> None:
    async with served.worker("w1"):
        error = await refused(tmp_path, served.url, join=await join_token(served))
    assert isinstance(error, WorkerRefused)
    assert error.facts["again"]
    assert "cannot be taken over" in error.detail


async def test_an_answer_to_joining_that_is_lost_costs_no_second_use(served: Served, tmp_path: Path) -> None:
    join = await join_token(served)
    async with Lossy(served.port).running() as lossy, dialer(tmp_path, lossy.url, join=join) as one:
        lossy.lose_answer = True
        with pytest.raises(Unreachable, match="without an answer"):
            await one.dial()
        assert any(token.worker == "w1" for token in await served.rota.services.access.tokens())
        lossy.lose_answer = False
        await (await one.dial()).close()


class Lossy:
    """A proxy that passes requests and, when told so, loses the answers."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.url = ""
        self.lose_answer = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Lossy"]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._target)
        copying = asyncio.create_task(self._copy(reader, away))
        if self.lose_answer:
            await there.read(65536)
        else:
            await self._copy(there, writer)
        copying.cancel()
        writer.transport.abort()
        away.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)


# ── the token's file ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("rota_x\n", 0o644, "can be read by others"),
        ("", 0o600, "holds no token"),
        ("\xff\x00", 0o600, "holds no token"),
    ],
)
async def test_a_token_file_that_cannot_be_used(
    served: Served, tmp_path: Path, content: str, mode: int, said: str
) -> None:
    kept = tmp_path / "state" / "worker-token"
    kept.parent.mkdir()
    kept.write_bytes(content.encode("latin-1"))
    kept.chmod(mode)
    error = await refused(tmp_path, served.url, join=await join_token(served))
    assert isinstance(error, FileUnusable)
    assert said in error.detail
    assert str(kept) in error.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
async def test_a_folder_that_cannot_be_written(served: Served, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    error = await refused(tmp_path, served.url, join=await join_token(served))
    assert "cannot be written" in error.detail


async def test_a_revoked_worker_is_told_so(served: Served, tmp_path: Path) -> None:
    async with dialer(tmp_path, served.url, join=await join_token(served)) as one:
        await (await one.dial()).close()
        await served.rota.services.enrolment.revoke("w1", actor=ADMIN)
        with pytest.raises(WorkerRefused, match="not valid here") as caught:
            await one.dial()
    assert not caught.value.facts["again"]
    assert "join again" in (caught.value.hint or "")


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_finds_the_server_that_answers_and_spreads(served: Served, tmp_path: Path) -> None:
    async with open_served() as other, dialer(tmp_path, served.url, join=await join_token(served)) as one:
        await (await one.dial()).close()
        token = (tmp_path / "state" / "worker-token").read_text().strip()
        record = await served.rota.services.access.holder(token)
        await other.rota.store.access.put_token(record)
        dead = f"http://127.0.0.1:{free_port()}"
        chosen: Counter[str] = Counter()
        async with dialer(tmp_path, dead, served.url, other.url, rng=Random(7)) as many:
            for _ in range(40):
                channel: Any = await many.dial()
                peer = channel._socket._transport.get_extra_info("peername")[1]
                chosen[{served.port: "first", other.port: "second"}[peer]] += 1
                await channel.close()
    assert chosen.total() == 40
    assert chosen["first"] > 5
    assert chosen["second"] > 5


async def test_it_looks_for_another_server_that_is_ready_and_goes_there(served: Served, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with dialer(tmp_path, dead, served.url, join=await join_token(served)) as one:
        await (await one.dial()).close()
        assert not await one.another_is_ready(), "there is none but the one it had"
        one._connected = dead
        for _ in range(5):
            assert await one.another_is_ready()
            assert one._in_some_order()[0] == served.url
        served.rota.store.leases.now = unavailable
        assert not await one.another_is_ready()


async def test_the_server_that_sent_it_away_is_dialled_last_once(served: Served, tmp_path: Path) -> None:
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    async with dialer(tmp_path, served.url, *dead, join=await join_token(served)) as one:
        await (await one.dial()).close()
        orders = []
        for _ in range(20):
            one.leave()
            orders.append(one._in_some_order())
        assert {order[-1] for order in orders} == {served.url}
        assert {order[0] for order in orders} == set(dead)
        assert served.url in {one._in_some_order()[0] for _ in range(40)}


async def unavailable() -> datetime:
    raise StoreUnavailable


async def test_without_a_server_it_says_why_for_each(tmp_path: Path, served: Served) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "worker-token").write_text("rota_x\n")
    (tmp_path / "state" / "worker-token").chmod(0o600)
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    error = await refused(tmp_path, *dead)
    assert isinstance(error, Unreachable)
    assert all(f"{url} cannot be reached" in error.detail for url in dead)
    refusal = await refused(tmp_path, *dead, served.url)  # one that answers says more than two that do not
    assert isinstance(refusal, WorkerRefused)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "not a Rota server"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not a Rota server"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "not a Rota server"),
        (b"SSH-2.0-OpenSSH\r\n", "not a Rota server"),
        (b"", "without an answer"),
        (
            b'HTTP/1.1 503 X\r\nContent-Type: application/problem+json\r\nContent-Length: 16\r\n\r\n{"detail":"abc"}',
            "abc",
        ),
        (
            b"HTTP/1.1 500 X\r\nContent-Type: application/problem+json\r\nContent-Length: 3\r\n\r\n[1]",
            "not a Rota server",
        ),
    ],
)
async def test_what_is_no_server_of_ours(tmp_path: Path, answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        error = await refused(tmp_path, f"http://127.0.0.1:{port}", join="rota_x")
    assert isinstance(error, Unreachable)
    assert said in error.detail


async def test_a_channel_lives_longer_than_any_time_limit_of_connecting(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rota.worker.dialer.ANSWER_SECONDS", 0.3)
    async with dialer(tmp_path, served.url, join=await join_token(served)) as one:
        channel = await one.dial()
        await channel.send(hello())
        assert isinstance(await channel.receive(), Welcome)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.receive(), 0.8)
        await channel.send(Heartbeat(sent=1.0))
        assert isinstance(await channel.receive(), HeartbeatAcknowledged)
        await channel.close()
        with pytest.raises(ChannelClosed):
            await channel.receive()


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_over_tls_with_an_authority_of_our_own(authority: Authority, tmp_path: Path) -> None:
    tls = tls_context(authority.issue("good", "127.0.0.1", "localhost"))
    async with open_served(tls=tls) as served:
        join = await join_token(served)
        for host in ("127.0.0.1", "localhost"):
            url = f"https://{host}:{served.port}"
            async with dialer(tmp_path, url, join=join, ca=authority.path) as one:
                channel = await one.dial()
                await channel.send(hello())
                assert isinstance(await channel.receive(), Welcome)
                await channel.send(Heartbeat(sent=1.0))
                assert isinstance(await channel.receive(), HeartbeatAcknowledged)
                await channel.close()


async def test_certificates_that_are_not_believed(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    cases = [
        (authority.issue("unknown", "127.0.0.1"), None, "unable to get local issuer certificate"),
        (stranger.issue("impostor", "127.0.0.1"), authority.path, "unable to get local issuer certificate"),
        (authority.issue("elsewhere", "rota.example.com"), authority.path, "IP address mismatch"),
        (authority.issue("old", "127.0.0.1", days=-1), authority.path, "certificate has expired"),
    ]
    for tls, ca, said in cases:
        async with open_served(tls=tls_context(tls)) as served:
            url = f"https://127.0.0.1:{served.port}"
            error = await refused(tmp_path, url, join="rota_x", ca=ca)
        assert isinstance(error, Unreachable)
        assert f"the certificate of {url} is not believed" in error.detail
        assert said in error.detail
        assert "--ca" in (error.hint or "")


async def test_tls_on_one_side_only_is_said_in_one_sentence(
    authority: Authority, tmp_path: Path, served: Served
) -> None:
    plain = await refused(tmp_path, f"https://127.0.0.1:{served.port}", join="rota_x", ca=authority.path)
    assert "does not speak TLS" in plain.detail
    assert "http://" in (plain.hint or "")
    async with open_served(tls=tls_context(authority.issue("good", "127.0.0.1"))) as secured:
        closed = await refused(tmp_path, f"http://127.0.0.1:{secured.port}", join="rota_x")
    assert "closed the connection without an answer" in closed.detail
    assert "write https://" in (closed.hint or "")


async def test_files_that_hold_no_certificates(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("good", "127.0.0.1")
    other = authority.issue("other", "127.0.0.1")
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(FileUnusable, match="holds no certificates"):
        dialer(tmp_path, "https://127.0.0.1", ca=tmp_path / "text")
    with pytest.raises(FileUnusable, match="holds no certificates"):
        dialer(tmp_path, "https://127.0.0.1", ca=tmp_path / "none")
    for certificate, key, said in (
        (good.certificate, other.key, "do not belong together"),
        (tmp_path / "text", good.key, "not PEM"),
        (tmp_path / "none", good.key, "no file"),
    ):
        with pytest.raises(TlsUnusable, match=said):
            tls_context(type(good)(certificate=certificate, key=key))
