"""Channels over real sockets: order, waiting, and every way a connection can end."""

import asyncio
import os
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from tests.wire.served_channel import End, Served, Wire

from rota.core.model import OutputChunk, OutputLine, RunId, ShellTask, Usage
from rota.wire.channel import ChannelClosed
from rota.wire.frames import FRAME_LIMIT, FRAME_TARGET, FrameTooLarge, frames_of, from_worker
from rota.wire.messages import (
    Assign,
    AttemptOrder,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Output,
    Refused,
    Reports,
    ReportsAcknowledged,
)

NOW = "2026-11-23T12:00:00Z"


def order(size: int = 10, number: int = 1) -> AttemptOrder:
    due = msgspec.convert(NOW, type=AttemptOrder.__annotations__["due"])
    task = ShellTask(command="x" * size)
    return AttemptOrder(run_id=f"r{number}", job="a/b", due=due, attempt=1, fence=number, task=task)


def output(size: int) -> Output:
    line = OutputLine(1, 2, os.urandom(size))
    chunk = OutputChunk(run_id=RunId("r"), attempt=1, sequence=0, first_line=0, offset=0, lines=(line,))
    return Output(sequence=1, chunks=(chunk,))


async def echo(end: End) -> None:
    """Answer heartbeats by acknowledgements until the end."""
    try:
        while True:
            message = await end.receive()
            if isinstance(message, Heartbeat):
                await end.send(ReportsAcknowledged(sequence=int(message.sent)))
    except ChannelClosed:
        return


async def hold(end: End) -> None:
    """Receive nothing until the end of the test."""
    await asyncio.Event().wait()


async def for_ever(do: Callable[[], Awaitable[None]]) -> None:
    """Do it until it raises."""
    async with asyncio.timeout(30):
        while True:
            await do()


class Held:
    """A server that hands its end to the test."""

    def __init__(self) -> None:
        self.end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.done = asyncio.Event()

    async def __call__(self, end: End) -> None:
        self.end.set_result(end)
        await self.done.wait()


async def test_messages_arrive_in_order_both_ways() -> None:
    async with Served(echo).running() as served, served.client() as worker:
        assert not worker.is_local

        async def say() -> None:
            for number in range(2000):
                await worker.send(Heartbeat(sent=float(number)))

        saying = asyncio.create_task(say())
        assert [await worker.receive() for _ in range(2000)] == [ReportsAcknowledged(sequence=n) for n in range(2000)]
        await saying


async def test_senders_that_wait_keep_their_turn() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        big = [server.send(Assign(orders=(order(200_000, number),))) for number in range(40)]
        sending = asyncio.gather(*big, server.send(Drain(grace=1.0)))
        got = [await worker.receive() for _ in range(41)]
        await sending
        assert [one.orders[0].fence for one in got[:40]] == list(range(40))
        assert got[40] == Drain(grace=1.0)
        held.done.set()


@pytest.mark.parametrize("closer", ["worker", "server"])
async def test_what_was_sent_before_the_end_is_still_received(closer: str) -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        ends = {"worker": (worker, server, Heartbeat(sent=1.0)), "server": (server, worker, Refused(reason="no"))}
        sender, receiver, message = ends[closer]
        for _ in range(50):
            await sender.send(message)
        closing = asyncio.create_task(sender.close())
        assert [await receiver.receive() for _ in range(50)] == [message] * 50
        for _ in range(2):
            with pytest.raises(ChannelClosed):
                await receiver.receive()
        with pytest.raises(ChannelClosed):
            await receiver.send(Goodbye())
        with pytest.raises(ChannelClosed):
            await sender.send(Goodbye())
        await closing
        held.done.set()


@pytest.mark.parametrize("closer", ["worker", "server"])
async def test_closing_ends_a_receive_that_waits_at_either_end(closer: str) -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        waiting = [asyncio.create_task(worker.receive()), asyncio.create_task(server.receive())]
        await asyncio.wait(waiting, timeout=0.02)
        await (worker if closer == "worker" else server).close()
        await (worker if closer == "worker" else server).close()  # never fails
        async with asyncio.timeout(3):
            for task in waiting:
                with pytest.raises(ChannelClosed):
                    await task
        held.done.set()


async def test_a_sender_waits_while_the_other_end_takes_nothing_and_memory_does_not_grow() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await server.send(Assign(orders=(order(100_000),)))
                sent += 1

        flooding = asyncio.create_task(flood())
        await asyncio.wait({flooding}, timeout=0.5)
        assert not flooding.done()
        assert sent * 100_000 < 16 * 1024 * 1024  # what kernel and buffers hold, and no more
        before = sent
        for _ in range(before):
            await worker.receive()
        await asyncio.wait({flooding}, timeout=0.1)
        assert sent > before
        flooding.cancel()
        held.done.set()


@pytest.mark.parametrize("stuck", ["worker", "server"])
async def test_a_send_is_given_up_after_a_time_and_ends_the_connection(stuck: str) -> None:
    held = Held()
    served = Served(held, send_seconds=0.3)
    async with served.running(), Wire(served).running() as wire, wire.client(served, 0.3) as worker:
        server = await held.end
        wire.passing.clear()  # the line is there, and nothing passes: half open
        orders, lines = Assign(orders=(order(200_000),)), output(200_000)
        end, message = (server, orders) if stuck == "server" else (worker, lines)
        receiving = asyncio.create_task(end.receive())
        with pytest.raises(ChannelClosed, match=r"took nothing for 0\.3 seconds"):
            await for_ever(lambda: end.send(message))
        with pytest.raises(ChannelClosed, match="took nothing"):
            await asyncio.wait_for(receiving, 3)
        wire.passing.set()
        held.done.set()


async def test_a_reset_is_the_end_at_both_ends() -> None:
    held = Held()
    served = Served(held)
    async with served.running(), Wire(served).running() as wire, wire.client(served) as worker:
        server = await held.end
        waiting = [asyncio.create_task(worker.receive()), asyncio.create_task(server.receive())]
        await asyncio.wait(waiting, timeout=0.02)
        wire.reset()
        for task in waiting:
            with pytest.raises(ChannelClosed, match="broke"):
                await task
        for end in (worker, server):
            with pytest.raises(ChannelClosed):
                await end.send(Goodbye())
            await end.close()
        held.done.set()


async def test_a_cut_in_the_middle_of_a_frame_gives_no_message() -> None:
    held = Held()
    served = Served(held)
    async with served.running(), Wire(served).running() as wire, wire.client(served) as worker:
        server = await held.end
        await worker.send(Heartbeat(sent=1.0))
        assert await server.receive() == Heartbeat(sent=1.0)
        wire.cut_after(70_000)
        await worker.send(output(200_000))
        with pytest.raises(ChannelClosed):
            await server.receive()
        assert server.fault is None
        held.done.set()


# ── what must not come ───────────────────────────────────────────────────────────────────────────────────


class Raw:
    """A client that writes what it likes into an open WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Raw":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        writer.write(head.encode())
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    def frame(self, payload: bytes, *, opcode: int = 2, fin: bool = True, length: int | None = None) -> None:
        size = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | opcode])
        head += bytes([0x80 | 127]) + struct.pack("!Q", size) if size > 125 else bytes([0x80 | size])
        self.writer.write(head + b"\0\0\0\0" + payload)

    async def closing(self) -> tuple[int, str]:
        """Code and reason of the server's close frame."""
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(2)
            assert head[0] == 0x88, head
            body = await self.reader.readexactly(head[1])
        return struct.unpack("!H", body[:2])[0], body[2:].decode()


def packed(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    ("frame", "opcode", "code", "said"),
    [
        (b"\xc1", 2, 1008, "not understood"),
        (b"", 2, 1008, "not understood"),
        (b"hello", 1, 1008, "text frame"),
        (packed(type="Dance"), 2, 1008, "'Dance'"),
        (packed(type="Welcome", session=1, server="s", now=NOW), 2, 1008, "'Welcome'"),
        (packed(kind="Goodbye"), 2, 1008, "not understood"),
        (packed(type="Heartbeat", sent="soon"), 2, 1008, "$.sent"),
        (packed(type="Heartbeat"), 2, 1008, "sent"),
        (b"\x91" * 200_000 + b"\xc0", 2, 1008, "not understood"),
        (b"x", 3, 1002, ""),
    ],
)
async def test_garbage_ends_the_connection_and_says_why(frame: bytes, opcode: int, code: int, said: str) -> None:
    held = Held()
    async with Served(held).running() as served:
        raw = await Raw.connect(served.port)
        server = await held.end
        raw.frame(frame, opcode=opcode)
        with pytest.raises(ChannelClosed):
            await server.receive()
        assert server.fault is not None
        got, reason = await raw.closing()
        assert got == code
        assert said in reason
        held.done.set()
        raw.writer.close()


async def test_unknown_fields_are_left_out() -> None:
    held = Held()
    async with Served(held).running() as served:
        raw = await Raw.connect(served.port)
        server = await held.end
        raw.frame(packed(type="Heartbeat", sent=1.5, mood="good"))
        assert await server.receive() == Heartbeat(sent=1.5)
        held.done.set()
        raw.writer.close()


@pytest.mark.parametrize("pieces", [1, 5])
async def test_a_frame_over_the_limit_ends_it_before_it_is_in_memory(pieces: int) -> None:
    held = Held()
    async with Served(held).running() as served:
        raw = await Raw.connect(served.port)
        server = await held.end
        receiving = asyncio.create_task(server.receive())
        if pieces == 1:
            raw.frame(b"", length=FRAME_LIMIT + 1)  # the announcement is enough
        else:
            for number in range(pieces):
                raw.frame(bytes(FRAME_LIMIT // 4), opcode=2 if number == 0 else 0, fin=False)
        with pytest.raises(ChannelClosed, match=r"1009"):
            await receiving
        assert server.fault is not None
        code, _ = await raw.closing()
        assert code == 1009
        held.done.set()
        raw.writer.close()


async def test_the_worker_does_not_take_a_frame_over_the_limit_either() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        await server._socket.send(bytes(FRAME_LIMIT + 1))
        with pytest.raises(ChannelClosed):
            await worker.receive()
        held.done.set()


async def test_random_bytes_never_do_more_than_end_the_connection() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    async with Served(echo).running() as served:
        for _ in range(150):
            raw = await Raw.connect(served.port)
            raw.writer.write(chance.randbytes(chance.randrange(1, 300)))
            raw.writer.write_eof()
            async with asyncio.timeout(5):
                try:
                    await raw.reader.read()
                except ConnectionError:
                    pass
            raw.writer.close()
        async with served.client() as worker:
            await worker.send(Heartbeat(sent=7.0))
            assert await worker.receive() == ReportsAcknowledged(sequence=7), f"seed {seed}"


async def test_pings_whose_answers_are_not_read_end_the_connection() -> None:
    held = Held()
    async with Served(held).running() as served:
        raw = await Raw.connect(served.port)
        server = await held.end
        receiving = asyncio.create_task(server.receive())

        async def ping() -> None:
            raw.frame(bytes(125), opcode=9)
            await raw.writer.drain()

        with pytest.raises(ConnectionError):
            await for_ever(ping)
        with pytest.raises(ChannelClosed):
            await receiving
        held.done.set()


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_many_orders_travel_in_several_frames() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        orders = tuple(order(1000, number) for number in range(1, 2001))
        sending = asyncio.create_task(server.send(Assign(orders=orders)))
        got: list[AttemptOrder] = []
        frames = 0
        while len(got) < len(orders):
            message = await worker.receive()
            frames += 1
            assert len(msgspec.msgpack.encode(message)) <= FRAME_TARGET
            got += message.orders
        await sending
        assert tuple(got) == orders
        assert frames >= 8
        held.done.set()


async def test_an_order_no_frame_can_carry_does_not_keep_the_others_and_is_said() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        orders = (order(10, 1), order(FRAME_LIMIT, 2), order(10, 3))
        with pytest.raises(FrameTooLarge, match="a Assign of"):
            await server.send(Assign(orders=orders))
        got = [*(await worker.receive()).orders, *(await worker.receive()).orders]
        assert [one.fence for one in got] == [1, 3]
        await server.send(Drain(grace=1.0))  # the connection is as good as before
        assert await worker.receive() == Drain(grace=1.0)
        held.done.set()


async def test_a_heartbeat_does_not_wait_behind_megabytes_of_output() -> None:
    served = Served(echo)
    async with served.running(), Wire(served).running() as wire, wire.client(served) as worker:
        wire.rate = 1024 * 1024.0
        loop = asyncio.get_running_loop()

        async def print_without_end() -> None:
            while True:
                await worker.send(output(64 * 1024))

        printing = asyncio.create_task(print_without_end())
        await asyncio.wait({printing}, timeout=1.5)
        before = loop.time()
        await worker.send(Heartbeat(sent=1.0))
        assert await worker.receive() == ReportsAcknowledged(sequence=1)
        assert loop.time() - before < 3.5  # 7 to 8 with the kernel's usual buffers
        printing.cancel()


@pytest.mark.parametrize(
    ("result", "read"),
    [
        (2**70, str(2**70)),
        ({"a": [-(2**70), 1, True, None, 2**64 - 1]}, {"a": [str(-(2**70)), 1, True, None, 2**64 - 1]}),
        ({"half \ud800": "\ud800"}, {"half ?": "?"}),
    ],
)
def test_what_msgpack_cannot_say_is_said_plainly(result: Any, read: Any) -> None:
    now = msgspec.convert(NOW, type=datetime)
    usage = Usage(cpu_seconds=1.5)
    done = Finished(
        run_id="r", attempt=1, fence=1, outcome="succeeded", started=now, finished=now, result=result, usage=usage
    )
    (frame,) = frames_of(Reports(sequence=1, items=(done,)))
    assert isinstance(frame, bytes)
    message = from_worker.read(frame)
    assert message == Reports(sequence=1, items=(msgspec.structs.replace(done, result=read),))


async def test_small_messages_leave_at_once() -> None:
    held = Held()
    async with Served(held).running() as served, served.client() as worker:
        server = await held.end
        for end in (worker._socket._transport, server._socket._abort.__self__):
            kernel = end.get_extra_info("socket")
            assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 128 * 1024
            assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        held.done.set()
