import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.alerts.mail_server import mail_server, text_of
from tests.alerts.notices import NOON, RUN, make_notice

from rota.alerts.channel import Message, NotTaken, Refused
from rota.alerts.registry import make_channels
from rota.clock import ManualClock
from rota.core.model import Notice, OutputChunk, OutputLine
from rota.events import ConditionCleared, ConditionRaised, Event, NoticeFailed, NoticeSent
from rota.server.alerter import FIRST_WAIT, GIVE_UP_AFTER, LONGEST_REST, LONGEST_WAIT, Alerter, joined_lines, wait_after
from rota.settings import MailSettings
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite


class Recording:
    """A channel that keeps messages, fails as told, and can be held up."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.reached.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.messages.append(message)

    async def probe(self) -> str:
        return "recorded"


class Setup:
    """An alerter over SQLite in memory with two channels."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.events: list[Event] = []
        self.mail, self.chat = Recording(), Recording()
        self.alerter = self.restarted()

    def restarted(self) -> Alerter:
        channels = {"mail": self.mail, "chat": self.chat}
        return Alerter(self.store, channels, self.clock, self.events.append, "https://rota.test")

    async def work(self) -> None:
        """One tick, and everything that it began."""
        await self.alerter.tick()
        await self.alerter.flush()

    async def notice(self, notice: Notice) -> Notice:
        return next(one for one in await self.store.alerts.recent(1000) if one.id == notice.id)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    clock = ManualClock(NOON)
    store = await open_sqlite(None, clock=clock, inline=True)
    yield Setup(store, clock)
    await store.close()


async def test_a_notice_is_sent_once_and_marked(setup: Setup) -> None:
    await setup.store.alerts.add([make_notice()])
    await setup.work()
    await setup.work()
    assert [message.target for message in setup.mail.messages] == ["ops@example.com"]
    sent = await setup.notice(make_notice())
    assert (sent.state, sent.sent, sent.tries) == ("sent", NOON, 1)
    assert len(setup.of(NoticeSent)) == 1


async def test_not_settled_means_sent_again_with_the_same_id(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    await setup.store.alerts.add([make_notice()])
    settle = setup.store.alerts.settle

    async def dies(notices: Any) -> None:
        raise ConnectionError("killed")

    monkeypatch.setattr(setup.store.alerts, "settle", dies)
    await setup.alerter.tick()
    with pytest.raises(ConnectionError):
        await setup.alerter.flush()
    monkeypatch.setattr(setup.store.alerts, "settle", settle)
    setup.alerter = setup.restarted()
    await setup.work()
    first, second = setup.mail.messages
    assert first.id == second.id


async def test_the_log_tail_is_read_when_it_is_sent(setup: Setup) -> None:
    lines = tuple(OutputLine(time=0, stream=0, data=b"line %d\n" % number) for number in range(50))
    chunk = OutputChunk(run_id=RUN, attempt=4, sequence=0, first_line=0, offset=0, lines=lines)
    await setup.store.output.append([chunk])
    await setup.store.alerts.add([make_notice()])
    await setup.work()
    (message,) = setup.mail.messages
    assert "Last 20 lines" in message.text
    assert "> line 49" in message.text
    assert "> line 29\n" not in message.text
    assert f"https://rota.test/r/{RUN}" in message.text


async def test_a_failing_route_backs_off_and_recovers(setup: Setup) -> None:
    await setup.store.alerts.add([make_notice()])
    setup.mail.error = NotTaken("mail server is down", hint="start it")
    await setup.work()
    waiting = await setup.notice(make_notice())
    assert (waiting.state, waiting.tries, waiting.next_try) == ("pending", 1, NOON + FIRST_WAIT)
    assert waiting.error == "mail server is down"
    await setup.work()
    assert len(setup.of(NoticeFailed)) == 1, "nothing is tried before its time"
    (condition,) = await setup.store.alerts.conditions()
    assert "mail server is down" in condition.detail
    assert condition.hint == "start it"
    setup.clock.advance(FIRST_WAIT)
    await setup.work()
    assert (await setup.notice(make_notice())).next_try == setup.clock.now() + 2 * FIRST_WAIT
    setup.mail.error = None
    setup.clock.advance(2 * FIRST_WAIT)
    await setup.work()
    assert (await setup.notice(make_notice())).state == "sent"
    assert await setup.store.alerts.conditions() == []
    assert len(setup.of(ConditionRaised)) == len(setup.of(ConditionCleared)) == 1


async def test_after_three_days_it_is_given_up_and_that_is_said(setup: Setup) -> None:
    await setup.store.alerts.add([make_notice()])
    setup.mail.error = NotTaken("down")
    await setup.work()
    setup.clock.advance(GIVE_UP_AFTER)
    await setup.work()
    lost = await setup.notice(make_notice())
    assert (lost.state, lost.next_try) == ("given-up", None)
    assert setup.of(NoticeFailed)[-1].given_up
    (condition,) = await setup.store.alerts.conditions()
    assert "gave up" in condition.detail
    setup.clock.advance(LONGEST_WAIT)
    await setup.work()
    assert len(setup.of(NoticeFailed)) == 2


async def test_a_refused_notice_does_not_hold_up_those_behind_it(setup: Setup) -> None:
    first, second = make_notice(), make_notice("recovered")
    await setup.store.alerts.add([first, replace(second, created=NOON + timedelta(seconds=1))])
    sent = setup.mail.send

    async def picky(message: Message) -> None:
        if message.id == first.id:
            raise Refused("550 no such user")
        await sent(message)

    setup.mail.send = picky  # type: ignore[method-assign]
    await setup.work()
    assert (await setup.notice(first)).state == "given-up"
    assert (await setup.notice(second)).state == "sent"


async def test_a_test_that_fails_is_over_and_is_no_condition(setup: Setup) -> None:
    """Its route may be a slip of the pen: whoever sent it is told at once, and nobody else."""
    first, second = make_notice("test"), replace(make_notice("test"), id="test-2")
    setup.mail.error = NotTaken("down")
    await setup.store.alerts.add([first])
    await setup.work()
    assert ((await setup.notice(first)).state, (await setup.notice(first)).error) == ("given-up", "down")
    assert await setup.store.alerts.conditions() == []
    await setup.store.alerts.add([second, make_notice()])
    await setup.work()
    assert (await setup.notice(second)).state == "given-up"
    assert (await setup.notice(make_notice())).state == "pending"
    (condition,) = await setup.store.alerts.conditions()
    assert condition.detail == "messages to mail:ops@example.com do not get through: down", "it is of the other message"


async def test_one_failure_postpones_all_of_its_route_without_trying_them(setup: Setup) -> None:
    await setup.store.alerts.add([make_notice(), make_notice("recovered"), make_notice("missed")])
    setup.mail.error = NotTaken("down")
    await setup.work()
    found = await setup.store.alerts.recent(10)
    assert sorted(notice.tries for notice in found) == [0, 0, 1]
    assert {notice.next_try for notice in found} == {NOON + FIRST_WAIT}


async def test_a_slow_route_keeps_nobody_else_waiting(setup: Setup) -> None:
    setup.mail.open.clear()
    await setup.store.alerts.add([make_notice()])
    await setup.alerter.tick()
    await setup.mail.reached.wait()
    late = make_notice(route="chat:ops")
    await setup.store.alerts.add([late])
    await setup.alerter.tick()
    await setup.chat.reached.wait()
    while (await setup.notice(late)).state != "sent":
        await asyncio.sleep(0)
    assert setup.mail.messages == []
    setup.mail.open.set()
    await setup.alerter.flush()
    assert len(setup.mail.messages) == 1


async def test_a_crowd_behind_a_slow_route_does_not_hide_the_others(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rota.server.alerter.BATCH", 2)
    setup.mail.open.clear()
    await setup.store.alerts.add([make_notice()])
    await setup.alerter.tick()
    crowd = [replace(make_notice(), id=f"n{number}", created=NOON) for number in range(7)]
    late = replace(make_notice(route="chat:ops"), created=NOON + timedelta(seconds=1))
    await setup.store.alerts.add([*crowd, late])
    for _ in range(6):
        await setup.alerter.tick()
    await asyncio.wait_for(setup.chat.reached.wait(), 5)
    setup.mail.open.set()
    await setup.alerter.flush()
    for _ in range(6):
        await setup.work()
    assert len(setup.mail.messages) == 8


async def test_an_unknown_channel_is_named_and_waits_for_its_definition(setup: Setup) -> None:
    notice = make_notice(route="slack:ops")
    await setup.store.alerts.add([notice])
    await setup.work()
    waiting = await setup.notice(notice)
    assert waiting.state == "pending"
    assert waiting.error == 'there is no channel "slack"'
    (condition,) = await setup.store.alerts.conditions()
    assert "[channels.slack]" in (condition.hint or "")


async def test_rest_reaches_to_the_next_try_but_never_far(setup: Setup) -> None:
    assert await setup.alerter.tick() == LONGEST_REST
    soon = replace(make_notice(), next_try=NOON + timedelta(seconds=2))
    await setup.store.alerts.add([soon])
    assert await setup.alerter.tick() == timedelta(seconds=2)
    assert setup.mail.messages == []


async def test_runs_as_a_loop_and_ends_while_a_channel_hangs(setup: Setup) -> None:
    setup.mail.open.clear()
    await setup.store.alerts.add([make_notice()])
    running = asyncio.create_task(setup.alerter.run())
    await setup.mail.reached.wait()
    setup.alerter.stop()
    await asyncio.wait_for(running, 5)
    assert (await setup.notice(make_notice())).state == "pending"


async def test_an_ended_send_wakes_the_loop_for_what_came_meanwhile(setup: Setup) -> None:
    setup.mail.open.clear()
    await setup.store.alerts.add([make_notice()])
    running = asyncio.create_task(setup.alerter.run())
    await setup.mail.reached.wait()
    await setup.store.alerts.add([make_notice("recovered")])
    setup.mail.open.set()
    async with asyncio.timeout(4):
        while len(setup.mail.messages) < 2:
            await asyncio.sleep(0)
    setup.alerter.stop()
    await running


async def test_from_outbox_to_a_real_mail_server(setup: Setup) -> None:
    async with mail_server() as box:
        settings = {"mail": MailSettings(host="127.0.0.1", port=box.port, sender="rota@example.com")}
        alerter = Alerter(setup.store, make_channels(settings), setup.clock, setup.events.append, "")
        await setup.store.alerts.add([make_notice(), make_notice("recovered")])
        await alerter.tick()
        await alerter.flush()
    subjects = sorted(str(mail["Subject"]) for mail in box.messages)
    assert [subject.split()[0] for subject in subjects] == ["FAILED", "RECOVERED"]
    assert "http 503" in text_of(box.messages[0]) or "http 503" in text_of(box.messages[1])


def test_waits_double_up_to_six_hours() -> None:
    waits = [wait_after(tries) for tries in range(1, 40)]
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a\n", b"b\n"], ["a", "b"]),
        ([b"long ", b"line\n", b"rest"], ["long line", "rest"]),
        ([b"a\r\n"], ["a"]),
        ([b"\xff\xfe\n"], ["��"]),
        ([b"\n", b"\n"], ["", ""]),
    ],
)
def test_lines_from_pieces(pieces: list[bytes], lines: list[str]) -> None:
    assert joined_lines([OutputLine(time=0, stream=0, data=piece) for piece in pieces]) == lines
