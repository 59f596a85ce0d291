"""Reading what processes print, fairly: a bounded piece each time, and nothing while the way out is full."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

READ_SIZE = 64 * 1024


def duplicates(*descriptors: int) -> list[int]:
    """Copies of all of them, or of none."""
    with contextlib.ExitStack() as undo:
        copies: list[int] = []
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))
            undo.callback(os.close, copies[-1])
        undo.pop_all()
    return copies


class Gate:
    """Closed while too much output waits to be acknowledged; pipes stop reading, so their writers wait."""

    def __init__(self) -> None:
        self.is_open = True
        self._waiting: set[OutputPipe] = set()

    def close(self) -> None:
        """Let nobody read on."""
        self.is_open = False

    def open(self) -> None:
        """Let everybody read on."""
        self.is_open = True
        waiting, self._waiting = self._waiting, set()
        for pipe in waiting:
            pipe.listen()

    def hold(self, pipe: "OutputPipe") -> None:
        """Remember a pipe that must wait."""
        self._waiting.add(pipe)

    def forget(self, pipe: "OutputPipe") -> None:
        """The pipe is closed."""
        self._waiting.discard(pipe)


class OutputPipe:
    """The read end of a process's stdout or stderr."""

    def __init__(self, gate: Gate, take: Callable[[bytes], None]) -> None:
        self._gate = gate
        self._take = take
        self._listening = False
        self.read_at = 0.0  # when the last read began: what it returned had been written or was just being written
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.descriptor, False)  # each end has a description of its own; the writer's stays blocking

    def hand_over(self) -> int:
        """The write end, which the caller must close."""
        descriptor, self._write_end = self._write_end, -1
        return descriptor

    def listen(self) -> None:
        """Read whenever there is something."""
        if not self._listening and self.descriptor >= 0:
            self._listening = True
            asyncio.get_running_loop().add_reader(self.descriptor, self._ready)

    def drain(self) -> None:
        """Take all that is in the pipe now, at most what a pipe can hold."""
        for _ in range(64):
            data = self._read()
            if not data:
                return
            self._take(data)

    def close(self) -> None:
        """Read no more."""
        if self.descriptor >= 0:
            self._pause()
            self._gate.forget(self)
            os.close(self.descriptor)
            self.descriptor = -1
        if self._write_end >= 0:
            os.close(self.hand_over())

    def _ready(self) -> None:
        if not self._gate.is_open:
            self._pause()
            self._gate.hold(self)
            return
        data = self._read()
        if data:
            self._take(data)
        elif data is not None:
            self._pause()  # end of file; the tree's end closes the pipe

    def _read(self) -> bytes | None:
        """What is there, b"" at the end, None when there is nothing yet."""
        self.read_at = time.monotonic()
        try:
            return os.read(self.descriptor, READ_SIZE)
        except BlockingIOError:
            return None

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self.descriptor)
