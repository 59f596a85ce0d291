"""A client as one thing: `async with Client(target)`, or `with BlockingClient(target)` in code without a loop."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from rota.client.calls import Document, JobCalls, RunCalls, SystemCalls
from rota.client.discovery import Target
from rota.client.follow import follow_log, follow_run
from rota.client.transport import PATIENCE_SECONDS, Transport

T = TypeVar("T")


class Client:
    """The API of one server. `jobs`, `runs` and `system` hold the calls."""

    def __init__(self, target: Target, *, version: str = "", patience: float = PATIENCE_SECONDS) -> None:
        self.target = target
        self._transport = Transport(target, version=version, patience=patience)
        self.jobs = JobCalls(self._transport)
        self.runs = RunCalls(self._transport)
        self.system = SystemCalls(self._transport)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    def follow_run(self, run_id: str) -> AsyncIterator[Document]:
        """The run now and after each change, until it is final."""
        return follow_run(self._transport, run_id)

    def follow_log(
        self, run_id: str, *, attempt: int = 0, start: int = 0, follow: bool = True
    ) -> AsyncIterator[Document]:
        """The lines of its output; with `follow` as they come."""
        return follow_log(self._transport, run_id, attempt=attempt, start=start, follow=follow)


class BlockingClient:
    """The same calls without a loop of one's own: `rota.run(rota.api.jobs.list())`."""

    def __init__(self, target: Target, *, version: str = "", patience: float = PATIENCE_SECONDS) -> None:
        self._runner = asyncio.Runner()
        self.api = Client(target, version=version, patience=patience)

    def __enter__(self) -> "BlockingClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self.api.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait for one call."""
        return self._runner.run(call)

    def each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an asynchronous iterator, one after another."""
        try:
            while True:
                try:
                    yield self._runner.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                self._runner.run(close())


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
