"""An HTTP server that answers as it is told, byte by byte, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = bytes | Callable[["Asked"], bytes] | None


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """`answers` are given in turn, the last one again and again; None closes the connection without a word."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)


def answer(status: int, value: Any = None, *, kind: str = "application/json", **headers: str) -> bytes:
    """The bytes of an answer."""
    body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def problem(status: int, code: str, **more: Any) -> bytes:
    """The bytes of a problem."""
    value = {"status": status, "code": code, "detail": f"it is {code}", "hint": "do this", "request_id": "r1"} | more
    headers = {"Retry_After": "0.05"} if status == 503 else {}
    return answer(status, value, kind="application/problem+json", **headers)


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    """Answer until the block ends."""
    server = Scripted(answers=list(answers))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = head[0].split(" ")
        raw = dict(line.split(": ", 1) for line in head[1:] if line)
        server.asked.append(Asked(method, path, {name.lower(): text for name, text in raw.items()}, body))
        given = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if given is not None:
            writer.write(given(server.asked[-1]) if callable(given) else given)
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
