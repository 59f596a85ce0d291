"""The spool: what the outbox has said and no server has acknowledged, in files that survive the agent.

A new agent sends what an earlier one could not. Nothing is forced to the disk: a crash of the machine takes the
attempts with it anyway. When the disk is full the worker goes on from memory; only a crash would then lose reports.

Files hold frames: the length in four bytes, then a message of the wire. A file goes when all of it is acknowledged.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from rota.wire.messages import Output, Reports

SEGMENT_BYTES: Final = 4 * 1024 * 1024
_LONGEST_FRAME: Final = 64 * 1024 * 1024
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Reports | Output).decode

Key = tuple[type[Reports] | type[Output], int]


class Spool:
    """Appends messages, forgets acknowledged ones, and reads what an earlier agent left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._file = -1  # descriptor of the present segment
        self._size = 0
        self._open: dict[int, set[Key]] = {}  # segment → what in it is not acknowledged
        self._where: dict[Key, int] = {}
        self.is_broken = False  # the last write failed: what was said since then is in memory only

    def recover(self) -> list[Reports | Output]:
        """What an earlier agent left, oldest first; its files go when it has been said again (`discard_recovered`)."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: list[Reports | Output] = []
        for path in self._files():
            self._number = int(path.stem)
            found += _messages(path)
        return found

    def discard_recovered(self) -> None:
        """All that was recovered has been appended anew."""
        for path in self._files():
            if int(path.stem) not in self._open:
                path.unlink(missing_ok=True)

    def append(self, message: Reports | Output) -> None:
        """Write a message down; never fails."""
        key = (type(message), message.sequence)
        data = _encode(message)
        try:
            if self._file < 0 or self._size >= SEGMENT_BYTES:
                self._next_segment()
            frame = len(data).to_bytes(4, "big") + data
            if os.write(self._file, frame) < len(frame):
                raise OSError(errno.ENOSPC, "only a part was written")
        except OSError:
            self._give_up_segment()
            return
        self.is_broken = False
        self._size += len(data) + 4
        self._open[self._number].add(key)
        self._where[key] = self._number

    def acknowledge(self, kind: type[Reports] | type[Output], sequence: int) -> None:
        """A message is committed."""
        number = self._where.pop((kind, sequence), None)
        if number is None:
            return
        waiting = self._open[number]
        waiting.discard((kind, sequence))
        if waiting:
            return
        if number != self._number:
            del self._open[number]
            self._path(number).unlink(missing_ok=True)
        elif self._file >= 0 and self._size:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                self._size = 0

    def close(self) -> None:
        """Close the file; what is not acknowledged stays for the next agent."""
        self._close_segment()
        if self._number in self._open and not self._open[self._number]:
            self._path(self._number).unlink(missing_ok=True)

    def _next_segment(self) -> None:
        self._close_segment()
        if self._number in self._open and not self._open[self._number]:
            del self._open[self._number]
            self._path(self._number).unlink(missing_ok=True)
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._path(self._number), flags, 0o600)
        self._open[self._number] = set()
        self._size = 0

    def _give_up_segment(self) -> None:
        """The disk takes no more: a half-written frame must not be followed by another."""
        self.is_broken = True
        self._close_segment()

    def _close_segment(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.spool") if path.stem.isdigit())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010}.spool"


def _messages(path: Path) -> Iterator[Reports | Output]:
    """The whole frames of a file; a cut one at its end was being written when its agent died."""
    try:
        raw = path.read_bytes()
    except OSError:
        return
    position = 0
    while position + 4 <= len(raw):
        size = int.from_bytes(raw[position : position + 4], "big")
        frame = raw[position + 4 : position + 4 + size]
        if len(frame) < size or size > _LONGEST_FRAME:
            return
        try:
            yield _decode(frame)
        except msgspec.DecodeError:
            return
        position += 4 + size
