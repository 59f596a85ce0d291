"""The alerter: carries notices from the outbox to their channels, at least once.

A notice is marked sent only after its channel took it, so a crash in between sends it again, under the same
Message-ID. Each route is served by a task of its own: a slow or dead one keeps nobody else waiting. When a route
fails, all that waits for it waits (1 min, doubling to 6 h) and a condition stands until it works again; after three
days a notice is given up, and that is said too.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from rota.alerts.channel import AlertChannel, NotTaken, Refused
from rota.alerts.message import build_message
from rota.clock import Clock
from rota.core.errors import RotaError
from rota.core.model import Notice, OutputLine, RunId
from rota.events import Emit, NoticeFailed, NoticeSent
from rota.loop import NO_REST, Loop
from rota.server.conditions import Conditions
from rota.store.bundle import Store

LONGEST_REST: Final = timedelta(seconds=5)
BATCH: Final = 200
TAIL_LINES: Final = 20
FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=6)
GIVE_UP_AFTER: Final = timedelta(days=3)
TEST: Final = "test"  # the event of a message that somebody sends to try a route; it is tried once


class Alerter(Loop):
    """Sends what is in the outbox."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, AlertChannel],
        clock: Clock,
        emit: Emit,
        public_url: str,
        *,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(emit)
        self._leads = leads  # whether the outbox is this server's duty
        self._conditions = Conditions(store.alerts, clock, emit)
        self._store = store
        self._channels = dict(channels)
        self._clock = clock
        self._public_url = public_url
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by route
        self._taken: set[str] = set()  # ids of notices a task holds
        self._passed_over = 0  # pending notices whose route was busy at the last look

    async def run(self) -> None:
        """Send until stopped; what is being sent then is sent again after the next start, unless it was settled."""
        try:
            await super().run()
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tick(self) -> timedelta:
        """Give what is pending to the tasks of its routes."""
        self._reap()
        if not self._leads():
            return LONGEST_REST
        now = self._clock.now()
        # Those of a busy route must not hide the others', so the look reaches beyond them.
        pending = await self._store.alerts.pending(now, BATCH + len(self._taken) + self._passed_over)
        waiting = [notice for notice in pending if notice.route in self._under_way]
        self._passed_over = len(waiting)
        for route, notices in _by_route([notice for notice in pending if notice.route not in self._under_way]):
            self._begin(route, notices)
        upcoming = await self._store.alerts.next_try()
        if upcoming is None or self._under_way:
            return LONGEST_REST  # an ending task wakes the loop
        return min(max(upcoming - now, NO_REST), LONGEST_REST)

    async def flush(self) -> None:
        """Wait until all that is being sent is settled."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())
            self._reap()

    def _begin(self, route: str, notices: Sequence[Notice]) -> None:
        """Start serving a route."""
        ids = {notice.id for notice in notices}
        self._taken |= ids
        task = asyncio.create_task(self._serve(route, notices), name=f"alerts to {route}")
        self._under_way[route] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._taken -= ids
            self.wake()

        task.add_done_callback(ended)

    def _reap(self) -> None:
        """Forget ended tasks; an unexpected error of one is the tick's."""
        for route, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[route]
                task.result()

    async def _serve(self, route: str, notices: Sequence[Notice]) -> None:
        """Send a route's notices in their order; the first failure postpones the rest."""
        for position, notice in enumerate(notices):
            try:
                await self._send(notice)
            except Refused as error:
                await self._settle_failed([notice], error, given_up=True)
            except NotTaken as error:
                await self._not_taken(notices[position:], error)
                return
            else:
                await self._settle_sent(notice)

    async def _send(self, notice: Notice) -> None:
        """Build the message and hand it to its channel."""
        name = notice.route.partition(":")[0]
        channel = self._channels.get(name)
        if channel is None:
            hint = f"define [channels.{name}] in rota.toml, or correct alert.to; defined: {', '.join(self._channels)}"
            raise NotTaken(f'there is no channel "{name}"', hint=hint)
        tail = await self._log_tail(notice)
        await channel.send(build_message(notice, log_tail=tail, public_url=self._public_url))

    async def _log_tail(self, notice: Notice) -> list[str]:
        """The last lines the run's last attempt wrote."""
        attempt = notice.facts.get("attempt")
        if notice.run_id is None or not isinstance(attempt, int) or attempt < 1:
            return []
        run = RunId(notice.run_id)
        size = await self._store.output.size(run, attempt)
        first = max(0, size.lines - TAIL_LINES)
        chunks = await self._store.output.read(run, attempt, first, TAIL_LINES) if size.lines else []
        return joined_lines([line for chunk in chunks for line in chunk.lines])[-TAIL_LINES:]

    async def _settle_sent(self, notice: Notice) -> None:
        """The channel took it."""
        now = self._clock.now()
        sent = replace(notice, state="sent", sent=now, tries=notice.tries + 1, next_try=None, error=None)
        await self._store.alerts.settle([sent])
        self._emit(NoticeSent(event=notice.event, route=notice.route, job=notice.job))
        await self._conditions.clear(_condition_key(notice.route))

    async def _not_taken(self, notices: Sequence[Notice], error: RotaError) -> None:
        """The route does not work: who tried it is told so, and all else is tried again."""
        tests = [notice for notice in notices if notice.event == TEST]
        others = [notice for notice in notices if notice.event != TEST]
        if tests:
            await self._settle_failed(tests, error, given_up=True)
        if others:
            await self._postpone(others, error)

    async def _postpone(self, notices: Sequence[Notice], error: RotaError) -> None:
        """The route does not work: the first of `notices` was tried, the others would meet the same."""
        now = self._clock.now()
        tried, *others = notices
        waiting = [notice for notice in notices if now - notice.created < GIVE_UP_AFTER]
        lost = [notice for notice in notices if notice not in waiting]
        next_try = now + wait_after(tried.tries + 1)
        await self._store.alerts.settle(
            [
                replace(notice, tries=notice.tries + (notice not in others), next_try=next_try, error=error.detail)
                for notice in waiting
            ]
        )
        for notice in waiting[:1]:
            self._emit_failed(notice, error, given_up=False)
        if lost:
            await self._settle_failed(lost, error, given_up=True)
        elif waiting:
            await self._raise(tried, f"messages to {tried.route} do not get through: {error.detail}", error.hint)

    async def _settle_failed(self, notices: Sequence[Notice], error: RotaError, *, given_up: bool) -> None:
        """These will not be tried again, and somebody must know: of a test it is who asked, and reads its error."""
        first = notices[0]
        is_test = first.event == TEST
        words = f"{error.detail}; {error.hint}" if is_test and error.hint else error.detail
        await self._store.alerts.settle(
            [replace(one, state="given-up", tries=one.tries + 1, next_try=None, error=words) for one in notices]
        )
        for notice in notices:
            self._emit_failed(notice, error, given_up=given_up)
        if not is_test:
            count = "a message" if len(notices) == 1 else f"{len(notices)} messages"
            await self._raise(first, f"gave up on {count} to {first.route}: {error.detail}", error.hint)

    async def _raise(self, notice: Notice, detail: str, hint: str | None) -> None:
        """A standing condition for the route, until it works again."""
        advice = hint or f"put it right, then: rota alerts test {notice.route}"
        await self._conditions.put(_condition_key(notice.route), detail, advice)

    def _emit_failed(self, notice: Notice, error: RotaError, *, given_up: bool) -> None:
        self._emit(
            NoticeFailed(
                event=notice.event,
                route=notice.route,
                error=error.detail,
                tries=notice.tries + 1,
                given_up=given_up,
            )
        )


def wait_after(tries: int) -> timedelta:
    """How long a route rests after its notice failed for the `tries`-th time."""
    doublings: int = min(tries - 1, 20)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def joined_lines(pieces: Sequence[OutputLine]) -> list[str]:
    """Whole lines from pieces of output: a line ends where the program ended it."""
    text = b"".join(piece.data for piece in pieces).decode("utf-8", "replace")
    return [line.rstrip("\r") for line in text.split("\n")[: None if text and not text.endswith("\n") else -1]]


def _by_route(notices: Sequence[Notice]) -> Iterator[tuple[str, list[Notice]]]:
    """Notices of one route together, each in the order given."""
    ordered = sorted(notices, key=lambda notice: notice.route)
    for route, group in groupby(ordered, key=lambda notice: notice.route):
        yield route, list(group)


def _condition_key(route: str) -> str:
    return f"alerts:{route}"
