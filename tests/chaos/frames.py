"""A way of workers to a server that repeats, swaps and replays WebSocket messages, in both directions.

No network does that below TLS; what holds against it holds against every client that repeats itself. Frames are passed
on as they came, mask and all. Left alone are control frames, pieces of a message, and the first message of each end.
"""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos.ways import Script, ScriptedWay

_REMEMBERED: Final = 4000  # messages, for later replays
_WHOLE: Final = {0x81, 0x82}  # the last frame of a message, and its first: text, binary


@dataclass(kw_only=True)
class Disorder:
    """How often a message is repeated at once, changes places with the next, or has an old one come after it."""

    repeats: float = 0.0
    swaps: float = 0.0
    replays: float = 0.0


class FrameWay(ScriptedWay):
    """Disorder among messages; what was done is counted."""

    def __init__(self, url: str, rng: Random) -> None:
        super().__init__(url)
        self.disorder = Disorder()
        self.done: Counter[str] = Counter()
        self.rng = rng
        self.old: dict[str, deque[bytes]] = {way: deque(maxlen=_REMEMBERED) for way in ("toward", "back")}

    def script(self, caller: asyncio.StreamWriter) -> Script:
        """One connection."""
        return _Frames(self)


class _Frames(Script):
    def __init__(self, way: FrameWay) -> None:
        self._ends = {name: _End(way, name) for name in ("toward", "back")}

    async def toward(self, data: bytes) -> bytes:
        return self._ends["toward"].pass_on(data)

    async def back(self, data: bytes) -> bytes:
        return self._ends["back"].pass_on(data)


class _End:
    """What one end of a connection says."""

    def __init__(self, way: FrameWay, name: str) -> None:
        self._way = way
        self._name = name
        self._come = bytearray()
        self._upgraded = False
        self._introduced = False
        self._kept_back: bytes | None = None

    def pass_on(self, data: bytes) -> bytes:
        """The bytes to be passed on instead of these."""
        self._come += data
        out = b""
        if not self._upgraded:
            head, found, _ = bytes(self._come).partition(b"\r\n\r\n")
            if not found:
                return b""
            out = head + found
            del self._come[: len(out)]
            self._upgraded = b"upgrade: websocket" in head.lower()
            if not self._upgraded:  # some other request: leave it alone
                out += bytes(self._come)
                self._come.clear()
                return out
        while (frame := _take(self._come)) is not None:
            out += self._disordered(frame)
        return out

    def _disordered(self, frame: bytes) -> bytes:
        if frame[0] not in _WHOLE or not self._introduced:
            self._introduced = self._introduced or frame[0] in _WHOLE
            return frame
        way, rng = self._way, self._way.rng
        old = way.old[self._name]
        old.append(frame)
        if self._kept_back is not None:
            earlier, self._kept_back = self._kept_back, None
            return frame + earlier
        if rng.random() < way.disorder.swaps:
            way.done[f"swapped {self._name}"] += 1
            self._kept_back = frame
            return b""
        if rng.random() < way.disorder.repeats:
            way.done[f"repeated {self._name}"] += 1
            frame += frame
        if rng.random() < way.disorder.replays:
            way.done[f"replayed {self._name}"] += 1
            frame += rng.choice(old)
        return frame


def _take(buffered: bytearray) -> bytes | None:
    """The next whole frame, taken out of what has come."""
    if len(buffered) < 2:
        return None
    size, head = buffered[1] & 0x7F, 2
    if size >= 126:
        head += 2 if size == 126 else 8
        size = int.from_bytes(buffered[2:head])
    head += 4 if buffered[1] & 0x80 else 0
    if len(buffered) < head + size or head > len(buffered):
        return None
    frame = bytes(buffered[: head + size])
    del buffered[: head + size]
    return frame
