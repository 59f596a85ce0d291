"""One warm python process seen from the agent: what was sent to it, what it answered, whose output it prints."""

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from rota.core.model import PythonTask
from rota.wire.messages import AttemptOrder
from rota.worker import runner as runner_program
from rota.worker.attempt import Attempt
from rota.worker.environment import attempt_environment
from rota.worker.executors.places import Place
from rota.worker.executors.requests import Requests
from rota.worker.folders import Folder
from rota.worker.output import STDERR, STDOUT
from rota.worker.pipes import Gate, OutputPipe, duplicates

PROGRAM: Final = str(Path(runner_program.__file__))
_READ: Final = 256 * 1024  # bytes
_READS: Final = 16
_AT_ONCE: Final = 64
DEEP: Final = 64  # attempts in a queue that is not soon empty
_TOGETHER: Final = 0.25  # seconds for which answers are gathered meanwhile
_PAUSE: Final = 0.005  # seconds between looks at them then; the socket holds the answers of a longer time


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner says about one attempt (`id`), or at its start (`ready`)."""

    id: str = ""
    ready: int | None = None
    version: str = ""
    stale: bool = False  # the code has changed on disk: not started, the process must be replaced
    begin: float = 0.0
    end: float = 0.0
    failure: str | None = None
    error: str | None = None
    errno: int | None = None  # what the system said when nothing could be started
    exit: int | None = None
    result: Any = None
    cpu: float = 0.0
    memory: int = 0
    sweep: bool = False
    wait: bool = False


class _Request(msgspec.Struct):
    id: str
    function: str
    arguments: dict[str, Any]
    env: dict[str, str]
    params: dict[str, str]


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Answer)


class RunnerProcess:
    """The agent's side of one runner."""

    def __init__(
        self,
        place: Place,
        gate: Gate,
        on_answer: "Callable[[RunnerProcess, Answer], None]",
        work: Folder | None = None,
    ) -> None:
        self.on_low: Callable[[RunnerProcess], None] = lambda _: None  # it has little left to do
        self.place = place
        self.key = 0
        self.queue: deque[Attempt] = deque()  # queued for it; the first one is running
        self.head_since = 0.0  # monotonic: when it could begin with the first one
        self._woken = 0.0  # monotonic: when it was last given something while it had nothing to do
        self.is_ready = False
        self.is_ending = False
        self.replaces: RunnerProcess | None = None  # the one that it takes over from once it is up
        self.is_armed = False
        self.done = 0
        self.work = work  # its private working folder
        self.outs = ""  # how the names of the ROTA_OUT folders begin that it makes
        self.held_answer: Answer | None = None  # waits until the attempt's processes are gone
        self._on_answer = on_answer
        self._answers: deque[Answer] = deque()
        self._begun_line = b""  # of an answer that has not come whole
        self._waits = False  # whether an answer asks for something
        self._later: asyncio.TimerHandle | None = None
        self._paused: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []  # the last ones of the queue
        with contextlib.ExitStack() as undo:
            self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(self._ours.close)
            undo.callback(self._theirs.close)
            self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self._ours.setblocking(False)
            self._requests = Requests()
            undo.callback(self._requests.close)
            self._go = os.eventfd(0, os.EFD_CLOEXEC)
            undo.callback(os.close, self._go)
            self.output = OutputPipe(gate, lambda data: self._printed(STDOUT, self.output, data))
            undo.callback(self.output.close)
            self.errors = OutputPipe(gate, lambda data: self._printed(STDERR, self.errors, data))
            undo.pop_all()

    @property
    def is_in_use(self) -> bool:
        """Whether attempts may be given to it."""
        return not self.is_ending and self.replaces is None

    @property
    def head(self) -> Attempt | None:
        """The attempt that is running."""
        return self.queue[0] if self.queue else None

    @property
    def left(self) -> int:
        """How many attempts it has still to do, as far as it has been heard."""
        return len(self.queue) - len(self._answers)

    @property
    def unsent(self) -> int:
        """How many were queued and not given to the process yet."""
        return len(self._outgoing)

    def hand_over(self) -> tuple[list[int], list[int]]:
        """The descriptors for the process and their numbers there."""
        # The copies first: they may fail, and what is handed over is not closed with this process.
        copies = duplicates(self._theirs.fileno(), self._go, *self._requests.theirs)
        return [self.output.hand_over(), self.errors.hand_over(), *copies], [1, 2, 3, 4, 5, 6]

    def add(self, attempt: Attempt, text: bytes) -> None:
        """Queue an attempt with its request; `send` gives it to the process."""
        self._outgoing.append(text)
        if not self.left:
            self._woken = self.head_since = time.monotonic()
        self.queue.append(attempt)

    def send(self) -> list[Attempt]:
        """Give the process what was queued; returns what there was no room for, which is queued no more."""
        outgoing, self._outgoing = self._outgoing, []
        return self._drop(len(outgoing) - self._requests.put(outgoing))

    def take_back(self) -> list[Attempt]:
        """Take what the process has not begun out of its queue: it will never run there."""
        taken = self._drop(self._requests.take_back())
        if not self.queue:
            self._requests.rewind()
        return taken

    def next(self, since: float) -> None:
        """The head is over since then."""
        self.queue.popleft()
        self.head_since = max(since, self._woken)
        if not self.queue:
            self._requests.rewind()

    def listen(self) -> None:
        """Look when there are answers."""
        self._paused = None
        asyncio.get_running_loop().add_reader(self._ours, self._look)

    def _look(self) -> None:
        """Answers have arrived. While many short attempts follow each other, theirs are handled together, so that this
        process does not compete with what it has just started.
        """
        self._read_answers()
        if not self._waits and self.left <= DEEP:
            self.on_low(self)
        if self._waits or self.left <= DEEP or self.queue[0].begun is not None:  # it may look slow and be over
            self.receive()
            return
        loop = asyncio.get_running_loop()
        if self._paused is None:
            loop.remove_reader(self._ours)
            self._paused = loop.call_later(_PAUSE, self.listen)
        if self._later is None:
            self._later = loop.call_later(_TOGETHER, self.receive)

    def receive(self) -> None:
        """Handle the answers that have arrived."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._read_answers()
        self._waits = False
        while self._answers:
            for _ in range(_AT_ONCE):
                if self._answers:
                    self._on_answer(self, self._answers.popleft())
            self._read_answers()

    def is_slow(self, since: float) -> bool:
        """Whether what it does now has been going on at least since then."""
        if self._busy_since <= since and self.left:
            self._look()
        return self._busy_since <= since and self.left > 0

    @property
    def _busy_since(self) -> float:
        return max(self._answers[-1].end if self._answers else self.head_since, self._woken)

    def drain(self) -> None:
        """Take the output that is in the pipes now; while the process waits, all of it is the head's."""
        self.output.drain()
        self.errors.drain()

    def go(self) -> None:
        """Let the process take the next request."""
        os.eventfd_write(self._go, 1)

    def close(self) -> None:
        """The process is gone."""
        asyncio.get_running_loop().remove_reader(self._ours)
        self._answers.clear()
        for handle in (self._later, self._paused):
            if handle is not None:
                handle.cancel()
        self.output.close()
        self.errors.close()
        self._ours.close()
        self._theirs.close()
        self._requests.close()
        os.close(self._go)

    def _printed(self, stream: int, pipe: OutputPipe, data: bytes) -> None:
        """Give output to whom it belongs. An attempt whose pipe was not empty at its end holds the process until the
        pipe has been read; so what was read after an attempt's end, and before it was held, is the next one's.
        """
        if self.held_answer is None:
            self._read_answers()
            while self._answers and not self._answers[0].wait and self._answers[0].end <= pipe.read_at:
                self._on_answer(self, self._answers.popleft())
        if self.queue:
            self.queue[0].output.write(stream, data)
        if self._answers:
            asyncio.get_running_loop().call_soon(self.receive)  # what was read here is handled there

    def _read_answers(self) -> None:
        """Take in what has been answered until now."""
        text = self._begun_line
        for _ in range(_READS):
            try:
                data = self._ours.recv(_READ)
            except OSError:  # nothing there, or the process is gone, which the keeper tells
                break
            text += data
            if len(data) < _READ:
                break
        lines, end, self._begun_line = text.rpartition(b"\n")
        for answer in _decoded(lines) if end else ():
            self._waits |= answer.wait or answer.sweep or answer.stale or not answer.id
            self._answers.append(answer)

    def _drop(self, count: int) -> list[Attempt]:
        """Take the last ones out of the queue."""
        dropped = [self.queue.pop() for _ in range(count)]
        dropped.reverse()
        return dropped


def _decoded(lines: bytes) -> list[Answer]:
    """The answers; a line that is none becomes one that is nobody's."""
    try:
        return _decoder.decode_lines(lines)
    except msgspec.DecodeError:
        return [_decoded_line(line) for line in lines.split(b"\n")]


def _decoded_line(line: bytes) -> Answer:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return Answer()


def request_name(order: AttemptOrder) -> str:
    """What the process calls the attempt."""
    return f"{order.fence}.{order.run_id}"


def request_text(order: AttemptOrder, worker: str) -> bytes:
    """What the process reads. It has folders of its own for ROTA_OUT."""
    task = order.task
    assert isinstance(task, PythonTask)
    environment = attempt_environment(order, worker, "")
    return _encode(_Request(request_name(order), task.function, task.arguments, environment, order.params))
