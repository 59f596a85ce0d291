"""Clocks that are away from the store's are said, and it is said when they are right again."""

from datetime import timedelta

from tests.core.builders import NOON

from rota.clock import FollowingClock, ManualClock
from rota.events import ConditionCleared, ConditionRaised, Event
from rota.server.clock_watch import ClockWatch
from rota.store.sessions import Sign
from rota.stores.sqlite import open_sqlite


class Watched:
    """A server's clock and the workers it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.signs: list[Sign] = []
        self.wall = NOON.timestamp()

    def say(self, name: str, offset: float | None) -> None:
        self.signs = [sign for sign in self.signs if sign.name != name]
        self.signs.append(Sign(name=name, at=NOON, clock_offset=offset))

    def raised(self) -> list[str]:
        """What was raised and cleared since the last look."""
        told, self.events[:] = self.events[:], []
        return [
            f"{'+' if isinstance(event, ConditionRaised) else '-'}{event.key}"
            for event in told
            if isinstance(event, ConditionRaised | ConditionCleared)
        ]


async def test_a_clock_that_is_away_is_said_once_and_cleared() -> None:
    watched = Watched()
    store = await open_sqlite(None, clock=ManualClock(NOON), inline=True)
    clock = FollowingClock(monotonic=lambda: 0.0, wall=lambda: watched.wall)
    clock.follow(0.0, 0.0, NOON)
    loop = ClockWatch(store, "s1", lambda: watched.signs, clock, watched.events.append)
    watched.say("w1", None)
    watched.say("w2", 1.9)
    assert await loop.tick() == timedelta(seconds=5)
    assert watched.raised() == []
    watched.say("w2", -3600.0)
    await loop.tick()
    await loop.tick()
    assert watched.raised() == ["+worker-clock/w2"]
    (condition,) = await store.alerts.conditions()
    assert condition.detail == "the clock of worker w2 is 3600 s behind the store's"
    watched.wall += 3600
    await loop.tick()
    assert watched.raised() == ["+server-clock/s1"]
    watched.wall -= 3600
    watched.signs.clear()
    await loop.tick()
    assert watched.raised() == ["-server-clock/s1", "-worker-clock/w2"], "the worker is heard elsewhere now"
    assert await store.alerts.conditions() == []
    await store.close()


async def test_what_another_life_raised_is_cleared_by_who_sees_the_clock_right() -> None:
    watched = Watched()
    store = await open_sqlite(None, clock=ManualClock(NOON), inline=True)
    clock = FollowingClock(monotonic=lambda: 0.0, wall=lambda: watched.wall)
    clock.follow(0.0, 0.0, NOON)
    watched.say("w1", 3600.0)
    watched.say("w2", 3600.0)
    watched.wall += 3600
    await ClockWatch(store, "s1", lambda: watched.signs, clock, watched.events.append).tick()
    assert watched.raised() == ["+worker-clock/w1", "+worker-clock/w2", "+server-clock/s1"]
    watched.signs.clear()
    watched.wall -= 3600
    again = ClockWatch(store, "s1", lambda: watched.signs, clock, watched.events.append)
    await again.tick()
    assert watched.raised() == ["-server-clock/s1"]
    watched.say("w1", None)
    watched.say("w2", None)
    await again.tick()
    assert watched.raised() == [], "they have come and not said what their clocks show"
    watched.say("w1", 0.0)
    watched.say("w2", 3600.0)
    await again.tick()
    assert watched.raised() == ["-worker-clock/w1"], "the clock of w2 is away still, and that was said"
    watched.signs.clear()
    await again.tick()
    assert await store.alerts.conditions() == []
    await store.close()
