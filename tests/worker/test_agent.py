"""The agent's side of the conversation: hello, started, permits, cancel, drain, acknowledgements, credit."""

import asyncio
from pathlib import Path

from msgspec.structs import replace
from tests.worker.fake_server import FakeServer, written

from rota.core.model import HttpTask, PythonTask
from rota.core.retry import STOPPED
from rota.wire.messages import Cancel, Drain, Goodbye, Permit, Ready, Returned, Revoke, Started
from rota.worker import outbox


async def test_hello_says_who_and_what(server, settings):
    assert (server.hello.worker, server.hello.capacity) == ("w1", settings.capacity)
    assert server.hello.cpus >= 1
    assert server.hello.memory > 2**20
    assert server.hello.boot_id


async def test_started_is_said_only_of_attempts_that_last(server):
    short, long = server.order("true"), server.order("sleep 0.3")
    await server.assign(short, long)
    await server.finished(long)
    assert (server.report_of(short, Started), bool(server.report_of(long, Started))) == (None, True)


async def test_live_output_comes_while_the_attempt_runs(server, tmp_path):
    order = server.order(f"echo first; while ! test -e {tmp_path}/go; do sleep 0.02; done; echo second")
    await server.assign(order)
    await server.until(lambda: server.text(order) == "first\n")
    (tmp_path / "go").touch()
    await server.finished(order)
    assert server.text(order) == "first\nsecond\n"


async def test_an_at_most_once_attempt_starts_only_with_its_permit(server, tmp_path):
    order = server.order(f"echo x >> {tmp_path}/ran", permit=True)
    await server.assign(order)
    await server.until(lambda: server.report_of(order, Ready))
    boot = server.hello.boot_id
    await server.channel.send(Permit(run_id=order.run_id, fence=order.fence, boot_id="another boot"))
    await server.run("true")
    assert not (tmp_path / "ran").exists()
    for _ in range(3):
        await server.channel.send(Permit(run_id=order.run_id, fence=order.fence, boot_id=boot))
    assert (await server.finished(order)).outcome == "succeeded"
    await server.run("true")
    assert (tmp_path / "ran").read_text() == "x\n"
    assert server.report_of(order, Started)


async def test_a_permit_for_what_was_asked_back_starts_nothing(server, tmp_path):
    order = server.order(f"touch {tmp_path}/ran", permit=True)
    await server.assign(order)
    await server.until(lambda: server.report_of(order, Ready))
    await server.channel.send(Revoke(run_id=order.run_id, fence=order.fence))
    await server.until(lambda: server.report_of(order, Returned))
    await server.channel.send(Permit(run_id=order.run_id, fence=order.fence, boot_id=server.hello.boot_id))
    await server.run("sleep 0.1")
    assert ((tmp_path / "ran").exists(), server.report_of(order)) == (False, None)


async def test_an_order_that_comes_twice_is_one(server, tmp_path):
    order = server.order(f"echo x >> {tmp_path}/ran; while ! test -e {tmp_path}/go; do sleep 0.02; done")
    await server.assign(order, order)
    await written(tmp_path / "ran")
    await server.assign(order)
    await server.run("true")
    (tmp_path / "go").touch()
    await server.finished(order)
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_an_order_repeated_when_its_attempt_is_over_begins_nothing(server, tmp_path):
    order = server.order(f"echo x >> {tmp_path}/ran")
    for _ in range(2):
        await server.assign(order)
        await server.finished(order)
        await server.run("true")  # whatever the repetition began would be seen by now
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_without_a_permit_the_attempt_goes_back(server, monkeypatch, tmp_path):
    monkeypatch.setattr("rota.worker.workload.PATIENCE", 0.05)
    order = server.order(f"touch {tmp_path}/ran", permit=True)
    await server.assign(order)
    returned = await server.until(lambda: server.report_of(order, Returned))
    await server.channel.send(Permit(run_id=order.run_id, fence=order.fence, boot_id=server.hello.boot_id))
    await server.run("true")
    assert ("permit" in returned.why, (tmp_path / "ran").exists()) == (True, False)


async def test_cancel_ends_the_tree_and_says_so(server, tmp_path):
    order = server.order(f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/pid; wait; wait", kill_grace=0.1)
    await server.assign(order)
    pid = await written(tmp_path / "pid")
    await server.channel.send(Cancel(run_id=order.run_id, fence=order.fence))
    assert (await server.finished(order)).outcome == "cancelled"
    assert not Path("/proc", pid).exists()


async def test_more_orders_than_slots_wait_their_turn_and_can_be_cancelled(server):
    running = [server.order("sleep 0.4") for _ in range(8)]
    waiting = [server.order("echo waited") for _ in range(3)]
    await server.assign(*running, *waiting)
    await server.channel.send(Cancel(run_id=waiting[0].run_id, fence=waiting[0].fence))
    await server.until(lambda: server.report_of(waiting[0], Returned))
    for order in (*running, *waiting[1:]):
        assert (await server.finished(order)).outcome == "succeeded"


async def test_what_waits_too_long_behind_blocked_slots_goes_back(server, monkeypatch):
    monkeypatch.setattr("rota.worker.workload.WAITED_TOO_LONG", 0.1)
    shells = [server.order("sleep 300", kill_grace=0) for _ in range(9)]
    await server.assign(*shells)
    assert (await server.until(lambda: server.report_of(shells[8], Returned))).why == "no slot became free"


async def test_python_attempts_that_wait_too_long_go_back(server, monkeypatch, tmp_path):
    monkeypatch.setattr("rota.worker.workload.WAITED_TOO_LONG", 0.1)
    (tmp_path / "naps.py").write_text("import time\ndef nap():\n    time.sleep(300)\n")
    orders = [server.order(PythonTask(function="naps:nap"), cwd=str(tmp_path)) for _ in range(3)]
    await server.assign(*orders)
    assert (await server.until(lambda: server.report_of(orders[2], Returned))).why == "no slot became free"


async def test_drain_lets_work_finish_ends_the_rest_and_says_goodbye(server):
    quick, slow = server.order("sleep 0.2; echo ok"), server.order("sleep 300")
    await server.assign(quick, slow)
    await server.channel.send(Drain(grace=0.8))
    assert (await server.finished(quick)).outcome == "succeeded"
    ended = await server.finished(slow)
    assert (ended.outcome, ended.failure, ended.signal) == ("lost", STOPPED, 9)
    assert ended.error == "its worker was stopped before it had ended"
    await server.until(lambda: any(isinstance(one, Goodbye) for one in server.reports))
    async with asyncio.timeout(5):
        await server.running


async def test_an_order_during_a_drain_goes_back(server):
    slow, late = server.order("sleep 0.5"), server.order("echo never")
    await server.assign(slow)
    await server.channel.send(Drain(grace=5))
    await server.assign(late)
    assert "stopping" in (await server.until(lambda: server.report_of(late, Returned))).why


async def test_unacknowledged_reports_are_sent_again(server):
    server.acknowledging = False
    await server.run("echo hello")
    box = server.agent._outbox
    before = len(server.reports)
    await box.resend(patience=0)
    await server.until(lambda: len(server.reports) > before)
    for number in range(100):
        box.acknowledge_reports(number)
        box.acknowledge_output(number)
    async with asyncio.timeout(1):
        await box.settled()


async def test_output_waits_while_none_is_acknowledged_and_others_go_on(server, monkeypatch):
    monkeypatch.setattr(outbox, "OUTPUT_WINDOW", 256 * 1024)
    server.acknowledging = False
    flood = server.order("head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo end", log_limit=10_000_000)
    await server.assign(flood)
    await server.until(lambda: not server.agent._gate.is_open)
    finished, _ = await server.run("true")
    assert (finished.outcome, server.report_of(flood)) == ("succeeded", None)
    assert sum(len(line.data) for line in server.lines(flood)) < 1_000_000
    server.acknowledging = True
    for number in range(1000):
        server.agent._outbox.acknowledge_output(number)
    await server.finished(flood)
    assert server.text(flood).endswith("end\n")


async def test_a_flood_is_capped_and_does_not_starve_others(server):
    flood = server.order("yes 'a line of a flood' | head -c 300000000; echo; echo the end", log_limit=100_000)
    await server.assign(flood)
    for _ in range(5):
        finished, _ = await server.run("echo other")
        assert (finished.finished - finished.started).total_seconds() < 2
    assert (await server.finished(flood)).outcome == "succeeded"
    assert "log limit" in server.text(flood, 2)
    assert server.text(flood).endswith("the end\n")
    assert len(server.text(flood)) <= 100_000 + 64 * 1024


async def test_credit_follows_the_durations(server, tmp_path):
    (tmp_path / "quick.py").write_text("def nothing():\n    pass\n")
    orders = [server.order(PythonTask(function="quick:nothing"), cwd=str(tmp_path)) for _ in range(300)]
    await server.assign(*orders)
    await server.finished(orders[-1])
    await server.until(lambda: any(beat.credit.get("python", 0) > 2 for beat in server.heartbeats))


async def test_a_kind_without_capacity_is_refused_clearly(settings):

    fake = FakeServer(replace(settings, capacity={"shell": 1}))
    await fake.until(lambda: fake.hello)
    finished, _ = await fake.run(HttpTask(method="GET", url="http://127.0.0.1/"))
    await fake.close()
    assert (finished.outcome, "does not run http jobs" in finished.error) == ("failed", True)
