"""Messages survive the wire: every kind, encoded and decoded, is the same again."""

from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest

from rota.core.model import HttpTask, OutputChunk, OutputLine, PythonTask, RunId, ShellTask, Task, Usage
from rota.wire import messages
from rota.wire.messages import AttemptOrder, FromServer, FromWorker, Held, Message

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
ABOUT = {"run_id": "r", "attempt": 1, "fence": 2**52}
HELD = Held(**ABOUT)
CHUNK = OutputChunk(
    run_id=RunId("r"), attempt=1, sequence=0, first_line=0, offset=0, lines=(OutputLine(1, 2, b"\xff\x00\n"),)
)
FINISHED = messages.Finished(
    **ABOUT, outcome="failed", started=NOW, finished=NOW, exit=2, result={"a": [1, None]}, usage=Usage(cpu_seconds=0.1)
)


def order(task: Task) -> AttemptOrder:
    return AttemptOrder(**ABOUT, job="a/b", due=NOW, task=task, secrets={"A": "ß"}, permit=True)


FROM_WORKER = [
    messages.Hello(worker="w", boot_id="b", version="1", held=(HELD,), capacity={"shell": 2}),
    messages.Heartbeat(sent=1.5, credit={"http": 200}),
    messages.Reports(
        sequence=3,
        items=(
            FINISHED,
            messages.Started(**ABOUT, started=NOW),
            messages.Returned(**ABOUT, why="x"),
            messages.Ready(**ABOUT),
        ),
    ),
    messages.Output(sequence=1, chunks=(CHUNK,)),
    messages.Goodbye(),
]
FROM_SERVER = [
    messages.Welcome(session=1, server="s", now=NOW, lost=(HELD,)),
    messages.Refused(reason="no", hint="yes"),
    messages.Assign(
        orders=(
            order(ShellTask(command="x")),
            order(HttpTask(method="GET", url="http://x/")),
            order(PythonTask(function="m:f", arguments={"n": 1})),
        )
    ),
    messages.Permit(run_id="r", fence=1, boot_id="b"),
    messages.Revoke(run_id="r", fence=1),
    messages.Cancel(run_id="r", fence=1),
    messages.ReportsAcknowledged(sequence=1),
    messages.OutputAcknowledged(sequence=1),
    messages.HeartbeatAcknowledged(sent=1.5, now=NOW),
    messages.Drain(grace=1.0),
    messages.Moving(),
]


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: type(message).__name__)
def test_from_worker(message: Message) -> None:
    assert msgspec.msgpack.Decoder(FromWorker).decode(msgspec.msgpack.encode(message)) == message


@pytest.mark.parametrize("message", FROM_SERVER, ids=lambda message: type(message).__name__)
def test_from_server(message: Message) -> None:
    assert msgspec.msgpack.Decoder(FromServer).decode(msgspec.msgpack.encode(message)) == message


def test_every_message_is_tried() -> None:
    assert {type(message) for message in FROM_WORKER} == set(get_args(FromWorker))
    assert {type(message) for message in FROM_SERVER} == set(get_args(FromServer))


def test_one_direction_does_not_take_the_other_s() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.Decoder(FromServer).decode(msgspec.msgpack.encode(messages.Goodbye()))
