"""What was said and not acknowledged survives the agent, whatever moment it dies at."""

import asyncio
import time
from pathlib import Path

import pytest
from tests.worker.shortages import files_end_at

from rota.core.model import OutputChunk, OutputLine, RunId
from rota.wire.channel import memory_channel
from rota.wire.messages import Output, Reports, Returned
from rota.worker import spool as module
from rota.worker.outbox import Outbox
from rota.worker.pipes import Gate
from rota.worker.spool import Spool


def reports(sequence: int) -> Reports:
    return Reports(sequence=sequence, items=(Returned(run_id=f"r{sequence}", attempt=1, fence=sequence, why="x"),))


def output(sequence: int, size: int = 10) -> Output:
    lines = (OutputLine(0, 0, b"x" * size),)
    chunk = OutputChunk(run_id=RunId("r"), attempt=1, sequence=sequence, first_line=0, offset=0, lines=lines)
    return Output(sequence=sequence, chunks=(chunk,))


def filled(folder: Path, *messages: Reports | Output) -> Spool:
    spool = Spool(folder)
    assert spool.recover() == []
    for message in messages:
        spool.append(message)
    return spool


async def spooled(folder: Path, count: int) -> None:
    """Wait until so many messages are written down."""
    async with asyncio.timeout(5):
        while len(Spool(folder).recover()) < count:
            await asyncio.sleep(0)


def test_what_was_not_acknowledged_is_there_for_the_next_agent(tmp_path: Path) -> None:
    messages = [output(1), reports(1), output(2), reports(2)]
    spool = filled(tmp_path, *messages)
    spool.acknowledge(Reports, 1)
    assert Spool(tmp_path).recover() == messages, "a file goes as a whole: what is said twice does no harm"


def test_when_all_is_acknowledged_nothing_is_left(tmp_path: Path) -> None:
    spool = filled(tmp_path, output(1), reports(1))
    spool.acknowledge(Output, 1)
    spool.acknowledge(Reports, 1)
    assert Spool(tmp_path).recover() == []
    spool.append(reports(2))
    assert Spool(tmp_path).recover() == [reports(2)]
    spool.acknowledge(Reports, 2)
    spool.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 20])
def test_a_frame_that_was_being_written_is_left_out(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, reports(1), reports(2)).close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    assert Spool(tmp_path).recover() == [reports(1)]


def test_files_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    spool = filled(tmp_path)
    for sequence in range(1, 101):
        spool.append(output(sequence, 300))
        if sequence > 10:
            spool.acknowledge(Output, sequence - 10)
    assert 2 <= len(list(tmp_path.iterdir())) <= 6
    kept = [message.sequence for message in Spool(tmp_path).recover()]
    assert kept[-10:] == list(range(91, 101))


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path, reports(1))
    spool.close()
    (file,) = tmp_path.iterdir()
    full = Spool(Path("/dev/full-of-nothing"))
    full.append(reports(5))
    assert full.is_broken
    full.acknowledge(Reports, 5)
    assert file.exists()


def test_a_disk_that_fills_up_loses_only_what_came_after(tmp_path: Path) -> None:
    spool = filled(tmp_path, reports(1))
    with files_end_at(100):
        spool.append(output(1, 5000))
    assert spool.is_broken
    spool.append(reports(2))
    assert not spool.is_broken
    assert Spool(tmp_path).recover() == [reports(1), reports(2)]


async def test_the_next_agent_says_what_the_last_one_could_not(tmp_path: Path) -> None:
    first = Outbox(Gate(), filled(tmp_path), time.monotonic)
    running = asyncio.create_task(first.run())
    first.output(output(1).chunks[0], 10)
    first.report(reports(1).items[0])
    await spooled(tmp_path, 2)
    running.cancel()  # no session ever came
    second = Outbox(Gate(), Spool(tmp_path), time.monotonic)
    second.recover()
    assert [held.fence for held in second.ended()] == [1]
    ours, theirs = memory_channel()
    await second.attach(ours)
    said = [await theirs.receive(), await theirs.receive()]
    assert said == [output(1), reports(1)]
    second.acknowledge_output(1)
    second.acknowledge_reports(1)
    assert second.ended() == ()
    async with asyncio.timeout(1):
        await second.settled()
    assert Spool(tmp_path).recover() == []


async def test_a_new_session_hears_again_what_the_last_one_did_not_acknowledge(tmp_path: Path) -> None:
    box = Outbox(Gate(), filled(tmp_path), time.monotonic)
    running = asyncio.create_task(box.run())
    ours, theirs = memory_channel()
    await box.attach(ours)
    box.report(reports(1).items[0])
    assert await theirs.receive() == reports(1)
    await theirs.close()
    box.report(reports(2).items[0])
    await spooled(tmp_path, 2)
    box.detach()
    ours, theirs = memory_channel()
    await box.attach(ours)
    assert [await theirs.receive(), await theirs.receive()] == [reports(1), reports(2)]
    running.cancel()


class Dies(Exception):
    """The agent is killed."""


@pytest.mark.parametrize("moment", [0, 1, 2])
async def test_what_was_recovered_stays_until_it_is_said_again(tmp_path: Path, moment: int) -> None:
    """An agent that dies while it takes over what another left, loses nothing of it."""
    messages = [reports(1), output(1), reports(2)]
    filled(tmp_path, *messages).close()

    class Dying(Spool):
        def append(self, message: Reports | Output) -> None:
            if message.sequence == messages[moment].sequence and type(message) is type(messages[moment]):
                raise Dies
            super().append(message)

    with pytest.raises(Dies):
        Outbox(Gate(), Dying(tmp_path), time.monotonic).recover()
    left = Spool(tmp_path).recover()
    assert all(message in left for message in messages)


async def test_what_waits_is_not_replaced_by_what_a_new_session_brings(tmp_path: Path) -> None:
    box = Outbox(Gate(), filled(tmp_path), time.monotonic)
    running = asyncio.create_task(box.run())
    ours, theirs = memory_channel()
    await box.attach(ours)
    box.output(output(1).chunks[0], 10)
    box.report(reports(1).items[0])
    assert [await theirs.receive(), await theirs.receive()] == [output(1), reports(1)]
    box.detach()
    ours, theirs = memory_channel()
    await box.attach(ours)
    box.output(output(2).chunks[0], 10)
    box.report(reports(2).items[0])
    assert [await theirs.receive() for _ in range(4)] == [output(1), reports(1), output(2), reports(2)]
    box.acknowledge_output(1)
    box.acknowledge_reports(1)
    await box.resend(patience=0.0)
    assert [await theirs.receive() for _ in range(2)] == [output(2), reports(2)]
    running.cancel()
