"""The hub of live hints: coalescing, going on after a break, ending."""

import asyncio

from rota.server.hints import Hints


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
