"""The channel between worker and server over a real socket: messages a second each way, alone and a hundred in a frame.

The worker's end runs in a process of its own, as it does in life. CPU time is that of both ends, for one message.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import uvloop
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from rota.core.model import ShellTask, Usage
from rota.server.web import serve
from rota.server.web_protocols import ABORT
from rota.wire.client_socket import CONNECT_OPTIONS, worker_channel
from rota.wire.messages import Assign, AttemptOrder, Drain, Finished, Goodbye, Reports
from rota.wire.server_socket import server_channel
from rota.wire.socket_channel import SocketChannel

MANY: Final = 100
NOW: Final = datetime(2026, 11, 25, tzinfo=UTC)
Channel = SocketChannel[Any, Any]


def orders(count: int) -> Assign:
    """Orders as they are given to a worker."""
    task = ShellTask(command="echo hello")
    about: dict[str, Any] = {"job": "team/job", "due": NOW, "attempt": 1, "task": task}
    return Assign(orders=tuple(AttemptOrder(run_id=f"{number:036}", fence=number, **about) for number in range(count)))


def reports(count: int) -> Reports:
    """Reports as a worker makes them."""
    about: dict[str, Any] = {"attempt": 1, "outcome": "succeeded", "started": NOW, "finished": NOW, "exit": 0}
    usage = Usage(cpu_seconds=0.01, peak_memory=10_000_000)
    items = (Finished(run_id=f"{number:036}", fence=number, usage=usage, **about) for number in range(count))
    return Reports(sequence=1, items=tuple(items))


async def send(channel: Channel, message: Any, last: Any, seconds: float) -> None:
    """Send one message again and again, then the last one."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await channel.send(message)
    await channel.send(last)


async def count(channel: Channel, last: type) -> int:
    """How many messages came before the last one."""
    got = 0
    while not isinstance(await channel.receive(), last):
        got += 1
    return got


async def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Serve one worker for each way and size."""
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    waiting: asyncio.Queue[tuple[Channel, asyncio.Event]] = asyncio.Queue()

    async def accept(opened: WebSocket) -> None:
        await opened.accept()
        channel, done = server_channel(opened, opened.scope["state"][ABORT]), asyncio.Event()
        await waiting.put((channel, done))
        await done.wait()
        await channel.close()

    app = Starlette(routes=[WebSocketRoute("/", accept)])
    serving = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=stop, bound=bound.set_result))
    figures: dict[str, dict[str, Any]] = {}
    for way in ("up", "down"):
        for size in (1, MANY):
            arguments = [sys.executable, "-m", "bench.channel", str(await bound), way, str(size), str(seconds)]
            worker = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
            channel, done = await waiting.get()
            begin, cpu = time.perf_counter(), time.process_time()
            if way == "down":
                await send(channel, orders(size), Drain(grace=1.0), seconds)
            else:
                await count(channel, Goodbye)
            spent, took = time.process_time() - cpu, time.perf_counter() - begin
            said = json.loads((await worker.communicate())[0])
            done.set()
            messages = said["frames"] * size
            figures[f"channel_{way}_{size}_per_s"] = {
                "value": round(messages / took),
                "unit": "messages/s",
                "better": "higher",
                "note": f"{'reports' if way == 'up' else 'orders'}, {size} to a frame; "
                f"{(spent + said['cpu']) / messages * 1e6:.1f} µs of CPU at both ends",
            }
    stop.set()
    await serving
    return figures


async def work(port: str, way: str, size: int, seconds: float) -> dict[str, Any]:
    """The worker's end."""
    answers: list[aiohttp.ClientResponse] = []

    async def look(request: aiohttp.ClientRequest, ask: Callable[..., Awaitable[Any]]) -> aiohttp.ClientResponse:
        answers.append(await ask(request))
        return answers[-1]

    async with aiohttp.ClientSession(middlewares=[look]) as session:
        opened = await session.ws_connect(f"http://127.0.0.1:{port}/", **CONNECT_OPTIONS)
        connection = answers[0].connection
        assert connection is not None
        assert connection.transport is not None
        channel: Channel = worker_channel(opened, connection.transport)
        cpu = time.process_time()
        if way == "up":
            sent = 0
            message, end = reports(size), time.perf_counter() + seconds
            while time.perf_counter() < end:
                await channel.send(message)
                sent += 1
            await channel.send(Goodbye())
        else:
            sent = await count(channel, Drain)
        spent = time.process_time() - cpu
        await channel.close()
    return {"frames": sent, "cpu": spent}


def run(*, smoke: bool = False) -> dict[str, dict[str, Any]]:
    """Messages a second over a channel."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(0.3 if smoke else 4.0))


def main(arguments: list[str]) -> None:
    """The process of the worker's end."""
    port, way, size, seconds = arguments
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work(port, way, int(size), float(seconds)))))


if __name__ == "__main__":
    main(sys.argv[1:])
