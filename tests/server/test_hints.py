"""The hub of live hints: coalescing, going on after a break, ending."""

import asyncio
from collections.abc import Iterable

from rota.server.hints import Hints
from rota.server.whispers import Whispers
from rota.store.signals import Listener


async def test_a_burst_is_told_once_and_then_again_after_a_second() -> None:
    hints, loop = Hints(), asyncio.get_running_loop()
    stream = hints.subscribe(["jobs"])
    for _ in range(100):
        hints.publish("jobs")
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    hints.publish("jobs")
    begin = loop.time()
    assert await waiting == {"jobs"}
    hints.publish("jobs")
    assert await anext(stream) == {"jobs"}
    assert 0.9 <= loop.time() - begin < 3
    await stream.aclose()
    assert hints.listeners == 0


async def test_a_log_is_told_four_times_a_second_and_others_do_not_hold_it_up() -> None:
    hints, loop = Hints(), asyncio.get_running_loop()
    stream = hints.subscribe(["log:1", "run:1"], first=["log:1", "run:1"])
    begin = loop.time()
    assert await anext(stream) == {"log:1", "run:1"}
    hints_after = {"log:1", "run:1", "other"}
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for topic in hints_after:
        hints.publish(topic)
    assert await waiting == {"log:1"}
    assert loop.time() - begin < 0.9
    assert await anext(stream) == {"run:1"}
    await stream.aclose()


def test_a_break_is_bridged_while_it_is_remembered() -> None:
    hints = Hints()
    topics = frozenset({"jobs", "runs"})
    begin = hints.position
    assert hints.missed(begin, topics) == set()
    hints.publish("jobs")
    middle = hints.position
    hints.publish("run:1")
    hints.publish("runs")
    assert hints.missed(begin, topics) == {"jobs", "runs"}
    assert hints.missed(middle, topics) == {"runs"}
    assert hints.missed(hints.position, topics) == set()
    for unknown in ("", "x", "other-1", f"{middle}99999", f"{begin.split('-')[0]}-x", f"{begin.split('-')[0]}--1"):
        assert hints.missed(unknown, topics) is None
    for _ in range(5000):
        hints.publish("jobs")
    assert hints.missed(begin, topics) is None


async def test_closing_ends_all_streams() -> None:
    hints = Hints()
    waiting = [asyncio.ensure_future(anext(hints.subscribe(["jobs"]), None)) for _ in range(3)]
    await asyncio.sleep(0)
    hints.close()
    assert await asyncio.gather(*waiting) == [None, None, None]


async def test_servers_tell_each_other_s_pages() -> None:
    here, there = Hints(), Hints()
    here.tell_others = there.hear
    changes = there.subscribe(["run:1", "jobs"])
    changed = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    here.publish("run:1")
    assert await changed == {"run:1"}
    position = there.position
    changed = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    there.forget()
    assert "jobs" in await changed
    assert there.missed(position, frozenset({"jobs"})) is None
    there.close()


class Wire:
    """What one server says, the other hears at once."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []
        self.listeners: list[Listener] = []

    def publish(self, topics: Iterable[str]) -> None:
        self.said.append(tuple(topics))
        for listener in self.listeners:
            listener(self.said[-1])

    def subscribe(self, listener: Listener) -> None:
        self.listeners.append(listener)


async def test_a_flood_of_hints_is_one_word_and_wakes_no_loop() -> None:
    wire, woken, hints = Wire(), list[str](), Hints()
    whispers = Whispers(wire)
    whispers.listen("~work", lambda: woken.append("work"))
    whispers.on_hint, whispers.on_missed = hints.hear, hints.forget
    position = hints.position
    for number in range(5):
        whispers.hint(f"run:{number}")
    await asyncio.sleep(0.2)
    assert wire.said == [tuple(f"run:{number}" for number in range(5))]
    assert hints.missed(position, frozenset({"run:3"})) == {"run:3"}
    for number in range(10_000):
        whispers.hint(f"run:{number}")
    await asyncio.sleep(0.2)
    assert [len(topics) for topics in wire.said] == [5, 1]
    assert hints.missed(position, frozenset({"run:3"})) is None
    assert woken == []
