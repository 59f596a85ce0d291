"""A way to PostgreSQL that knows statements by verb: it can lose the answer of one that was committed, or hold one.

It knows as much of the protocol as that takes: messages have a byte of type and four of length; a prepared statement is
named by Parse, bound by Bind, begun by Execute; ReadyForQuery with `I` says that its transaction is over.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.chaos.ways import Script, ScriptedWay

_VERB: Final = re.compile(r"rota_([a-z_]+?)_\d+\(")
_SSL_REQUEST: Final = 80877103
_NULL: Final = b"\x00\x01\xff\xff\xff\xff"  # one column, and nothing in it


class StatementWay(ScriptedWay):
    """Counts statements, and harms those it is told to. A statement without a verb of ours is called "other"."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()  # whose answers were lost
        self.answered_nothing: Counter[str] = Counter()  # whose only value was NULL: a fence that refuses says so
        self.loses: Callable[[str], bool] = lambda verb: False
        self.holds: Callable[[str], bool] = lambda verb: False
        self.held = 0  # statements that wait here
        self._let_go = asyncio.Event()

    def hold_back(self, verb: str) -> None:
        """Hold the statements of this verb from now on."""
        self.holds = lambda found: found == verb

    def let_go(self) -> None:
        """Pass on what is held, and hold nothing more."""
        self.holds = lambda verb: False
        self._let_go.set()

    async def hold(self) -> None:
        """Wait until what is held may go on."""
        self._let_go.clear()
        self.held += 1
        try:
            await self._let_go.wait()
        finally:
            self.held -= 1

    def script(self, caller: asyncio.StreamWriter) -> Script:
        """One connection."""
        return _Statements(self, caller)


class _Statements(Script):
    def __init__(self, way: StatementWay, caller: asyncio.StreamWriter) -> None:
        self._way = way
        self._caller = caller
        self._asked = bytearray()
        self._told = bytearray()
        self._started = False
        self._no_tls = False  # the answer to a question for TLS is a single byte
        self._verbs: dict[bytes, str] = {}
        self._current = ""
        self._loses = False

    async def toward(self, data: bytes) -> bytes:
        self._asked += data
        while (message := self._take_asked()) is not None:
            kind, body = message
            if kind == b"P":
                name, _, rest = body.partition(b"\0")
                found = _VERB.search(rest.partition(b"\0")[0].decode(errors="replace"))
                self._verbs[name] = found[1] if found else "other"
            elif kind == b"B":
                _portal, _, rest = body.partition(b"\0")
                self._current = self._verbs.get(rest.partition(b"\0")[0], "other")
            elif kind == b"E":
                self._way.begun[self._current] += 1
                self._loses = self._way.loses(self._current)
                if self._way.holds(self._current):
                    await self._way.hold()
        return data

    def _take_asked(self) -> tuple[bytes, bytes] | None:
        if self._started:
            return _take(self._asked)
        if len(self._asked) < 8 or len(self._asked) < (length := int.from_bytes(self._asked[:4])):
            return None
        self._no_tls = int.from_bytes(self._asked[4:8]) == _SSL_REQUEST
        self._started = not self._no_tls
        del self._asked[:length]
        return b"", b""

    async def back(self, data: bytes) -> bytes:
        self._told += data
        if self._no_tls and self._told:
            del self._told[:1]
            self._no_tls = False
        over = False
        while (message := _take(self._told)) is not None:
            kind, body = message
            if kind == b"D" and body == _NULL:
                self._way.answered_nothing[self._current] += 1
            over = over or kind == b"Z"
        if not self._loses:
            return data
        if over:
            self._way.lost[self._current] += 1
            self._caller.transport.abort()
        return b""


def _take(buffered: bytearray) -> tuple[bytes, bytes] | None:
    """The next whole message, taken out of what has come."""
    if len(buffered) < 5 or len(buffered) < (end := 1 + int.from_bytes(buffered[1:5])):
        return None
    kind, body = bytes(buffered[:1]), bytes(buffered[5:end])
    del buffered[:end]
    return kind, body
