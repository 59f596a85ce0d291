"""A machine that lacks something gives attempts back, and says that it takes no more for a while."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.worker.fake_server import FakeServer
from tests.worker.shortages import no_descriptors

from rota.core.model import PythonTask
from rota.wire.messages import Finished, Returned, Started
from rota.worker import credit, environment
from rota.worker.environment import identity_of
from rota.worker.settings import WorkerSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a module whose function keeps a file and says what process it runs in."""
    keep = "import os\ndef keep(run):\n    open(run.out + '/file', 'w').close()\n    return os.getpid()\n"
    (tmp_path / "keeping.py").write_text(keep)
    return tmp_path


@pytest.mark.parametrize("kind", ["shell", "python"])
async def test_attempts_go_back_unstarted_and_no_more_are_asked_for(server: FakeServer, kind: str) -> None:
    task = "true" if kind == "shell" else PythonTask(function="json:dumps", arguments={"obj": 1})
    order = server.order(task)
    with no_descriptors():
        await server.assign(order)
        returned = await server.until(lambda: server.report_of(order, Returned))
    assert "Too many open files" in returned.why
    assert server.report_of(order, Finished) is None
    await server.until(lambda: any(beat.credit[kind] == 0 for beat in server.heartbeats))
    other = server.order(task)
    await server.assign(other)  # one that had been on its way is tried, and there are descriptors again
    assert (await server.finished(other)).outcome == "succeeded"


async def test_after_a_shortage_one_is_asked_for_and_when_it_has_started_as_many_as_there_are_slots(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credit, "SHORT_SECONDS", 0.001)
    running, short = server.order("exec sleep 60"), server.order("true")
    await server.assign(running)
    await server.until(lambda: server.report_of(running, Started))
    with no_descriptors():
        await server.assign(short)
        await server.until(lambda: server.report_of(short, Returned))
    await server.until(lambda: server.heartbeats and server.heartbeats[-1].credit["shell"] == 2)
    assert (await server.run("true"))[0].outcome == "succeeded"
    await server.until(lambda: server.heartbeats[-1].credit["shell"] >= server.settings.capacity["shell"])


@pytest.mark.parametrize("kind", ["shell", "python"])
async def test_a_user_who_cannot_be_looked_up_is_not_refused(settings: WorkerSettings, kind: str) -> None:
    """Only when there are descriptors again it is known that there is no such user."""
    worker = FakeServer(replace(settings, allowed_users=("no-such-user",)))
    task = "true" if kind == "shell" else PythonTask(function="json:dumps", arguments={"obj": 1})
    order, other = worker.order(task, user="no-such-user"), worker.order(task, user="no-such-user")
    try:
        await worker.until(lambda: worker.hello)
        with no_descriptors():
            await worker.assign(order)
            returned = await worker.until(lambda: worker.report_of(order, Returned))
        assert "the user database cannot be read" in returned.why
        await worker.assign(other)
        refused = await worker.finished(other)
        assert (refused.outcome, "does not exist" in refused.error) == ("rejected", True)
    finally:
        await worker.close()


def test_what_cannot_be_known_of_the_own_user_for_now_is_asked_again(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # nobody has it: some users are known without any file
    environment._own_identity.cache_clear()
    with no_descriptors(), pytest.raises(OSError, match="the user database cannot be read"):
        identity_of(None, settings)
    assert identity_of(None, settings).name == "4000000"
    environment._own_identity.cache_clear()


async def test_a_warm_process_outlives_an_attempt_that_it_cannot_prepare(server: FakeServer, folder: Path) -> None:
    """The folder for the attempt's files cannot be made."""
    task = PythonTask(function="keeping:keep", arguments={})
    first, _ = await server.run(task, cwd=str(folder))
    attempts = server.settings.state / "attempts"
    attempts.rename(attempts.with_name("elsewhere"))
    attempts.write_text("in the way")
    broken, _ = await server.run(task, cwd=str(folder))
    assert (broken.failure, "could not prepare" in broken.error, "Not a directory" in broken.error) == (
        "start",
        True,
        True,
    )
    attempts.unlink()
    attempts.with_name("elsewhere").rename(attempts)
    again, _ = await server.run(task, cwd=str(folder))
    assert again.outcome == "succeeded"
    assert again.result == first.result  # the same process
