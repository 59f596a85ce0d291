"""Time zones as sorted lists of UTC-offset spans, from 1970 to 2400, read from the pinned tzdata package.

Names come only from the tz database's own list, never from a path. Each zone is read once: the explicit
transitions of its file, then the yearly rule in the file's last line, written out to the end of the range, so
that everything after this is a bisection in a list of integers. The machine's own zone files are not used:
all servers of a cluster must agree, and tzdata's version is what they compare.
"""

import importlib.metadata
import importlib.resources
import struct
from bisect import bisect_left, bisect_right
from difflib import get_close_matches
from functools import lru_cache
from io import BytesIO
from itertools import accumulate
from typing import Final
from zoneinfo import ZoneInfo

from rota.core.posix_zone import rule_transitions
from rota.core.schedule_errors import ScheduleError, shown

LONGEST_NAME: Final = 64
FOREVER: Final = 1 << 50  # later than any instant, in seconds
_FAR_OFF: Final = 2 * 86_400  # no offset is as large
END: Final = 13_569_465_600  # 2400-01-01T00:00:00Z


class Zone:
    """The UTC-offset spans of one zone. Span i reaches from starts[i] up to ends[i], both in UTC seconds.

    `highest[i]` is the latest local time that any earlier span has reached: local times of span i below it are
    repeated ones, local times between it and the span's own start do not exist. `lowest[i]` is the earliest
    local time of any later span: local times of span i from there on will be repeated.
    """

    __slots__ = ("ends", "highest", "lowest", "name", "offsets", "starts")

    def __init__(self, name: str, transitions: list[tuple[int, int]]) -> None:
        self.name = name
        self.starts = [start for start, _ in transitions]
        self.offsets = [offset for _, offset in transitions]
        self.ends = [*self.starts[1:], FOREVER]
        reached = [end + offset for end, offset in zip(self.ends, self.offsets, strict=True)]
        begun = [start + offset for start, offset in zip(self.starts, self.offsets, strict=True)]
        self.highest = list(accumulate([begun[0], *reached[:-1]], max))
        self.lowest = list(accumulate(reversed([*begun[1:], FOREVER * 2]), min))[::-1]

    def span(self, instant: int) -> int:
        """The index of the span that holds `instant`."""
        return max(bisect_right(self.starts, instant) - 1, 0)

    def changes(self, first: int, end: int) -> list[int]:
        """The instants in [first, end) at which the offset changes."""
        return self.starts[bisect_left(self.starts, first) : bisect_left(self.starts, end)]

    def resolve(self, local: int) -> tuple[list[int], int | None]:
        """The instants a local time stands for, in order; if there are none, the end of the gap it lies in."""
        instants, gap_end = [], None
        for index in range(self.span(local - _FAR_OFF), self.span(local + _FAR_OFF) + 1):
            start, offset = self.starts[index], self.offsets[index]
            if start <= local - offset < self.ends[index]:
                instants.append(local - offset)
            elif self.highest[index] <= local < start + offset:
                gap_end = start
        return instants, gap_end

    def offset(self, instant: int) -> int:
        """Seconds to add to UTC at `instant`."""
        return self.offsets[self.span(instant)]


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """All names of the tz database."""
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(listed.split())


@lru_cache(maxsize=1)
def tz_version() -> str:
    """The version of the tz database in use; stored instants are planned anew when it changes."""
    return importlib.metadata.version("tzdata")


def check_timezone(name: str) -> str:
    """`name`, if the tz database has it."""
    if name in zone_names():
        return name
    if not name:
        raise ScheduleError("the timezone is empty", field="timezone", hint="write UTC or a name like Europe/Berlin")
    nearest = _nearest_name(name)
    hint = f"did you mean {nearest}?" if nearest else "names look like Europe/Berlin; UTC always works"
    raise ScheduleError(f"there is no timezone {shown(name)}", position=0, field="timezone", hint=hint)


def _nearest_name(name: str) -> str | None:
    if len(name) > LONGEST_NAME:
        return None
    folded = name.strip().casefold().replace(" ", "_")
    by_folded = {known.casefold(): known for known in zone_names()}
    by_city = {known.rpartition("/")[2]: known for known in sorted(by_folded)}
    if folded in by_folded:
        return by_folded[folded]
    city = folded.rpartition("/")[2]
    if city in by_city:
        return by_folded[by_city[city]]
    close = get_close_matches(folded, by_folded, n=1, cutoff=0.75)
    return by_folded[close[0]] if close else None


@lru_cache(maxsize=1024)
def zone_info(name: str) -> ZoneInfo:
    """The standard library's view of the zone, from the same data."""
    return ZoneInfo.from_file(BytesIO(_zone_file(name)), key=name)


@lru_cache(maxsize=1024)
def load_zone(name: str) -> Zone:
    """The spans of a zone; `name` must come from the tz database."""
    check_timezone(name)
    return Zone(name, _spans(_zone_file(name)))


def _zone_file(name: str) -> bytes:
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *check_timezone(name).split("/")).read_bytes()


def _spans(data: bytes) -> list[tuple[int, int]]:
    """(start, offset) pairs: the first holds since ever, neighbours always differ in offset."""
    explicit, footer = _parse_tzif(data)
    last = explicit[-1][0]
    every = explicit + [change for change in rule_transitions(footer) if change[0] > last]
    spans = [(-FOREVER, every[0][1])]
    for start, offset in every[1:]:
        if start <= 0:
            spans[0] = (-FOREVER, offset)
        elif offset != spans[-1][1] and start < END:
            spans.append((start, offset))
    return spans


def _parse_tzif(data: bytes) -> tuple[list[tuple[int, int]], str]:
    """The 64-bit block of a TZif file (RFC 9636) and the rule behind it."""
    head = struct.Struct(">4s c 15x 6l")
    _, _, utc, standard, leaps, times, types, characters = head.unpack_from(data)
    at = head.size + times * 5 + types * 6 + characters + leaps * 8 + standard + utc
    _, _, utc, standard, leaps, times, types, characters = head.unpack_from(data, at)
    at += head.size
    starts = struct.unpack_from(f">{times}q", data, at)
    indices = data[at + times * 8 : at + times * 9]
    kinds = list(struct.iter_unpack(">lBB", data[at + times * 9 : at + times * 9 + types * 6]))
    footer = data[at + times * 9 + types * 6 + characters + leaps * 12 + standard + utc :]
    offsets = [kinds[index][0] for index in indices]
    changes = [(-FOREVER, kinds[0][0]), *zip(starts, offsets, strict=True)]
    return changes, footer.strip(b"\n").decode("ascii")
