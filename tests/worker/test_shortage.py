"""A machine that lacks something gives attempts back, and says that it takes no more for a while."""

from pathlib import Path

import pytest
from tests.worker.fake_server import FakeServer
from tests.worker.shortages import no_descriptors

from rota.core.model import PythonTask
from rota.wire.messages import Finished, Returned


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
