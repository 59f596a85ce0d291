"""Series of instants in UTC seconds, asked by arithmetic: `next`, `previous` and `count` never enumerate.

`ClockSeries` is a clock face (times of day, days) read in a zone under a daylight-saving policy.
`AlignedSeries` is an interval counted anew from each local midnight, `AnchoredSeries` one counted from a stored
start, `FixedSeries` a handful of given instants. All promise: `next` is strictly after its argument, `previous`
is at or before it, `count(a, b)` is the number in (a, b].
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from rota.core.cron_dates import EVERY_DAY, DateTable, date_table
from rota.core.zones import FOREVER, Zone

DAY: Final = 86_400
_LIST_LIMIT: Final = 1_440  # above this a table is packed: four bytes an entry instead of thirty-six
_NO_WINDOW: Final = (1, 0, 0)


class DstPolicy(Enum):
    """What fixed local times do when clocks change."""

    VIXIE = "vixie"  # in the gap: at its end; repeated: the first
    SKIP = "skip"  # in the gap: not at all; repeated: the first
    RUN_TWICE = "run-twice"  # in the gap: at its end; repeated: both
    SECOND = "second"  # in the gap: at its end; repeated: the second


class Series(Protocol):
    """Instants in UTC seconds."""

    def next(self, instant: int) -> int | None:
        """The first instant strictly after `instant`."""
        ...

    def previous(self, instant: int) -> int | None:
        """The last instant at or before `instant`."""
        ...

    def count(self, start: int, end: int) -> int:
        """The number of instants in (start, end]."""
        ...


@lru_cache(maxsize=1024)
def time_table(seconds: int, minutes: int, hours: int) -> Sequence[int]:
    """The sorted seconds of the day for three bit masks."""
    in_hour = [m * 60 + s for m in range(60) if minutes >> m & 1 for s in range(60) if seconds >> s & 1]
    starts = [hour * 3600 for hour in range(24) if hours >> hour & 1]
    if len(in_hour) * len(starts) <= _LIST_LIMIT:
        return [start + second for start in starts for second in in_hour]
    table = array("i")
    for start in starts:
        table.extend([start + second for second in in_hour])
    return table


class ClockSeries:
    """Times of day on chosen days in a zone. With `policy` None the times follow elapsed time (wildcard hours)."""

    __slots__ = ("_dates", "_every", "_first", "_last", "_policy", "_times", "_window", "zone")

    def __init__(self, times: Sequence[int], dates: DateTable, zone: Zone, policy: DstPolicy | None) -> None:
        self._times = times
        self._first, self._last = times[0], times[-1]
        self._dates = dates
        self._every = dates.every
        self.zone = zone
        self._policy = policy
        # The stretch of one span in which every local time means exactly one instant: (start, end, offset).
        # A memory, not a state: any thread may replace it by another true one.
        self._window = _NO_WINDOW

    def next(self, instant: int) -> int | None:
        start, end, offset = self._window
        if start <= instant < end:
            found = self._after(instant + offset) - offset
            if found < end:
                return found
        return self._next_over_spans(instant)

    def _after(self, local: int) -> int:
        """The first matching local time after `local`, as if clocks never changed."""
        day = local // DAY
        second = local - day * DAY
        if second < self._last and (self._every or self._dates.has(day)):
            return day * DAY + self._times[bisect_right(self._times, second)]
        if self._every:
            return (day + 1) * DAY + self._first
        return self._dates.next(day) * DAY + self._first

    def _before(self, local: int) -> int:
        """The last matching local time at or before `local`, as if clocks never changed."""
        day = local // DAY
        second = local - day * DAY
        if second >= self._first and self._dates.has(day):
            return day * DAY + self._times[bisect_right(self._times, second) - 1]
        return self._dates.previous(day) * DAY + self._last

    def _bounds(self, index: int) -> tuple[int, int, int]:
        """Of a span: from which local time on, and up to which, its times count; where the gap before it begins.

        The gap is [third, start of the span); it is empty when the third is FOREVER.
        """
        zone = self.zone
        offset = zone.offsets[index]
        low, high = zone.starts[index] + offset, zone.ends[index] + offset
        if self._policy is None:
            return low, high, FOREVER
        reached = zone.highest[index]
        gap = reached if reached < low and self._policy is not DstPolicy.SKIP else FOREVER
        if self._policy in (DstPolicy.VIXIE, DstPolicy.SKIP):
            low = max(low, reached)
        elif self._policy is DstPolicy.SECOND:
            high = min(high, zone.lowest[index])
        return low, high, gap

    def _next_over_spans(self, instant: int) -> int | None:
        zone = self.zone
        searched, match = FOREVER, 0  # `match` is the first matching local time at or after `searched`
        for index in range(zone.span(instant), len(zone.starts)):
            start, offset = zone.starts[index], zone.offsets[index]
            low, high, gap = self._bounds(index)
            if gap != FOREVER and instant < start:
                if not searched <= gap <= match:
                    searched, match = gap, self._after(gap - 1)
                if match < start + offset:
                    return start
            wanted = max(low, instant + 1 + offset)
            if not searched <= wanted <= match:
                searched, match = wanted, self._after(wanted - 1)
            if match < high:
                self._window = (low - offset, high - offset, offset)
                return match - offset
        return None

    def _has_match(self, low: int, high: int) -> bool:
        """Whether a matching local time lies in [low, high)."""
        return self._after(low - 1) < high

    def previous(self, instant: int) -> int | None:
        zone = self.zone
        for index in range(zone.span(instant), -1, -1):
            start, offset = zone.starts[index], zone.offsets[index]
            low, high, gap = self._bounds(index)
            match = self._before(min(instant + offset, high - 1))
            if match >= low:
                return match - offset
            if gap != FOREVER and self._has_match(gap, start + offset):
                return start
        return None

    def count(self, start: int, end: int) -> int:
        zone = self.zone
        total = 0
        for index in range(zone.span(start), zone.span(end) + 1):
            begin, offset = zone.starts[index], zone.offsets[index]
            low, high, gap = self._bounds(index)
            first = max(low, start + 1 + offset)
            total += self._count_local(first, min(high, end + 1 + offset))
            if gap != FOREVER and start < begin <= end and self._has_match(gap, begin + offset):
                # The end of the gap may itself be a matching time: one instant, not two.
                total += not self._has_match(begin + offset, begin + offset + 1)
        return total

    def _count_local(self, low: int, high: int) -> int:
        """The matching local times in [low, high), as if clocks never changed."""
        if high <= low:
            return 0
        first, last = low // DAY, high // DAY
        total = self._dates.count(first, last) * len(self._times)
        if self._dates.has(first):
            total -= bisect_left(self._times, low - first * DAY)
        if self._dates.has(last):
            total += bisect_left(self._times, high - last * DAY)
        return total

    def gap_match(self, index: int) -> int | None:
        """The first matching local time in the gap before a span of the zone, whatever the policy does with it."""
        zone = self.zone
        reached, begin = zone.highest[index], zone.starts[index] + zone.offsets[index]
        match = self._after(reached - 1) if reached < begin else begin
        return match if match < begin else None

    def repeated_match(self, index: int) -> int | None:
        """The first matching local time of a span that an earlier span already had."""
        zone = self.zone
        reached, begin = zone.highest[index], zone.starts[index] + zone.offsets[index]
        match = self._after(begin - 1) if begin < reached else reached
        return match if match < reached else None


class AlignedSeries:
    """Every `interval` seconds of elapsed time, counted anew from the first instant of each local day."""

    __slots__ = ("_day", "_interval", "_midnights")

    def __init__(self, interval: int, zone: Zone) -> None:
        self._interval = interval
        self._midnights = ClockSeries([0], date_table(EVERY_DAY), zone, DstPolicy.VIXIE)
        self._day = (1, 0)  # the last local day asked about, as (first instant, first instant of the next)

    def _local_day(self, instant: int) -> tuple[int, int]:
        day = self._day
        if not day[0] <= instant < day[1]:
            begin = self._midnights.previous(instant)
            end = self._midnights.next(instant)
            day = self._day = (-FOREVER if begin is None else begin, FOREVER if end is None else end)
        return day

    def next(self, instant: int) -> int | None:
        begin, end = self._local_day(instant)
        found = begin + ((instant - begin) // self._interval + 1) * self._interval
        return found if found < end else end

    def previous(self, instant: int) -> int | None:
        begin, _ = self._local_day(instant)
        return instant - (instant - begin) % self._interval

    def count(self, start: int, end: int) -> int:
        first, last = self._local_day(start)[0], self._local_day(end)[0]
        whole_days = self._midnights.count(first, last)
        total = whole_days * (DAY // self._interval) + self._surplus(first, last)
        return total + (end - last) // self._interval - (start - first) // self._interval

    def _surplus(self, first: int, last: int) -> int:
        """By how much the days in [first, last) differ from as many days of 24 hours."""
        zone = self._midnights.zone
        days = {self._local_day(max(change - 1, first)) for change in zone.changes(first, last)}
        days |= {self._local_day(change) for change in zone.changes(first, last)}
        usual = DAY // self._interval
        return sum(-(-(end - begin) // self._interval) - usual for begin, end in days if first <= begin < last)


class AnchoredSeries:
    """Every `interval` seconds of elapsed time from `anchor` on, which is itself an instant."""

    __slots__ = ("_anchor", "_interval")

    def __init__(self, interval: int, anchor: int) -> None:
        self._interval = interval
        self._anchor = anchor

    def next(self, instant: int) -> int | None:
        if instant < self._anchor:
            return self._anchor
        return instant + self._interval - (instant - self._anchor) % self._interval

    def previous(self, instant: int) -> int | None:
        if instant < self._anchor:
            return None
        return instant - (instant - self._anchor) % self._interval

    def count(self, start: int, end: int) -> int:
        return max(self._number(end) - self._number(start), 0)

    def _number(self, instant: int) -> int:
        """How many instants lie at or before `instant`."""
        return max((instant - self._anchor) // self._interval + 1, 0)


class FixedSeries:
    """Some given instants, possibly none."""

    __slots__ = ("_instants",)

    def __init__(self, instants: Sequence[int]) -> None:
        self._instants = sorted(instants)

    def next(self, instant: int) -> int | None:
        index = bisect_right(self._instants, instant)
        return self._instants[index] if index < len(self._instants) else None

    def previous(self, instant: int) -> int | None:
        index = bisect_right(self._instants, instant)
        return self._instants[index - 1] if index else None

    def count(self, start: int, end: int) -> int:
        return max(bisect_right(self._instants, end) - bisect_right(self._instants, start), 0)
