"""The live stream: server-sent events that say which topics changed; what they are now is fetched as usual."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

import msgspec
from starlette.responses import StreamingResponse

from rota.core.errors import Invalid
from rota.core.ids import is_run_id
from rota.server.api.routes import PREFIX, Answer, Call, NoBody, Parameters, Route
from rota.server.api.services import ApiServices
from rota.server.hints import Hints

MOST_TOPICS: Final = 200
BEAT_SECONDS: Final = 5.0
_RETRY_MILLISECONDS: Final = 2000


class StreamParameters(Parameters):
    """Topics by commas: `jobs`, `runs`, `workers`, `job:NS/NAME`, `run:ID`, `log:ID`; `since` as Last-Event-ID."""

    topics: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
    since: Annotated[str, msgspec.Meta(max_length=64)] = ""


async def open_stream(call: Call[StreamParameters, NoBody]) -> Answer:
    """Follow topics until the browser goes away."""
    topics = frozenset(topic for topic in call.parameters.topics.split(",") if topic)
    for topic in topics:
        _check_topic(topic)
    if not 1 <= len(topics) <= MOST_TOPICS:
        raise Invalid(f"{len(topics)} topics; 1 to {MOST_TOPICS} are possible on one stream")
    seen = call.request.headers.get("last-event-id") or call.parameters.since
    content = _while_allowed(call.services, call.actor.token_id or "", topics, seen)
    await anext(content)  # enters, or raises that there are too many
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Answer(raw=StreamingResponse(content, headers=headers, media_type="text/event-stream"))


def _check_topic(topic: str) -> None:
    kind, separator, thing = topic.partition(":")
    known = topic in ("jobs", "runs", "workers")
    known = known or (kind in ("run", "log") and is_run_id(thing))
    known = known or (kind == "job" and 3 <= len(thing) <= 201 and thing.count("/") == 1)
    if not known or (separator and not thing):
        raise Invalid(f'there is no topic "{topic[:60]}"', hint="jobs, runs, workers, job:NS/NAME, run:ID, log:ID")


async def _while_allowed(
    services: ApiServices, token_id: str, topics: frozenset[str], seen: str
) -> AsyncGenerator[bytes, None]:
    """The events, for as long as the token is valid and there is room. The first thing given is nothing."""
    over = asyncio.Event()
    with services.limits.stream(token_id), services.watch.hold(token_id, over.set):
        yield b""
        events = _events(services.hints, topics, seen, over)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()


async def _events(hints: Hints, topics: frozenset[str], seen: str, over: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """`changed` events, `reset` where what was missed is not known any more, and a beat while nothing happens."""
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    missed = hints.missed(seen, topics) if seen else set[str]()
    yield _event("hello" if missed is not None else "reset", hints.position, [])
    subscription = hints.subscribe(topics, first=missed or ())
    waiting: asyncio.Future[set[str]] | None = None
    ended = asyncio.ensure_future(over.wait())
    try:
        while not over.is_set():
            waiting = waiting or asyncio.ensure_future(anext(subscription, set()))
            waits: list[asyncio.Future[Any]] = [waiting, ended]
            done, _ = await asyncio.wait(waits, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                yield _event("beat", hints.position, [])
            elif waiting in done:
                changed, waiting = waiting.result(), None
                if not changed:
                    return
                yield _event("changed", hints.position, sorted(changed))
    finally:
        pending: list[asyncio.Future[Any]] = [one for one in (waiting, ended) if one is not None]
        for one in pending:
            one.cancel()
        await asyncio.wait(pending)
        await subscription.aclose()


def _event(name: str, position: str, topics: list[str]) -> bytes:
    data = msgspec.json.encode({"topics": topics}).decode()
    return f"id: {position}\nevent: {name}\ndata: {data}\n\n".encode()


ROUTES: Final[list[Route[Any, Any]]] = [
    Route(
        method="GET",
        path=PREFIX + "/stream",
        permission="read",
        summary="Live hints, as server-sent events",
        handler=open_stream,
        parameters=StreamParameters,
        body=NoBody,
        media_type="text/event-stream",
        headers={"Last-Event-ID": "the last event seen, to go on from there"},
    ),
]
