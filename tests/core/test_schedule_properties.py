"""What holds for every schedule, checked on generated ones: order, inverses, counts, spread and jitter."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cron_samples import EVERYDAY, SECONDS, SPECIAL, ZONES
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from rota.core.schedule import DstPolicy, Schedule, compile_schedule
from rota.core.schedule_errors import ScheduleError
from rota.core.schedule_times import to_epoch

PHRASES = [
    "every 5m",
    "every 7m",
    "every 45s",
    "every 6h",
    "every 36h",
    "every day at 02:30, 14:00",
    "every weekday at 09:00",
    "first workday of month at 06:00",
    "last day of quarter at 23:30",
    "hourly at :15",
    "every mon,thu at 01:59",
]
CLAUSES = ["", ", spread 20m", ", random 40s", ", spread 2h, random 30s", ", from 2020-02-01, until 2031-10-05"]
texts = st.builds(
    lambda body, clause: body + clause,
    st.sampled_from([text for text in EVERYDAY + SPECIAL + PHRASES if text != "*/20 * * * * *"]),
    st.sampled_from(CLAUSES),
)


def compiled(text: str, zone: str, dst: DstPolicy, name: str) -> Schedule:
    """The schedule; few have no instant: the last Sunday of March at two is skipped in Berlin in each of some years."""
    try:
        return compile_schedule(text, timezone=zone, dst=dst, name=name)
    except ScheduleError as error:
        if "never fires" not in str(error):
            raise
        return reject()


schedules = st.builds(
    compiled,
    texts,
    st.sampled_from(ZONES),
    st.sampled_from(DstPolicy),
    st.sampled_from(["web/fetch", "finance/report", "a/b"]),
)
moments = st.datetimes(datetime(1975, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
spans = st.timedeltas(timedelta(0), timedelta(days=3))
relaxed = settings(max_examples=150, deadline=None)


@relaxed
@given(schedules, moments)
def test_next_is_later_and_previous_finds_it_again(schedule: Schedule, after: datetime) -> None:
    for _ in range(5):
        found = schedule.next(after)
        if found is None:
            break
        assert found.due > after
        assert schedule.previous(found.due) == found
        assert schedule.next(found.due - timedelta(microseconds=1)) == found
        before = schedule.previous(found.due - timedelta(microseconds=1))
        assert before is None or before.due <= after
        after = found.due


@relaxed
@given(schedules, moments, spans)
def test_count_is_the_length_of_between_and_of_latest(schedule: Schedule, start: datetime, span: timedelta) -> None:
    found = schedule.between(start, start + span, 10_000)
    assert schedule.count(start, start + span) == len(found)
    assert schedule.latest(start, start + span, 10_000) == found
    assert schedule.between(start, start + span, 3) == found[:3]
    assert schedule.latest(start, start + span, 3) == found[-3:]
    dues = [occurrence.due for occurrence in found]
    assert dues == sorted(set(dues))
    assert all(start < due <= start + span for due in dues)


@relaxed
@given(schedules, st.lists(moments, min_size=3, max_size=3))
def test_counts_add_up_over_decades(schedule: Schedule, edges: list[datetime]) -> None:
    first, middle, last = sorted(edges)
    assert schedule.count(first, last) == schedule.count(first, middle) + schedule.count(middle, last)
    assert schedule.count(last, first) == 0


@relaxed
@given(st.sampled_from(EVERYDAY), st.text("abc/", min_size=1, max_size=6), st.integers(1, 3600), moments)
def test_spread_is_one_stable_offset_below_its_bound(text: str, name: str, spread: int, after: datetime) -> None:
    schedule = compile_schedule(f"{text}, spread {spread}s", name=name)
    found = schedule.between(after, after + timedelta(days=40), 5)
    offsets = {occurrence.due - occurrence.nominal for occurrence in found}
    assert len(offsets) <= 1
    assert all(timedelta(0) <= offset < timedelta(seconds=spread) for offset in offsets)
    plain = compile_schedule(text)
    assert all(plain.previous(occurrence.nominal).due == occurrence.nominal for occurrence in found)  # type: ignore[union-attr]


@relaxed
@given(st.sampled_from(ZONES), st.integers(60, 1800), moments)
def test_random_stays_below_its_bound_and_before_the_next(zone: str, jitter: int, after: datetime) -> None:
    schedule = compile_schedule(f"every 30m, random {jitter}s", timezone=zone, name="a/b")
    found = schedule.between(after, after + timedelta(days=1), 60)
    for occurrence, following in pairwise(found):
        assert timedelta(0) <= occurrence.due - occurrence.nominal < timedelta(seconds=jitter)
        assert occurrence.due < following.nominal + timedelta(seconds=1)


@relaxed
@given(schedules, moments)
def test_whole_seconds_say_the_same_as_datetimes(schedule: Schedule, after: datetime) -> None:
    found = schedule.next(after)
    assert schedule.next_epoch(to_epoch(after)) == (None if found is None else to_epoch(found.due))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SECONDS), st.sampled_from(ZONES), moments)
def test_seconds_count_like_between(text: str, zone: str, start: datetime) -> None:
    schedule = compile_schedule(text, timezone=zone)
    end = start + timedelta(hours=3)
    assert schedule.count(start, end) == len(schedule.between(start, end, 20_000))
