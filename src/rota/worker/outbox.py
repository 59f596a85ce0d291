"""What the worker has to say: reports and output, in batches, kept until acknowledged, over whatever session there is.

A batch leaves a few milliseconds after its first item, or at once when it is full. Output leaves before the reports
that were made after it. While too much output is not yet acknowledged the gate is closed: pipes are read no further.
Without a session batches are made all the same, so that they lie in the spool, and are sent when there is one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rota.core.model import OutputChunk
from rota.wire.channel import ChannelClosed, WorkerChannel
from rota.wire.messages import Finished, Held, Output, Report, Reports, Returned
from rota.worker.pipes import Gate
from rota.worker.spool import Spool

LINGER: Final = 0.003
FULL: Final = 256
OUTPUT_WINDOW: Final = 8 * 1024 * 1024
_BATCH: Final = 512
_OUTPUT_BATCH: Final = 256 * 1024  # a larger message would keep reports waiting behind it
_RESEND_AFTER: Final = 5.0  # seconds


class Outbox:
    """Batches, sends, remembers and re-sends."""

    def __init__(self, gate: Gate, spool: Spool, monotonic: Callable[[], float]) -> None:
        self._channel: WorkerChannel | None = None
        self._gate = gate
        self._spool = spool
        self._monotonic = monotonic
        self._reports: deque[Report] = deque()
        self._chunks: deque[tuple[OutputChunk, int]] = deque()
        self._sent_reports: dict[int, tuple[float, Reports]] = {}
        self._sent_output: dict[int, tuple[float, Output, int]] = {}
        self._report_sequence = 0
        self._output_sequence = 0
        self._output_weight = 0
        self._something = asyncio.Event()
        self._full = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def recover(self) -> None:
        """Take over what an earlier agent could not say."""
        for message in self._spool.recover():
            if isinstance(message, Reports):
                self._keep_reports(message.items)
            else:
                weight = sum(_weight(chunk) for chunk in message.chunks)
                self._output_weight += weight
                self._keep_output(message.chunks, weight)
            self._settled.clear()
        self._spool.discard_recovered()

    def report(self, item: Report) -> None:
        """Send `item` soon."""
        self._reports.append(item)
        self._settled.clear()
        self._something.set()
        if len(self._reports) >= FULL:
            self._full.set()

    def output(self, chunk: OutputChunk, weight: int) -> None:
        """Send `chunk` soon."""
        self._chunks.append((chunk, weight))
        self._settled.clear()
        self._something.set()
        self._output_weight += weight
        if self._output_weight > OUTPUT_WINDOW:
            self._gate.close()

    def ended(self) -> tuple[Held, ...]:
        """Attempts that are over, of which a server does not know yet."""
        waiting = [item for _, batch in self._sent_reports.values() for item in batch.items] + list(self._reports)
        return tuple(
            Held(run_id=item.run_id, attempt=item.attempt, fence=item.fence)
            for item in waiting
            if isinstance(item, Finished | Returned)
        )

    async def run(self) -> None:
        """Make batches, and send them while there is a session, until cancelled."""
        while True:
            await self._something.wait()
            if len(self._reports) < FULL:
                try:
                    async with asyncio.timeout(LINGER):
                        await self._full.wait()
                except TimeoutError:
                    pass
            self._something.clear()
            self._full.clear()
            while self._reports or self._chunks:
                await self._send_output()
                if not self._chunks:
                    await self._send_reports()

    async def attach(self, channel: WorkerChannel) -> None:
        """There is a session: say again what was not acknowledged, then go on."""
        self._channel = channel
        await self.resend(patience=0.0)

    def detach(self) -> None:
        """The session is over."""
        self._channel = None

    def acknowledge_reports(self, sequence: int) -> None:
        """The batch of reports with this number is committed."""
        if self._sent_reports.pop(sequence, None) is not None:
            self._spool.acknowledge(Reports, sequence)
        self._note_settled()

    def acknowledge_output(self, sequence: int) -> None:
        """The batch of output with this number is committed."""
        sent = self._sent_output.pop(sequence, None)
        if sent is not None:
            self._output_weight -= sent[2]
            self._spool.acknowledge(Output, sequence)
        if not self._gate.is_open and self._output_weight < OUTPUT_WINDOW // 2:
            self._gate.open()
        self._note_settled()

    async def resend(self, patience: float = _RESEND_AFTER) -> None:
        """Send again what was sent longer than `patience` ago and never acknowledged, oldest first."""
        now = self._monotonic()
        for number, (sent, output, weight) in tuple(self._sent_output.items()):
            if now - sent >= patience and number in self._sent_output:
                self._sent_output[number] = (now, output, weight)
                await self._send(output)
        for number, (sent, reports) in tuple(self._sent_reports.items()):
            if now - sent >= patience and number in self._sent_reports:
                self._sent_reports[number] = (now, reports)
                await self._send(reports)

    async def settled(self) -> None:
        """Wait until everything said has been acknowledged."""
        await self._settled.wait()

    async def _send_reports(self) -> None:
        if self._reports:
            items = tuple(self._reports.popleft() for _ in range(min(_BATCH, len(self._reports))))
            await self._send(self._keep_reports(items))

    async def _send_output(self) -> None:
        chunks: list[OutputChunk] = []
        weight = 0
        while self._chunks and weight < _OUTPUT_BATCH and len(chunks) < _BATCH:
            chunk, cost = self._chunks.popleft()
            chunks.append(chunk)
            weight += cost
        if chunks:
            await self._send(self._keep_output(tuple(chunks), weight))

    def _keep_reports(self, items: tuple[Report, ...]) -> Reports:
        """A batch with the next number, remembered and written down."""
        self._report_sequence += 1
        batch = Reports(sequence=self._report_sequence, items=items)
        self._sent_reports[batch.sequence] = (self._monotonic(), batch)
        self._spool.append(batch)
        return batch

    def _keep_output(self, chunks: tuple[OutputChunk, ...], weight: int) -> Output:
        """A batch with the next number, remembered and written down."""
        self._output_sequence += 1
        batch = Output(sequence=self._output_sequence, chunks=chunks)
        self._sent_output[batch.sequence] = (self._monotonic(), batch, weight)
        self._spool.append(batch)
        return batch

    async def _send(self, message: Reports | Output) -> None:
        """Send while there is a session; that it ends is noticed by who receives on it."""
        channel = self._channel
        if channel is None:
            return
        try:
            await channel.send(message)
        except ChannelClosed:
            if self._channel is channel:
                self._channel = None

    def _note_settled(self) -> None:
        if not (self._reports or self._chunks or self._sent_reports or self._sent_output):
            self._settled.set()


def _weight(chunk: OutputChunk) -> int:
    """About what a chunk takes of the window."""
    return sum(len(line.data) for line in chunk.lines)
