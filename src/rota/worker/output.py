"""What an attempt prints, made into lines: masked, cut into pieces, capped with a visible marker.

The first three quarters of the limit are kept as they come; beyond them only the last quarter is kept, as raw blocks
that cost almost nothing, so a flood neither fills the memory nor starves others. A line of Rota's own says how much
was left out.
"""

from collections import deque
from collections.abc import Callable

from rota.clock import Clock
from rota.core.model import OutputChunk, OutputLine, RunId
from rota.wire.messages import AttemptOrder
from rota.worker.masking import Masker

STDOUT, STDERR, ROTA = 0, 1, 2
PIECE_LIMIT = 8 * 1024
CHUNK_LIMIT = 64 * 1024
_LINE_COST = 48  # what a line weighs beside its bytes, so a million empty lines are no small thing

Emit = Callable[[OutputChunk, int], None]


class Capture:
    """Collects the output of one attempt and emits chunks; `emit(chunk, weight)` must not fail."""

    def __init__(self, order: AttemptOrder, clock: Clock, emit: Emit, on_waiting: "Callable[[Capture], None]") -> None:
        limit = order.log_limit
        self._run_id = RunId(order.run_id)
        self._attempt = order.attempt
        self._clock = clock
        self._emit = emit
        self._on_waiting = on_waiting
        self._secrets = order.secrets
        self._maskers: dict[int, Masker] = {}  # made when they are needed: most attempts print little or nothing
        self._partial = {STDOUT: b"", STDERR: b""}
        self._head = limit - limit // 4
        self._tail_limit = limit // 4
        self._limit = limit
        self._tail: deque[tuple[int, int, bytes]] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._lines: list[OutputLine] = []
        self._weight = 0
        self._size = 0
        self._chunks = 0
        self._lines_sent = 0
        self._bytes_sent = 0
        self.wrote = False

    def write(self, stream: int, data: bytes) -> None:
        """Take what the program wrote."""
        if data:
            self.wrote = True
            self._take(stream, self._masker(stream).feed(data))
            self._on_waiting(self)

    def say(self, text: str) -> None:
        """Add a line of Rota's own; it does not count towards the limit."""
        data = self._masker(ROTA).whole(text.encode("utf-8", "replace")) + b"\n"
        self._add(OutputLine(self._time(), ROTA, data))
        self._on_waiting(self)

    def masked(self, text: str | None) -> str | None:
        """`text` without the attempt's secrets."""
        if text is None or not self._secrets:
            return text
        return self._masker(ROTA).whole(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def flush(self) -> None:
        """Emit all that is there, unfinished lines included, so that a reader sees it now."""
        self._flush_partial()
        self._emit_chunk()

    def finish(self) -> None:
        """Take the end of the output and emit the rest."""
        for stream, masker in self._maskers.items():
            self._take(stream, masker.finish())
        self._add_tail()
        self._flush_partial()
        self._emit_chunk()

    def _masker(self, stream: int) -> Masker:
        if stream not in self._maskers:
            self._maskers[stream] = Masker(self._secrets)
        return self._maskers[stream]

    # ── the first part ───────────────────────────────────────────────────────────────────────────────────

    def _take(self, stream: int, data: bytes) -> None:
        if self._head > 0:
            room = data[: self._head]
            self._head -= len(room)
            self._split(stream, room)
            data = data[len(room) :]
        if data:
            self._keep_last(stream, data)

    def _split(self, stream: int, data: bytes) -> None:
        """Cut into lines; a line that has not ended waits for its end."""
        if not data:
            return
        *complete, rest = (self._partial[stream] + data).split(b"\n")
        now = self._time()
        for line in complete:
            self._add_pieces(now, stream, line + b"\n")
        while len(rest) > PIECE_LIMIT:
            self._add(OutputLine(now, stream, rest[:PIECE_LIMIT]))
            rest = rest[PIECE_LIMIT:]
        self._partial[stream] = rest

    def _add_pieces(self, now: int, stream: int, line: bytes) -> None:
        if len(line) <= PIECE_LIMIT:
            self._add(OutputLine(now, stream, line))
            return
        for start in range(0, len(line), PIECE_LIMIT):
            self._add(OutputLine(now, stream, line[start : start + PIECE_LIMIT]))

    def _add(self, line: OutputLine) -> None:
        self._lines.append(line)
        self._size += len(line.data)
        self._weight += len(line.data) + _LINE_COST
        if self._weight >= CHUNK_LIMIT:
            self._emit_chunk()

    def _emit_chunk(self) -> None:
        if not self._lines:
            return
        chunk = OutputChunk(
            run_id=self._run_id,
            attempt=self._attempt,
            sequence=self._chunks,
            first_line=self._lines_sent,
            offset=self._bytes_sent,
            lines=tuple(self._lines),
        )
        weight = self._weight
        self._chunks += 1
        self._lines_sent += len(self._lines)
        self._bytes_sent += self._size
        self._lines = []
        self._size = self._weight = 0
        self._emit(chunk, weight)

    # ── the last part ────────────────────────────────────────────────────────────────────────────────────

    def _keep_last(self, stream: int, data: bytes) -> None:
        self._tail.append((self._time(), stream, data))
        self._tail_size += len(data)
        while self._tail and self._tail_size - len(self._tail[0][2]) >= self._tail_limit:
            dropped = len(self._tail.popleft()[2])
            self._tail_size -= dropped
            self._left_out += dropped

    def _add_tail(self) -> None:
        """Add the kept last part; after a gap it begins with a whole line of each stream where there is one."""
        blocks = list(self._tail)
        self._tail.clear()
        excess = self._tail_size - self._tail_limit
        if blocks and excess > 0:
            time, stream, data = blocks[0]
            blocks[0] = (time, stream, data[excess:])
            self._left_out += excess
        if not self._left_out:
            for _, stream, data in blocks:
                self._split(stream, data)
            return
        self._flush_partial()
        blocks = self._from_line_starts(blocks)
        self.say(
            f"… {_size_text(self._left_out)} left out here: log limit {_size_text(self._limit)} reached; "
            "the first and the last part are kept. A larger `log-limit:` keeps more."
        )
        for _, stream, data in blocks:
            self._split(stream, data)

    def _flush_partial(self) -> None:
        for stream, partial in self._partial.items():
            if partial:
                self._partial[stream] = b""
                self._add(OutputLine(self._time(), stream, partial))

    def _from_line_starts(self, blocks: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        aligned: set[int] = set()
        kept: list[tuple[int, int, bytes]] = []
        for time, stream, data in blocks:
            if stream in aligned:
                kept.append((time, stream, data))
                continue
            line_end = data.find(b"\n")
            if line_end == -1 or line_end + 1 == len(data):
                kept.append((time, stream, data))  # one endless line: better a cut line than nothing
                aligned.add(stream)
                continue
            self._left_out += line_end + 1
            aligned.add(stream)
            kept.append((time, stream, data[line_end + 1 :]))
        return kept

    def _time(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000)


def _size_text(size: int) -> str:
    """`12.3 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
