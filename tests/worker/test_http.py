"""HTTP attempts against servers on this machine, well-behaved and not."""

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from tests.worker.fake_server import FakeServer
from tests.worker.shortages import no_descriptors

from rota.core.model import HttpExpect, HttpTask
from rota.wire.messages import Cancel, Returned


class Site:
    """A small web site; `seen` holds the requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0
        self.on_request = lambda: None

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.path_qs, dict(request.headers), body))
        self.on_request()
        name, _, rest = request.path.strip("/").partition("/")
        return await getattr(self, f"do_{name or 'home'}")(request, rest)

    async def do_home(self, request, rest):
        return web.Response(text="hello world")

    async def do_status(self, request, rest):
        return web.Response(status=int(rest), text="as asked")

    async def do_json(self, request, rest):
        return web.json_response({"ok": True, "rates": {"EUR": 1.08}, "items": [{"n": 3}]})

    async def do_to(self, request, rest):
        return web.Response(status=int(request.query.get("code", "302")), headers={"Location": request.query["url"]})

    async def do_loop(self, request, rest):
        raise web.HTTPFound("/loop")

    async def do_bomb(self, request, rest):
        body = gzip.compress(b"\0" * 50_000_000)
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async def do_zipped(self, request, rest):
        body = gzip.compress(b"zipped text " * 1000)
        cut = body[:-20] if rest == "cut" else body
        return web.Response(body=cut, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async def do_endless(self, request, rest):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (ConnectionError, OSError):
            pass
        return response

    async def do_binary(self, request, rest):
        return web.Response(body=b"\0\1\2" * 100)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def strict(settings, tmp_path) -> AsyncIterator[FakeServer]:
    """A worker that may not reach private networks."""
    fake = FakeServer(replace(settings, private_networks_allowed=False, state=tmp_path / "strict"))
    await fake.until(lambda: fake.hello)
    yield fake
    await fake.close()


def get(url: str, **facts) -> HttpTask:
    return HttpTask(method="GET", url=url, **facts)


async def raw_server(answer) -> tuple[asyncio.Server, int]:
    """A server that does `answer(reader, writer)` with each connection."""

    async def serve(reader, writer):
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_a_fetch_succeeds_with_its_answer_in_the_log(server, site):
    order = server.order(get(site.url("/?day=${due.date}")), params={"x": "1"})
    await server.assign(order)
    finished = await server.finished(order)
    assert (finished.outcome, finished.exit, finished.wrote_output) == ("succeeded", 200, True)
    assert server.text(order) == "hello world\n"
    assert "→ 200 OK" in server.text(order, 2)
    method, path, headers, _ = site.seen[0]
    assert (method, path) == ("GET", "/?day=2026-11-23")
    assert headers["Rota-Run"] == headers["Idempotency-Key"] == order.run_id
    assert (headers["Rota-Job"], headers["Rota-Due"]) == ("test/job", "2026-11-23T03:00:00Z")
    assert (headers["Rota-Attempt"], headers["Rota-Fence"]) == ("1", str(order.fence))


async def test_a_json_body_is_filled_and_escaped(server, site):
    task = HttpTask(method="post", url=site.url(), body='{"name": "${params.name}"}', headers={"X-Key": "${secret.K}"})
    order = server.order(task, params={"name": 'a "quoted"\nname'}, secrets={"K": "geheim-wert"})
    await server.assign(order)
    assert (await server.finished(order)).outcome == "succeeded"
    method, _, headers, body = site.seen[0]
    assert (method, headers["X-Key"], headers["Content-Type"]) == ("POST", "geheim-wert", "application/json")
    assert json.loads(body) == {"name": 'a "quoted"\nname'}


async def test_secrets_in_the_url_are_masked_in_the_log(server, site):
    order = server.order(get(site.url("/?token=${secret.T}")), secrets={"T": "s3cr&t/value"})
    await server.assign(order)
    await server.finished(order)
    assert "s3cr" not in server.text(order, 0, 1, 2)
    assert "•••(T)" in server.text(order, 2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, "http-4xx"), (429, "http-429"), (503, "http-5xx"), (204, None), (304, "http-status")],
)
async def test_a_status_is_judged(server, site, status, kind):
    finished, _ = await server.run(get(site.url(f"/status/{status}")))
    assert (finished.failure, finished.exit) == (kind, status)
    if kind:
        assert f"answered {status}" in finished.error


async def test_expectations_about_the_answer(server, site):
    expect = HttpExpect(
        json=("$.ok == true", "$.rates.EUR exists", "$.items[0].n >= 3"), headers={"Content-Type": "json"}
    )
    assert (await server.run(get(site.url("/json"), expect=expect)))[0].outcome == "succeeded"
    finished, _ = await server.run(get(site.url("/json"), expect=HttpExpect(json=("$.rates.USD exists",))))
    assert (finished.failure, "$.rates.USD" in finished.error) == ("expect", True)
    finished, _ = await server.run(get(site.url(), expect=HttpExpect(body="goodbye")))
    assert (finished.failure, "hello world" in finished.error) == ("expect", True)
    finished, _ = await server.run(get(site.url(), expect=HttpExpect(max_body=5)))
    assert (finished.failure, "max_body" in finished.error) == ("expect", True)


async def test_redirects_are_followed_up_to_the_limit(server, site):
    finished, text = await server.run(get(site.url("/to?url=/")))
    assert (finished.outcome, text) == ("succeeded", "hello world\n")
    finished, _ = await server.run(get(site.url("/loop"), follow_redirects=3))
    assert (finished.failure, "more than 3 redirects" in finished.error) == ("http-status", True)
    finished, _ = await server.run(get(site.url("/to?url=/"), follow_redirects=0, expect=HttpExpect(status=("302",))))
    assert finished.outcome == "succeeded"


async def test_credentials_do_not_go_to_another_host(server, site):
    headers = {"Authorization": "Bearer ${secret.T}", "Cookie": "a=b", "X-Api-Key": "${secret.T}", "X-Plain": "yes"}
    task = get(site.url(f"/to?url={site.url('/', host='localhost')}"), headers=headers)
    await server.run(task, secrets={"T": "geheim-wert"})
    _, _, first, _ = site.seen[0]
    _, _, second, _ = site.seen[1]
    assert (first["Authorization"], first["X-Api-Key"]) == ("Bearer geheim-wert", "geheim-wert")
    assert not {"Authorization", "Cookie", "X-Api-Key"} & set(second)
    assert second["X-Plain"] == "yes"


async def test_a_body_with_secrets_is_not_resent_to_another_host(server, site):
    url = site.url(f"/to?code=307&url={site.url('/', host='localhost')}")
    finished, _ = await server.run(HttpTask(method="POST", url=url, body="${secret.T}"), secrets={"T": "geheim-wert"})
    assert (finished.failure, len(site.seen)) == ("policy", 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user:pass@127.0.0.1/",
        "http:///nothing",
        "http://127.0.0.1/\r\nX-Evil: 1",
    ],
)
async def test_some_targets_are_refused_everywhere(server, url):
    finished, _ = await server.run(get(url))
    assert (finished.outcome, finished.failure) == ("failed", "policy")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "[::1]", "0.0.0.0", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]",
     "[::ffff:10.0.0.1]", "10.0.0.1", "192.168.1.1", "100.64.0.1"],
)  # fmt: skip
async def test_a_worker_without_private_networks_refuses_them_in_any_writing(strict, site, host):
    finished, _ = await strict.run(get(site.url(host=host)), timeout=5)
    unknown = host == "localhost." and finished.failure == "connect"  # not every resolver knows it
    assert unknown or finished.failure == "policy"
    assert site.seen == []


async def test_a_line_break_in_a_header_is_refused(server, site):
    task = get(site.url(), headers={"X-A": "${params.v}"})
    finished, _ = await server.run(task, params={"v": "x\r\nX-Evil: 1"})
    assert (finished.failure, site.seen) == ("policy", [])


async def test_a_redirect_to_a_refused_address_is_not_followed(server, site):
    finished, _ = await server.run(get(site.url("/to?url=http://169.254.169.254/")))
    assert (finished.failure, "169.254.169.254" in finished.error) == ("policy", True)
    finished, _ = await server.run(get(site.url("/to?url=file:///etc/passwd")))
    assert finished.failure == "policy"


class _Rebinding(AbstractResolver):
    """A name service that says something innocent first and something private when asked again."""

    def __init__(self, port: int) -> None:
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        address = "127.0.0.1" if self.asked == 1 else "169.254.169.254"
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self):
        pass


async def test_a_name_that_changes_its_mind_is_refused_when_dialled(server, site):
    resolver = _Rebinding(site.port)
    server.agent._executors.of["http"]._resolver = resolver
    task = HttpTask(method="POST", url=site.url(host="innocent.example"))  # POST: a new connection each time
    assert (await server.run(task))[0].outcome == "succeeded"
    finished, _ = await server.run(task)
    assert (finished.failure, resolver.asked, len(site.seen)) == ("policy", 2, 1)


async def test_bombs_and_endless_bodies_cost_little(server, site):
    finished, _ = await server.run(get(site.url("/bomb")))
    assert finished.outcome == "succeeded"  # only its beginning is even decompressed
    finished, _ = await server.run(get(site.url("/bomb"), expect=HttpExpect(max_body=1000)))
    assert finished.failure == "expect"
    finished, _ = await server.run(get(site.url("/bomb"), expect=HttpExpect(body="needle")))
    assert (finished.failure, "10 MiB" in finished.error) == ("expect", True)
    finished, _ = await server.run(get(site.url("/endless")), timeout=0.5)
    assert finished.outcome == "timed-out"
    assert (finished.finished - finished.started).total_seconds() < 2.5


async def test_compressed_bodies_are_read(server, site):
    finished, text = await server.run(get(site.url("/zipped"), expect=HttpExpect(body="zipped text")))
    assert (finished.outcome, text.count("zipped text")) == ("succeeded", 1000)
    finished, _ = await server.run(get(site.url("/zipped/cut")))
    assert finished.failure == "protocol"


async def test_a_binary_body_is_not_shown(server, site):
    order = server.order(get(site.url("/binary")))
    await server.assign(order)
    await server.finished(order)
    assert (server.text(order), "binary body of 300 bytes" in server.text(order, 2)) == ("", True)


async def test_servers_that_hang_or_break_off(server):
    async def silent(reader, writer):
        while await reader.read(1000):
            pass

    async def slow(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"s")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def rubbish(reader, writer):
        await reader.readline()
        writer.write(b"what do you want\r\n\r\n")
        await writer.drain()

    async def cut(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async def closing(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    wanted = [(silent, "timeout"), (slow, "timeout"), (rubbish, "protocol"), (cut, "protocol"), (closing, "protocol")]
    for answer, kind in wanted:
        bad, port = await raw_server(answer)
        try:
            finished, _ = await server.run(get(f"http://127.0.0.1:{port}/"), timeout=0.4)
            assert (answer.__name__, finished.failure) == (answer.__name__, kind)
        finally:
            bad.close()


async def test_what_cannot_be_connected_to(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        finished, _ = await server.run(get(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert (finished.failure, "127.0.0.1" in finished.error) == ("connect", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_attempt_that_could_not_even_connect_for_want_of_descriptors_goes_back(server, site, host):
    task = HttpTask(method="POST", url=site.url(host=host))  # POST: a new connection each time
    assert (await server.run(task))[0].outcome == "succeeded"
    order = server.order(task)
    with no_descriptors():
        await server.assign(order)
        returned = await server.until(lambda: server.report_of(order, Returned))
    assert "Too many open files" in returned.why
    assert (server.report_of(order), len(site.seen)) == (None, 1)
    assert not server.agent._workload._flushing._captures, "its output would take the place of the next attempt's"
    await server.until(lambda: any(beat.credit["http"] == 0 for beat in server.heartbeats))
    again = server.order(task, run_id=order.run_id)
    await server.assign(again)
    assert (await server.finished(again)).outcome == "succeeded"
    assert [chunk.sequence for chunk in server.chunks[order.run_id]] == [0]


async def test_an_attempt_that_was_redirected_does_not_go_back(server, site):
    task = HttpTask(method="POST", url=site.url(f"/to?code=307&url={site.url('/', host='localhost')}"))
    assert (await server.run(task))[0].outcome == "succeeded"
    with contextlib.ExitStack() as shortage:
        site.on_request = lambda: shortage.enter_context(no_descriptors())
        finished, _ = await server.run(task)
    assert (finished.failure, len(site.seen)) == ("connect", 3)


async def test_an_attempt_that_was_sent_on_a_kept_connection_does_not_go_back(server):
    """The client would say it again on another one, which it cannot make."""

    async def fickle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        shortage.enter_context(no_descriptors())

    bad, port = await raw_server(fickle)
    task = get(f"http://127.0.0.1:{port}/")
    with contextlib.ExitStack() as shortage:
        assert (await server.run(task))[0].outcome == "succeeded"
        finished, _ = await server.run(task)
    assert (finished.failure, "127.0.0.1" in finished.error) == ("connect", True)
    bad.close()


async def test_a_certificate_that_nobody_vouches_for(server, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(tmp_path))
    bad = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    try:
        finished, _ = await server.run(get(f"https://127.0.0.1:{bad.sockets[0].getsockname()[1]}/"))
    finally:
        bad.close()
    assert (finished.failure, "certificate" in finished.error) == ("tls", True)


async def test_cancel_drops_the_connection(server):
    connected = asyncio.Event()

    async def silent(reader, writer):
        connected.set()
        await reader.read()

    bad, port = await raw_server(silent)
    order = server.order(get(f"http://127.0.0.1:{port}/"))
    await server.assign(order)
    await connected.wait()
    await server.channel.send(Cancel(run_id=order.run_id, fence=order.fence))
    assert (await server.finished(order)).outcome == "cancelled"
    bad.close()


async def test_an_unknown_value_is_an_error_of_its_own_attempt(server, site):
    finished, _ = await server.run(get(site.url("/${params.nothing}")))
    assert (finished.failure, "params.nothing" in finished.error) == ("policy", True)


def _certificate(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "c.pem"), str(folder / "k.pem")
