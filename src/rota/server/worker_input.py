"""What is believed of what workers send: one place for ranges, lengths and clocks.

Types, counts and identifiers are checked where a frame is read (`rota.wire.messages`). Here is the rest: what no honest
worker says ends the connection; what only a wrong clock or a strange job says is put right and counted. Everything that
reaches the loops after this can be stored as it is.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from rota.clock import Clock
from rota.core.errors import Invalid, RotaError
from rota.core.model import OutputChunk, Usage
from rota.core.worker_names import check_labels, check_worker_name
from rota.events import Emit, WorkerMisspoke
from rota.server.rates import Bucket
from rota.wire.channel import ChannelClosed
from rota.wire.messages import (
    Finished,
    FromServer,
    FromWorker,
    Heartbeat,
    Hello,
    Output,
    Refused,
    Report,
    Reports,
    Returned,
    Started,
)
from rota.wire.socket_channel import SocketChannel

MOST_KINDS: Final = 16
MOST_ATTEMPTS: Final = 1_000_000  # of one kind, at once
MOST_CPUS: Final = 65_536
LONGEST_TEXT: Final = 16 * 1024  # of an error or a reason
LARGEST_RESULT: Final = 64 * 1024  # of what a job returns, in JSON
HEARTBEATS: Final = (50.0, 200.0)  # a second, and at once; a worker sends a few a second at most
_OLDEST: Final = timedelta(days=100)
_LARGEST: Final = 2**53
_WILDEST_CLOCK: Final = 100 * 365.25 * 86_400  # seconds


class Misspoken(RotaError):
    """A worker said what none says."""

    code = "WORKER_MISSPOKE"


class BelievedChannel:
    """A server's channel to a worker over the network that gives only what can be believed."""

    def __init__(
        self,
        channel: SocketChannel[FromServer, FromWorker],
        worker: str,
        clock: Clock,
        emit: Emit,
        greeted: Callable[[], None],
    ) -> None:
        """`greeted` is called when the first message came."""
        self._channel = channel
        self._worker = worker
        self._clock = clock
        self._emit = emit
        self._greeted = greeted
        self._is_open = False
        self._said: set[str] = set()
        self._heartbeats = Bucket(*HEARTBEATS, clock.monotonic())

    @property
    def is_local(self) -> bool:
        """The worker is somewhere else."""
        return False

    async def send(self, message: FromServer) -> None:
        """Hand over `message`."""
        await self._channel.send(message)

    async def receive(self) -> FromWorker:
        """The next message, as far as it is believed."""
        try:
            message = await self._channel.receive()
        except ChannelClosed:
            if self._channel.fault is not None:
                self._emit(WorkerMisspoke(worker=self._worker, what=self._channel.fault, cut_off=True))
            raise
        try:
            message, left_out = self._examined(message)
        except Misspoken as error:
            self._emit(WorkerMisspoke(worker=self._worker, what=error.detail, cut_off=True))
            if not self._is_open:
                await self._channel.send(Refused(reason=error.detail))
            await self._channel.refuse(error.detail)
            raise ChannelClosed(error.detail) from error
        if left_out and left_out not in self._said and len(self._said) < MOST_KINDS:
            self._said.add(left_out)  # a wrong clock is wrong in every report; it is said once
            self._emit(WorkerMisspoke(worker=self._worker, what=left_out, cut_off=False))
        if not self._is_open:
            self._is_open = True
            self._greeted()
        return message

    async def close(self) -> None:
        """Close both directions."""
        await self._channel.close()

    def _examined(self, message: FromWorker) -> tuple[FromWorker, str]:
        """The message, and what of it was put right."""
        if isinstance(message, Hello) and self._is_open:
            raise Misspoken("a second hello on one connection")
        if isinstance(message, Heartbeat) and self._heartbeats.take(self._clock.monotonic()) > 0:
            raise Misspoken(f"more than {HEARTBEATS[0]:g} heartbeats a second")
        return examine(message, self._clock.now())


def examine(message: FromWorker, now: datetime) -> tuple[FromWorker, str]:
    """A message as far as it is believed, and what of it was put right, in words; raises Misspoken."""
    match message:
        case Hello():
            _check_hello(message)
            return message, ""
        case Heartbeat():
            return _heartbeat(message)
        case Reports():
            return _reports(message, now)
        case Output():
            for chunk in message.chunks:
                _check_chunk(chunk)
            return message, ""
        case _:
            return message, ""


def _check_hello(hello: Hello) -> None:
    """Who it is and what it can carry."""
    try:
        check_worker_name(hello.worker)
        check_labels(hello.labels)
    except Invalid as error:
        raise Misspoken(f"hello: {error.detail}", hint=error.hint) from error
    for name, text in (("boot_id", hello.boot_id), ("version", hello.version)):
        if not text or not text.isprintable():
            raise Misspoken(f"hello: {name} is not a text")
    _check_counts("capacity", hello.capacity)
    if not 1 <= hello.cpus <= MOST_CPUS:
        raise Misspoken(f"hello: {hello.cpus} cpus")


def _heartbeat(beat: Heartbeat) -> tuple[Heartbeat, str]:
    """Credit within bounds; a clock that is no number is none."""
    if not math.isfinite(beat.sent):
        raise Misspoken("heartbeat: sent is not a number")
    _check_counts("credit", beat.credit)
    offset = beat.clock_offset
    if offset is None or abs(offset) <= _WILDEST_CLOCK:
        return beat, ""
    # NaN compares with nothing, so it comes here too.
    believed = None if math.isnan(offset) else math.copysign(_WILDEST_CLOCK, offset)
    return replace(beat, clock_offset=believed), "heartbeat: a clock offset no clock has"


def _check_counts(what: str, counts: Mapping[str, int]) -> None:
    """Numbers of attempts by kind."""
    if len(counts) > MOST_KINDS:
        raise Misspoken(f"{what}: {len(counts)} kinds of attempts")
    for kind, number in counts.items():
        if not 1 <= len(kind) <= 32 or not kind.isprintable() or not 0 <= number <= MOST_ATTEMPTS:
            raise Misspoken(f"{what}: {number} attempts of a kind")


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────


def _reports(reports: Reports, now: datetime) -> tuple[Reports, str]:
    """Reports with instants that can be, texts that can be stored, results that are JSON."""
    faults: dict[str, None] = {}
    items = [_report(item, now, faults) for item in reports.items]
    if not faults:
        return reports, ""
    return replace(reports, items=tuple(items)), "report: " + ", ".join(faults)


def _report(report: Report, now: datetime, faults: dict[str, None]) -> Report:
    """One report; what was put right goes to `faults`."""
    match report:
        case Finished():
            return _finished(report, now, faults)
        case Started() if not now - _OLDEST <= report.started <= now:
            # A worker's clock is a little ahead now and then: nothing to speak of.
            _note_instant(report.started, now, faults)
            return replace(report, started=_within(report.started, now))
        case Returned() if _text(report.why) != report.why:
            faults["a text that cannot be stored"] = None
            return replace(report, why=_text(report.why))
        case _:
            return report


def _finished(report: Finished, now: datetime, faults: dict[str, None]) -> Finished:
    """How an attempt ended."""
    changes: dict[str, Any] = {}
    oldest = now - _OLDEST
    if not oldest <= report.started <= now or not oldest <= report.finished <= now:
        _note_instant(report.started, now, faults)
        _note_instant(report.finished, now, faults)
        changes |= {"started": _within(report.started, now), "finished": _within(report.finished, now)}
    if report.finished < report.started:
        faults["an end before its beginning"] = None
        changes["finished"] = changes.get("started", report.started)
    if report.error is not None and _text(report.error) != report.error:
        changes["error"] = _text(report.error)
    if report.result is not None:
        kept = _result(report.result)
        if kept is None:
            faults["a result that cannot be stored"] = None
        changes["result"] = kept
    if report.failure is not None and not report.failure.isprintable():
        faults["a text that cannot be stored"] = None
        changes["failure"] = None
    if not _is_usage(report.usage):
        faults["a consumption that cannot be"] = None
        changes["usage"] = Usage()
    return replace(report, **changes) if changes else report


def _note_instant(instant: datetime, now: datetime, faults: dict[str, None]) -> None:
    """A clock that is a second ahead is nothing to speak of; one of another year is."""
    if not now - _OLDEST <= instant <= now + timedelta(seconds=5):
        faults["an instant far from the present"] = None


def _within(instant: datetime, now: datetime) -> datetime:
    return min(max(instant, now - _OLDEST), now)


def _text(text: str) -> str:
    """A text that every store can keep."""
    return text[:LONGEST_TEXT].replace("\0", "�")


def _result(value: Any) -> Any:
    """What a job returned, as JSON and back; None when it is none, or too large."""
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    if len(encoded) > LARGEST_RESULT:
        return None
    try:
        return msgspec.json.decode(encoded.replace(b"\\u0000", b"\\ufffd"))
    except (msgspec.DecodeError, RecursionError):
        return None


def _is_usage(usage: Usage) -> bool:
    """Whether an attempt can have consumed this."""
    cpu, memory = usage.cpu_seconds, usage.peak_memory
    return (cpu is None or 0 <= cpu < _LARGEST) and (memory is None or 0 <= memory < _LARGEST)


def _check_chunk(chunk: OutputChunk) -> None:
    """Numbers that can be stored; what the lines hold is bytes and stays what it is."""
    if len(chunk.run_id) > 64 or "\0" in chunk.run_id:
        raise Misspoken("output: a run id that is none")
    if any(not 0 <= number < _LARGEST for number in (chunk.attempt, chunk.sequence, chunk.first_line, chunk.offset)):
        raise Misspoken("output: a number out of range")
    for line in chunk.lines:
        if not 0 <= line.stream <= 2 or not 0 <= line.time < 2**62:
            raise Misspoken("output: a line out of range")
