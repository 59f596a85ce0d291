"""Reading an answer's body with bounded memory, whatever the other side sends."""

import zlib
from typing import Final

from rota.core.model import HttpExpect

KEPT: Final = 64 * 1024  # of a body that is only logged
EXAMINED: Final = 10 * 1024 * 1024  # of a body whose text or JSON is looked at, unless `max_body` says otherwise
_PIECE: Final = 64 * 1024


class BodyTooLarge(Exception):
    """The body is longer than the job allows."""


class BodyBroken(Exception):
    """The body cannot be decompressed."""


class Body:
    """Takes the raw bytes as they come; keeps what is needed and no more."""

    def __init__(self, expect: HttpExpect, encoding: str) -> None:
        self._most = expect.max_body
        self._needed = expect.body is not None or bool(expect.json)
        self._room = (self._most or EXAMINED) if self._needed else KEPT
        self._compressed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
        self._inflate = zlib.decompressobj(47) if self._compressed else None
        self._skipping = False
        self.kept = bytearray()
        self.size = 0  # decompressed bytes seen

    @property
    def is_cut(self) -> bool:
        """Whether there was more than is kept."""
        return self._skipping

    def feed(self, raw: bytes) -> None:
        """Take the next bytes of the connection; raise BodyTooLarge or BodyBroken."""
        if self._skipping and self._most is None:
            return  # nobody asks how long it is: do not even decompress it
        if self._inflate is None:
            self._take(raw)
            return
        while True:
            try:
                piece = self._inflate.decompress(raw, _PIECE)
            except zlib.error as error:
                raise BodyBroken(f"the compressed body is damaged: {error}") from None
            self._take(piece)
            raw = self._inflate.unconsumed_tail
            is_all = not raw and len(piece) < _PIECE
            if is_all or self._inflate.eof or (self._skipping and self._most is None):
                return

    def finish(self) -> None:
        """The connection has no more; raise BodyBroken when a compressed body is incomplete."""
        if self._inflate is not None and not self._skipping and self.size and not self._inflate.eof:
            raise BodyBroken("the compressed body ends too early")
        if self._skipping and self._needed and self._most is None:
            raise BodyTooLarge(
                f"the body is longer than the {EXAMINED // 1024 // 1024} MiB that are looked at; set `max_body:`"
            )

    def _take(self, data: bytes) -> None:
        self.size += len(data)
        if self._most is not None and self.size > self._most:
            raise BodyTooLarge(f"the body is longer than max_body, {self._most} bytes")
        room = self._room - len(self.kept)
        self.kept += data[:room]
        if len(data) > room:
            self._skipping = True
