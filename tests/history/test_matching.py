"""Matching by deadline finds as many pairs as there can be, and tells what is left over on both sides."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.history.matching import match, starts_match_instants
from tests.history.probe import Event
from tests.history.records import Definition, History, JobHistory, Row, Window

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

windows_and_starts = st.tuples(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)).map(lambda one: (one[0], one[0] + one[1])), max_size=7),
    st.lists(st.integers(0, 26), max_size=7),
)


def most(windows: list[tuple[int, int]], starts: list[int]) -> int:
    """How many pairs there can be, by augmenting paths."""
    holder: dict[int, int] = {}

    def place(start: int, seen: set[int]) -> bool:
        for index, (low, high) in enumerate(windows):
            if low <= starts[start] <= high and index not in seen:
                seen.add(index)
                if index not in holder or place(holder[index], seen):
                    holder[index] = start
                    return True
        return False

    return sum(place(start, set()) for start in range(len(starts)))


@given(windows_and_starts)
def test_no_assignment_matches_more(given: tuple[list[tuple[int, int]], list[int]]) -> None:
    windows, starts = given
    left, extra = match(windows, starts)
    pairs = most(windows, starts)
    assert (len(left), len(extra)) == (len(windows) - pairs, len(starts) - pairs)


def history(*started: float, skipped: int = 0) -> History:
    """A job of every second from 12:00:01 to 12:00:04, and runs that started so many seconds after noon."""
    begin = Window(asked=NOON, answered=NOON + timedelta(seconds=0.1))
    end = Window(asked=NOON + timedelta(seconds=4.5), answered=NOON + timedelta(seconds=4.6))
    job = JobHistory(
        name="m/second",
        definitions=[Definition(window=begin, expression="* * * * * *"), Definition(window=end, expression=None)],
    )
    found = History(jobs={"m/second": job})
    for number, moment in enumerate(started):
        found.events.append(
            Event(kind="start", uptime=moment, job="m/second", run=f"r{number}", attempt=1, fence=number, pid=1)
        )
    for number in range(skipped):
        due = NOON + timedelta(seconds=number + 1)
        found.rows.append(Row(id=f"s{number}", job="m/second", due=due, trigger="schedule", state="skipped"))
    return found


def test_what_may_have_run_takes_no_start_from_what_must() -> None:
    found = history(2.05, 3.05, 4.05)
    found.jobs["m/second"].definitions[0] = Definition(
        window=Window(asked=NOON + timedelta(seconds=0.9), answered=NOON + timedelta(seconds=1.1)),
        expression="* * * * * *",
    )
    assert list(starts_match_instants(found, NOON, timedelta(seconds=5))) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (history(1.1, 2.1, 3.1, 4.1), []),
        (history(1.1, 3.2, 3.3, 4.1), []),  # one of them was late
        (history(1.1, 2.1, 3.1, skipped=1), []),
        (history(1.1, 2.1, 3.1), ["1 instants have no start within 5 s, but only 0 were told"]),
        (history(1.1, 2.1, 2.2, 3.1, 4.1), ["12:00:02.200000 is that of no instant"]),
        (history(0.5, 1.1, 2.1, 3.1, 4.1), ["12:00:00.500000 is that of no instant"]),
    ],
)
def test_what_does_not_match_is_told(found: History, words: list[str]) -> None:
    told = list(starts_match_instants(found, NOON, timedelta(seconds=5)))
    assert len(told) == len(words), told
    assert all(word in sentence for word, sentence in zip(words, told, strict=True))
