"""The door of workers, over real sockets: who comes in, what may be said there, and when it is closed again."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.pausing import pause
from tests.server.api_installation import ADMIN
from tests.server.served_installation import Refusal, Served, hello, open_served

from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.core.model import OutputChunk, OutputLine, RunId, RunState, Usage
from rota.events import ReportRefused, WorkerCutOff, WorkerMisspoke
from rota.server.access import new_token_text
from rota.wire.channel import ChannelClosed
from rota.wire.messages import (
    Finished,
    Goodbye,
    Heartbeat,
    HeartbeatAcknowledged,
    Held,
    Output,
    OutputAcknowledged,
    Ready,
    Refused,
    Reports,
    ReportsAcknowledged,
    Started,
    Welcome,
)

NOW = datetime.now(UTC)
SHELL = {"shell": "true", "overlap": "allow", "retry": {"tries": 1}}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with open_served() as one:
        yield one


def misspoken(served: Served) -> list[str]:
    return [event.what for event in served.rota.events if isinstance(event, WorkerMisspoke)]


async def until_closed(channel: Any) -> str:
    """Why the server closed it."""
    async with asyncio.timeout(10):
        while True:
            try:
                await channel.receive()
            except ChannelClosed as error:
                return error.detail


# ── who comes in ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_is_welcomed_and_served(served: Served) -> None:
    async with served.worker("w1", cpus=3, memory=2**33) as worker:
        await worker.channel.send(Heartbeat(sent=5.0, credit={"shell": 4}))
        answer = await worker.channel.receive()
        assert isinstance(answer, HeartbeatAcknowledged)
        assert answer.sent == 5.0
        (row,) = await served.rota.store.sessions.get(["w1"])
        assert (row.cpus, row.memory, row.disconnected) == (3, 2**33, None)
        await worker.channel.send(Goodbye())
        await until_closed(worker.channel)
    (row,) = await served.rota.store.sessions.get(["w1"])
    assert row.disconnected is not None


async def test_a_run_goes_all_the_way(served: Served) -> None:
    await served.rota.apply("a/b", **SHELL)
    async with served.worker() as worker:
        run = await served.rota.trigger("a/b")
        order = await worker.order()
        about = {"run_id": order.run_id, "attempt": order.attempt, "fence": order.fence}
        done = Finished(**about, outcome="succeeded", started=NOW, finished=NOW, exit=0)
        await worker.channel.send(Reports(sequence=1, items=(done,)))
        assert await worker.channel.receive() == ReportsAcknowledged(sequence=1)
        assert (await served.rota.store.runs.get([run.id]))[run.id].state is RunState.SUCCEEDED


@pytest.mark.parametrize("scope", ["admin", "write", "read", "metrics", "join"])
async def test_only_a_worker_s_token_opens_it(served: Served, scope: str) -> None:
    with pytest.raises(Refusal, match="403") as refused:
        async with served.door(served.rota.tokens[scope]):
            pass
    assert refused.value.problem["code"] == "NOT_ALLOWED"
    assert refused.value.headers["content-type"] == "application/problem+json"
    assert refused.value.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        (None, {}, 401),
        ("garbage", {}, 401),
        ("NEW", {}, 401),
        (None, {"Authorization": "Basic dzp3"}, 401),
        (None, {"Cookie": "rota_session_8700=x"}, 401),
        ("WORKER", {"Origin": "http://127.0.0.1"}, 403),
        ("WORKER", {"Origin": "null"}, 403),
        ("WORKER", {"Host": "evil.example"}, 421),
    ],
)
async def test_what_does_not_open_it(served: Served, token: str | None, headers: dict[str, str], status: int) -> None:
    shown = {"NEW": new_token_text(), "WORKER": served.rota.tokens["worker"]}.get(token or "", token)
    with pytest.raises(Refusal) as refused:
        async with served.door(shown, **headers):
            pass
    assert refused.value.status == status
    assert refused.value.problem["request_id"] == refused.value.headers["x-request-id"]


async def test_a_browser_session_does_not_open_it(served: Served) -> None:
    access = served.rota.services.access
    actor = await access.authenticate_token(served.rota.tokens["admin"])
    session = await access.redeem_code(await access.create_login_code(actor.token_id or ""))
    with pytest.raises(Refusal, match="401"):
        async with served.door(None, Cookie=f"rota_session_{served.port}={session.cookie}"):
            pass


async def test_a_token_in_the_address_does_not_open_it(served: Served) -> None:
    token = served.rota.tokens["worker"]
    for query in (f"token={token}", f"x={token}"):
        with pytest.raises(Refusal, match="401"):
            async with served.door(token, path=f"/api/v1/worker?{query}"):
                pass


@pytest.mark.parametrize("how", ["expired", "revoked"])
async def test_a_token_that_has_ended_does_not_open_it(served: Served, how: str) -> None:
    token = await served.worker_token("w1")
    records = [one for one in await served.rota.services.access.tokens() if one.worker == "w1"]
    past = datetime.now(UTC) - timedelta(seconds=1)
    await served.rota.store.access.put_token(
        msgspec.structs.replace(records[0], **{how.replace("expired", "expires"): past})
    )
    with pytest.raises(Refusal, match="401") as refused:
        async with served.door(token):
            pass
    assert "rota token create --join" in refused.value.problem["hint"]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/jobs", "/api/v1/stream", "/healthz", "/", "/static/app.js", "/api/v1/worker/", "//api/v1/worker", "/x"],
)
async def test_there_is_no_other_websocket(served: Served, path: str) -> None:
    for token in (None, served.rota.tokens["admin"], served.rota.tokens["worker"]):
        with pytest.raises(Refusal, match="404"):
            async with served.door(token, path=path):
                pass


@pytest.mark.parametrize("path", ["/API/v1/worker", "/api/v1/%77orker", "/api/v1/worker;a", "/api/v1/../v1/worker"])
async def test_no_spelling_of_the_path_opens_it_to_others(served: Served, path: str) -> None:
    for token in (None, served.rota.tokens["admin"]):
        with pytest.raises(Refusal) as refused:
            async with served.door(token, path=path):
                pass
        assert refused.value.status in (401, 403, 404)


# ── when it is closed again ──────────────────────────────────────────────────────────────────────────────


async def test_a_revoked_worker_is_cut_off_within_five_seconds(served: Served) -> None:
    async with served.worker("w1") as worker, served.worker("w2") as other:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await served.rota.services.enrolment.revoke("w1", actor=ADMIN)
        assert "token has ended" in await until_closed(worker.channel)
        assert loop.time() - before < 5
        assert [event.worker for event in served.rota.events if isinstance(event, WorkerCutOff)] == ["w1"]
        await other.channel.send(Heartbeat(sent=1.0))
        assert isinstance(await other.channel.receive(), HeartbeatAcknowledged)


async def test_connections_that_say_nothing_are_few(served: Served) -> None:
    token = await served.worker_token("w1")
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(served.door(token)) for _ in range(4)]
        with pytest.raises(Refusal, match="429") as refused:
            async with served.door(token):
                pass
        assert refused.value.headers["retry-after"] == "1"
        await silent[0].send(hello())
        assert isinstance(await silent[0].receive(), Welcome)
        async with served.door(token):  # who has said hello makes room
            pass
        async with served.worker("w2"):  # another's silence takes nothing from anybody
            pass


async def test_a_second_process_of_a_name_is_refused_while_the_first_lives(served: Served) -> None:
    token = await served.worker_token("w1")
    async with served.door(token) as first, served.door(token) as second:
        await first.send(hello(boot_id="one"))
        assert isinstance(await first.receive(), Welcome)
        await second.send(hello(boot_id="two"))
        refused = await second.receive()
        assert isinstance(refused, Refused)
        assert "another process" in refused.reason
        await first.send(Heartbeat(sent=1.0))
        assert isinstance(await first.receive(), HeartbeatAcknowledged)
    conditions = [condition.key for condition in await served.rota.store.alerts.conditions()]
    assert conditions == ["worker-twin/w1"]


async def test_a_hello_that_was_read_late_ends_no_later_session(served: Served) -> None:
    """A server that stood still reads it when its worker has long been elsewhere, with work it did not have then."""
    token = await served.worker_token("w1")
    async with served.door(token) as present, served.door(token) as late:
        await present.send(hello(dial=2))
        assert isinstance(await present.receive(), Welcome)
        await late.send(hello(dial=1))
        refused = await late.receive()
        assert isinstance(refused, Refused)
        assert "connected again" in refused.reason
        await present.send(Heartbeat(sent=1.0))
        assert isinstance(await present.receive(), HeartbeatAcknowledged)


# ── what may be said ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"worker": "w2"}, "the token is worker w1's"),
        ({"worker": ""}, "not a name for a worker"),
        ({"worker": "w1\n"}, "not a name for a worker"),
        ({"protocol": 2}, "protocol version 2"),
        ({"boot_id": ""}, "boot_id"),
        ({"version": "1\x00"}, "version"),
        ({"cpus": 0}, "0 cpus"),
        ({"cpus": 10**6}, "cpus"),
        ({"capacity": {"shell": -1}}, "capacity"),
        ({"capacity": {"shell": 10**9}}, "capacity"),
        ({"capacity": {str(number): 1 for number in range(40)}}, "capacity"),
        ({"capacity": {"": 1}}, "capacity"),
        ({"labels": {"x": "y" * 1024 * 1024}}, "label x"),
        ({"labels": {"x" * 100: "y"}}, "name of a label"),
        ({"labels": {"x": "a\x1b[0m"}}, "label x"),
        ({"labels": {f"l{number}": "y" for number in range(100)}}, "100 labels"),
    ],
)
async def test_a_forged_hello_is_refused_in_words(served: Served, fields: dict[str, Any], said: str) -> None:
    async with served.door(await served.worker_token("w1")) as channel:
        await channel.send(hello(**{"worker": "w1", **fields}))
        answer = await channel.receive()
        assert isinstance(answer, Refused)
        assert said in answer.reason
        await until_closed(channel)
    assert await served.rota.store.sessions.get(["w1", "w2"]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": -1},
        {"memory": 2**60},
        {"highest_fence": -1},
        {"highest_fence": 2**60},
        {"boot_id": "b" * 65},
        {"version": "v" * 65},
        {"worker": "w" * 65},
        {"protocol": -1},
        {"held": (Held(run_id="r" * 65, attempt=1, fence=1),)},
        {"held": (Held(run_id="r", attempt=-1, fence=1),)},
    ],
)
async def test_a_hello_out_of_range_ends_the_connection(served: Served, fields: dict[str, Any]) -> None:
    async with served.door(await served.worker_token("w1")) as channel:
        await channel.send(hello(**fields))
        assert "not understood" in await until_closed(channel)
    assert await served.rota.store.sessions.get(["w1"]) == []
    assert len(misspoken(served)) == 1


async def test_a_fence_that_no_restore_explains_is_not_believed(served: Served) -> None:
    store = served.rota.store.leases
    own = await store.reserve_fences(1)
    async with served.worker("w1", highest_fence=2**53 - 1):
        assert await store.highest_fence() // COUNTERS_PER_INCARNATION == 1
        assert not served.rota.server.restore.holds
    assert "no life of this store" in misspoken(served)[0]
    later = own + 10_000_000
    async with served.worker("w2", highest_fence=later):
        assert await store.highest_fence() > later
        assert served.rota.server.restore.holds


async def test_labels_are_those_of_the_token(served: Served) -> None:
    token = await served.worker_token("w1", labels={"zone": "eu"})
    async with served.door(token) as channel:
        await channel.send(hello(labels={"zone": "eu", "gpu": "yes"}))
        refused = await channel.receive()
        assert isinstance(refused, Refused)
        assert "gpu=yes" in refused.reason
    async with served.door(token) as channel:
        await channel.send(hello())
        assert isinstance(await channel.receive(), Welcome)
    (row,) = await served.rota.store.sessions.get(["w1"])
    assert row.labels == {"zone": "eu"}


async def test_held_attempts_of_others_stay_theirs(served: Served) -> None:
    await served.rota.apply("a/b", **SHELL)
    async with served.worker("w1") as owner:
        run = await served.rota.trigger("a/b")
        order = await owner.order()
        async with served.door(await served.worker_token("w2")) as thief:
            held = Held(run_id=order.run_id, attempt=1, fence=order.fence)
            await thief.send(hello("w2", capacity={}, held=(held,)))
            welcome = await thief.receive()
            assert isinstance(welcome, Welcome)
            assert welcome.lost == (held,)
        current = (await served.rota.store.runs.get([run.id]))[run.id].current
        assert current is not None
        assert current.worker == "w1"


@pytest.mark.parametrize(
    "second",
    [hello(), Heartbeat(sent=math.nan), Heartbeat(sent=math.inf), Heartbeat(sent=1.0, credit={"shell": -5})],
    ids=["hello", "nan", "inf", "negative"],
)
async def test_what_no_worker_says_cuts_it_off(served: Served, second: Any) -> None:
    async with served.worker("w1") as worker:
        await worker.channel.send(second)
        await until_closed(worker.channel)
    assert len(misspoken(served)) == 1


async def test_what_only_servers_say_cuts_it_off(served: Served) -> None:
    async with served.worker("w1") as worker:
        await worker.channel.send(Welcome(session=1, server="me", now=NOW))
        assert "'Welcome'" in await until_closed(worker.channel)
    assert len(misspoken(served)) == 1


async def test_a_flood_of_heartbeats_cuts_it_off(served: Served) -> None:
    async with served.worker("w1") as worker:
        with contextlib.suppress(ChannelClosed):
            for number in range(1000):
                await worker.channel.send(Heartbeat(sent=float(number)))
        assert "heartbeats a second" in await until_closed(worker.channel)


async def test_a_clock_that_is_none_is_left_out_and_said_once(served: Served) -> None:
    async with served.worker("w1") as worker:
        for offset in (math.nan, math.inf, -math.inf, 1e300, -3.5):
            await worker.channel.send(Heartbeat(sent=1.0, clock_offset=offset))
            assert isinstance(await worker.channel.receive(), HeartbeatAcknowledged)
        (session,) = served.rota.server.hub.sessions()
        assert session.clock_offset == -3.5
    assert misspoken(served) == ["heartbeat: a clock offset no clock has"]


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_reports_about_other_workers_runs_change_nothing(served: Served) -> None:
    await served.rota.apply("a/b", **SHELL)
    async with served.worker("w1") as owner:
        run = await served.rota.trigger("a/b")
        order = await owner.order()
        about = {"run_id": order.run_id, "attempt": 1, "fence": order.fence}
        ended = Finished(**about, outcome="succeeded", started=NOW, finished=NOW, exit=0)
        future = Finished(**{**about, "fence": order.fence + 1000}, outcome="failed", started=NOW, finished=NOW)
        stranger = Finished(**{**about, "run_id": "nothing"}, outcome="failed", started=NOW, finished=NOW)
        async with served.worker("w2", capacity={}) as thief:
            items = (Started(**about, started=NOW), Ready(**about), ended, future, stranger)
            await thief.channel.send(Reports(sequence=1, items=items))
            assert await thief.channel.receive() == ReportsAcknowledged(sequence=1)
            lines = (OutputLine(1, 1, b"forged\n"),)
            chunk = OutputChunk(run_id=run.id, attempt=1, sequence=0, first_line=0, offset=0, lines=lines)
            await thief.channel.send(Output(sequence=1, chunks=(chunk,)))
            assert await thief.channel.receive() == OutputAcknowledged(sequence=1)
        now = (await served.rota.store.runs.get([run.id]))[run.id]
        assert now.state is RunState.STARTING
        assert (await served.rota.store.output.size(run.id, 1)).lines == 0
        refused = [event for event in served.rota.events if isinstance(event, ReportRefused)]
        assert len(refused) == 6
        await owner.channel.send(Output(sequence=1, chunks=(chunk,)))
        await owner.channel.send(Reports(sequence=1, items=(future, ended)))
        await until(lambda: served.rota.store.runs.get([run.id]), lambda runs: runs[run.id].state.is_final)
        assert (await served.rota.store.output.size(run.id, 1)).lines == 1
        late = msgspec.structs.replace(chunk, sequence=1, first_line=1, offset=7)
        await owner.channel.send(Output(sequence=2, chunks=(late,)))  # output may come after the end
        await until(lambda: served.rota.store.output.size(run.id, 1), lambda size: size.lines == 2)


async def until(look: Any, good: Any) -> None:
    """Look until it is good."""
    async with asyncio.timeout(10):
        while not good(await look()):
            await pause(0.02)


async def test_strange_reports_are_put_right_and_never_stop_the_recorder(served: Served) -> None:
    await served.rota.apply("a/b", **SHELL)
    async with served.worker("w1") as worker:
        run = await served.rota.trigger("a/b")
        order = await worker.order()
        deep: Any = 1
        for _ in range(200):
            deep = [deep]
        strange = Finished(
            run_id=order.run_id,
            attempt=1,
            fence=order.fence,
            outcome="dancing",
            started=datetime(1970, 1, 1, tzinfo=UTC),
            finished=datetime(2099, 1, 1, tzinfo=UTC),
            failure="ex\x00it",
            error="nul \x00 " + "x" * 100_000,
            result={"a\x00": ["b\x00", deep], "c": math.nan},
            usage=Usage(cpu_seconds=-1.0, peak_memory=-5),
        )
        await worker.channel.send(Reports(sequence=1, items=(strange,)))
        async with asyncio.timeout(10):
            while not isinstance(await worker.channel.receive(), ReportsAcknowledged):
                pass
        after = (await served.rota.store.runs.get([run.id]))[run.id]
        assert after.state is RunState.FAILED
        attempt = after.attempts[0]
        assert after.due <= attempt.created <= attempt.started <= attempt.finished <= datetime.now(UTC)
        assert "\0" not in repr(after)
        assert len(attempt.error or "") < 20_000
        assert (attempt.usage.cpu_seconds, attempt.usage.peak_memory) == (None, None)
    (said,) = misspoken(served)
    assert "an instant far from the present" in said
    assert served.rota.server.recorder.healthy


@pytest.mark.parametrize(
    "fields",
    [
        {"started": datetime(2026, 1, 1)},
        {"finished": datetime(2026, 1, 1)},
        {"exit": 2**40},
        {"signal": 300},
        {"signal": -1},
        {"fence": 2**60},
        {"attempt": -1},
        {"outcome": "o" * 100},
        {"failure": "f" * 100},
    ],
)
async def test_reports_out_of_range_end_the_connection(served: Served, fields: dict[str, Any]) -> None:
    values = {"run_id": "r", "attempt": 1, "fence": 1, "outcome": "failed", "started": NOW, "finished": NOW, **fields}
    async with served.worker("w1") as worker:
        await worker.channel.send(Reports(sequence=1, items=(Finished(**values),)))
        assert "not understood" in await until_closed(worker.channel)
    assert len(misspoken(served)) == 1


@pytest.mark.parametrize(
    ("chunk", "line"),
    [
        ({"sequence": -1}, {}),
        ({"offset": 2**60}, {}),
        ({"run_id": RunId("r\0")}, {}),
        ({}, {"stream": 9}),
        ({}, {"time": -5}),
    ],
)
async def test_output_out_of_range_ends_the_connection(
    served: Served, chunk: dict[str, Any], line: dict[str, Any]
) -> None:
    lines = (OutputLine(**{"time": 1, "stream": 1, "data": b"x", **line}),)
    values = {"run_id": RunId("r"), "attempt": 1, "sequence": 0, "first_line": 0, "offset": 0, "lines": lines, **chunk}
    async with served.worker("w1") as worker:
        await worker.channel.send(Output(sequence=1, chunks=(OutputChunk(**values),)))
        await until_closed(worker.channel)
    assert len(misspoken(served)) == 1
