"""What waits for one warm process: texts in shared memory, and a pipe of tokens that say where each text is.

A token is taken out of the pipe by one side only: by the process, which then runs the request, or by the agent, which
thereby takes it back. So nothing needs to be asked, and nothing runs twice.
"""

import contextlib
import os
import struct
from collections.abc import Sequence
from typing import Final

TOKEN: Final = struct.Struct("<QQ")  # offset and length of a text
_ATOMIC: Final = 4096 // TOKEN.size  # tokens of which a pipe takes all or none
_FULL: Final = 8 * 1024 * 1024  # bytes of texts after which the process must first have read them all


class Requests:
    """The agent's side."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as undo:
            self._texts = os.memfd_create("rota-requests", os.MFD_CLOEXEC)
            undo.callback(os.close, self._texts)
            self._theirs, self._tokens = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self._theirs)
            undo.callback(os.close, self._tokens)
            os.set_blocking(self._tokens, False)
            # A description of its own: the process's must stay one that waits.
            self._ours = os.open(f"/proc/self/fd/{self._theirs}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            undo.pop_all()
        self._end = 0

    @property
    def theirs(self) -> tuple[int, int]:
        """The descriptors that the process needs copies of: tokens, texts."""
        return self._theirs, self._texts

    def put(self, texts: Sequence[bytes]) -> int:
        """Queue requests; returns how many were taken, the first ones; there is no room for the others now."""
        taken = 0
        while taken < len(texts) and self._end < _FULL:
            some = texts[taken : taken + _ATOMIC]
            tokens, end = bytearray(), self._end
            for text in some:
                tokens += TOKEN.pack(end, len(text))
                end += len(text)
            try:
                self._write(b"".join(some))
                os.write(self._tokens, tokens)
            except OSError:  # the pipe is full, or memory is short
                break
            self._end = end
            taken += len(some)
        return taken

    def take_back(self) -> int:
        """Take all requests that the process has not begun, the last ones; returns how many."""
        taken = 0
        while True:
            try:
                tokens = os.read(self._ours, TOKEN.size * _ATOMIC)
            except BlockingIOError:
                return taken
            if not tokens:
                return taken
            taken += len(tokens) // TOKEN.size

    def rewind(self) -> None:
        """All requests are over or taken back: begin at the start of the memory again."""
        self._end = 0

    def close(self) -> None:
        """The process is gone."""
        for descriptor in (self._texts, self._theirs, self._tokens, self._ours):
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        view, end = memoryview(data), self._end
        while view:
            written = os.pwrite(self._texts, view, end)
            view, end = view[written:], end + written
