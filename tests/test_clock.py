"""A followed clock: the best reading counts, small differences are taken up, jumps are said, nothing goes back."""

from datetime import UTC, datetime, timedelta

from rota.clock import FollowingClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Machine:
    """A machine with a monotonic clock and a wall clock that is an hour slow."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.clock = FollowingClock(lambda: self.seconds, lambda: NOON.timestamp() - 3600 + self.seconds - 1000)

    def read(self, round_trip: float, truth: datetime, share: float = 0.5) -> float | None:
        """Ask, and be answered after `round_trip`; the answer was made after `share` of it."""
        sent = self.seconds
        self.seconds += round_trip
        return self.clock.follow(sent, self.seconds, truth + timedelta(seconds=round_trip * share))


def test_until_it_is_told_it_is_the_machine_s_own() -> None:
    assert Machine().clock.now() == NOON - timedelta(hours=1)


def test_the_first_reading_is_no_jump() -> None:
    machine = Machine()
    assert machine.read(0.002, NOON) is None
    assert abs(machine.clock.now() - NOON - timedelta(seconds=0.002)) < timedelta(microseconds=10)
    machine.seconds += 60
    assert abs(machine.clock.now() - NOON - timedelta(seconds=60.002)) < timedelta(microseconds=10)


def test_what_a_fast_machine_showed_before_it_was_told_binds_nobody() -> None:
    machine = Machine()
    assert machine.clock.now() == NOON - timedelta(hours=1)
    machine.read(0.0, NOON - timedelta(hours=2))
    assert machine.clock.now() == NOON - timedelta(hours=2)


def test_the_shortest_round_trip_is_believed() -> None:
    machine = Machine()
    machine.read(0.002, NOON)
    machine.read(1.0, NOON + timedelta(seconds=0.002), share=1.0)  # all its delay was on the way there
    assert abs(machine.clock.now() - NOON - timedelta(seconds=1.002)) < timedelta(milliseconds=1)


def test_a_jump_is_said_and_followed() -> None:
    machine = Machine()
    machine.read(0.002, NOON)
    jump = machine.read(0.002, NOON + timedelta(hours=1))
    assert jump is not None
    assert abs(jump - 3600) < 0.01
    assert machine.clock.now() >= NOON + timedelta(hours=1)


def test_a_long_way_is_not_taken_for_a_jump() -> None:
    machine = Machine()
    machine.read(0.002, NOON)
    assert machine.read(6.0, NOON, share=0.0) is None


def test_it_never_goes_back() -> None:
    machine = Machine()
    machine.read(0.002, NOON)
    before = machine.clock.now()
    machine.read(0.001, NOON - timedelta(minutes=5))
    assert machine.clock.now() == before
    machine.seconds += 301
    assert machine.clock.now() > before


def test_when_an_instant_will_come() -> None:
    machine = Machine()
    machine.read(0.002, NOON)
    assert abs(machine.clock.moment_of(NOON + timedelta(seconds=30)) - 1030) < 0.001
