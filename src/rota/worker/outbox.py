"""What the worker has to say: reports and output, in batches, kept until acknowledged.

A batch leaves a few milliseconds after its first item, or at once when it is full. Output leaves before the reports
that were made after it. While too much output is not yet acknowledged the gate is closed: pipes are read no further.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rota.core.model import OutputChunk
from rota.wire.channel import WorkerChannel
from rota.wire.messages import Output, Report, Reports
from rota.worker.pipes import Gate

LINGER: Final = 0.003
FULL: Final = 256
OUTPUT_WINDOW: Final = 8 * 1024 * 1024
_BATCH: Final = 512
_OUTPUT_BATCH: Final = 1024 * 1024
_RESEND_AFTER: Final = 15.0


class Outbox:
    """Batches, sends, remembers and re-sends."""

    def __init__(self, channel: WorkerChannel, gate: Gate, monotonic: Callable[[], float]) -> None:
        self._channel = channel
        self._gate = gate
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

    async def run(self) -> None:
        """Send until cancelled or the channel closes."""
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

    def acknowledge_reports(self, sequence: int) -> None:
        """All reports up to `sequence` are committed."""
        for number in [number for number in self._sent_reports if number <= sequence]:
            del self._sent_reports[number]
        self._note_settled()

    def acknowledge_output(self, sequence: int) -> None:
        """All output up to `sequence` is committed."""
        for number in [number for number in self._sent_output if number <= sequence]:
            self._output_weight -= self._sent_output.pop(number)[2]
        if not self._gate.is_open and self._output_weight < OUTPUT_WINDOW // 2:
            self._gate.open()
        self._note_settled()

    async def resend(self, patience: float = _RESEND_AFTER) -> None:
        """Send again what was sent longer than `patience` ago and never acknowledged, oldest first."""
        now = self._monotonic()
        for number, (sent, output, weight) in tuple(self._sent_output.items()):
            if now - sent >= patience:
                self._sent_output[number] = (now, output, weight)
                await self._channel.send(output)
        for number, (sent, reports) in tuple(self._sent_reports.items()):
            if now - sent >= patience:
                self._sent_reports[number] = (now, reports)
                await self._channel.send(reports)

    async def settled(self) -> None:
        """Wait until everything said has been acknowledged."""
        await self._settled.wait()

    async def _send_reports(self) -> None:
        if not self._reports:
            return
        items = tuple(self._reports.popleft() for _ in range(min(_BATCH, len(self._reports))))
        self._report_sequence += 1
        batch = Reports(sequence=self._report_sequence, items=items)
        self._sent_reports[batch.sequence] = (self._monotonic(), batch)
        await self._channel.send(batch)

    async def _send_output(self) -> None:
        chunks: list[OutputChunk] = []
        weight = 0
        while self._chunks and weight < _OUTPUT_BATCH and len(chunks) < _BATCH:
            chunk, cost = self._chunks.popleft()
            chunks.append(chunk)
            weight += cost
        if not chunks:
            return
        self._output_sequence += 1
        batch = Output(sequence=self._output_sequence, chunks=tuple(chunks))
        self._sent_output[batch.sequence] = (self._monotonic(), batch, weight)
        await self._channel.send(batch)

    def _note_settled(self) -> None:
        if not (self._reports or self._chunks or self._sent_reports or self._sent_output):
            self._settled.set()
