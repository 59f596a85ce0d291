"""The channel inside a process: in order, at most once, and an end that everybody notices."""

import asyncio

import pytest

from rota.wire.channel import ChannelClosed, memory_channel
from rota.wire.messages import Drain, Goodbye, Heartbeat

MANY = 3000  # more than fit at once


async def test_messages_arrive_in_order_both_ways() -> None:
    worker, server = memory_channel()
    for number in range(10):
        await worker.send(Heartbeat(sent=float(number)))
        await server.send(Drain(grace=float(number)))
    assert [await server.receive() for _ in range(10)] == [Heartbeat(sent=float(n)) for n in range(10)]
    assert [await worker.receive() for _ in range(10)] == [Drain(grace=float(n)) for n in range(10)]


async def test_sender_waits_while_the_other_end_is_too_far_behind() -> None:
    worker, server = memory_channel()

    async def send_all() -> None:
        for number in range(MANY):
            await worker.send(Heartbeat(sent=float(number)))

    sending = asyncio.create_task(send_all())
    await asyncio.wait({sending}, timeout=0.01)
    assert not sending.done()
    received = [await server.receive() for _ in range(MANY)]
    assert received == [Heartbeat(sent=float(number)) for number in range(MANY)]
    await sending


@pytest.mark.parametrize("closer", ["worker", "server"])
async def test_what_was_sent_before_the_end_is_still_received(closer: str) -> None:
    worker, server = memory_channel()
    await worker.send(Heartbeat(sent=1.0))
    await worker.send(Goodbye())
    await (worker if closer == "worker" else server).close()
    assert await server.receive() == Heartbeat(sent=1.0)
    assert await server.receive() == Goodbye()
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            await server.receive()


async def test_both_ends_refuse_to_send_after_the_end() -> None:
    worker, server = memory_channel()
    await server.close()
    with pytest.raises(ChannelClosed):
        await worker.send(Goodbye())
    with pytest.raises(ChannelClosed):
        await server.send(Drain(grace=1.0))
    await worker.close()
    await server.close()


async def test_waiting_receiver_is_told_of_the_end() -> None:
    worker, server = memory_channel()
    waiting = [asyncio.create_task(server.receive()), asyncio.create_task(worker.receive())]
    await asyncio.wait(waiting, timeout=0.01)
    await worker.close()
    for task in waiting:
        with pytest.raises(ChannelClosed):
            await task


async def test_waiting_sender_is_told_of_the_end() -> None:
    worker, server = memory_channel()

    async def send_for_ever() -> None:
        while True:
            await worker.send(Goodbye())

    sending = asyncio.create_task(send_for_ever())
    await asyncio.wait({sending}, timeout=0.01)
    await server.close()
    with pytest.raises(ChannelClosed):
        async with asyncio.timeout(5):
            await sending


async def test_cancelled_sender_sends_nothing_later() -> None:
    worker, server = memory_channel()
    sent: list[Heartbeat] = []

    async def send_for_ever() -> None:
        while True:
            message = Heartbeat(sent=float(len(sent)))
            await worker.send(message)
            sent.append(message)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send_for_ever(), 0.05)
    assert [await server.receive() for _ in range(len(sent))] == sent
    await worker.close()
    with pytest.raises(ChannelClosed):
        await server.receive()
