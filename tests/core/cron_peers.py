"""What two other cron libraries do differently on purpose or by mistake, so that comparisons can tell.

docs/reference/schedules.md lists the same differences for people; test_cron_peers.py asserts each of them, so
that neither list can outlive its truth.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

from rota.core.zones import load_zone


class Difference(NamedTuple):
    """One known difference: the first instant after `after` here and there (None: refused)."""

    peer: str
    what: str
    expression: str
    zone: str
    after: str
    ours: str
    theirs: str | None


KNOWN = (
    Difference(
        peer="cronsim",
        what="six fields: a fixed time in a gap is left out",
        expression="15 30 2 * * *",
        zone="Europe/Berlin",
        after="2027-03-27T12:00Z",
        ours="2027-03-28T01:00Z",
        theirs="2027-03-29T00:30:15Z",
    ),
    Difference(
        peer="cronsim",
        what="a range of one value with a step runs on to the end",
        expression="5-5/10 * * * *",
        zone="UTC",
        after="2027-01-01T00:05Z",
        ours="2027-01-01T01:05Z",
        theirs="2027-01-01T00:15Z",
    ),
    Difference(
        peer="cronsim",
        what="after a change by half an hour a wildcard schedule loses an instant",
        expression="0 */6 * * *",
        zone="America/Caracas",
        after="2016-05-01T05:00Z",
        ours="2016-05-01T10:00Z",
        theirs="2016-05-01T16:00Z",
    ),
    Difference(
        peer="cronsim",
        what="a gap that ends within a minute is left at the next full one",
        expression="0 0 * * *",
        zone="Africa/Monrovia",
        after="1972-01-06T12:00Z",
        ours="1972-01-07T00:44:30Z",
        theirs="1972-01-07T00:45Z",
    ),
    Difference("cronsim", "no L-3", "0 4 L-3 * *", "UTC", "2027-01-01T00:00Z", "2027-01-28T04:00Z", None),
    Difference("cronsim", "no 15W", "0 4 15W * *", "UTC", "2027-05-01T00:00Z", "2027-05-14T04:00Z", None),
    Difference("cronsim", "no ?", "0 4 1 * ?", "UTC", "2027-01-01T00:00Z", "2027-01-01T04:00Z", None),
    Difference("cronsim", "no friL", "0 4 * * friL", "UTC", "2027-01-01T00:00Z", "2027-01-29T04:00Z", None),
    Difference("cronsim", "no fri-sun", "0 4 * * fri-sun", "UTC", "2027-01-01T00:00Z", "2027-01-01T04:00Z", None),
    Difference("cronsim", "no H", "H/30 4 1 1 *", "UTC", "2027-01-01T00:00Z", "2027-01-01T04:26Z", None),
    Difference("cronsim", "no @daily", "@daily", "UTC", "2027-01-01T00:00Z", "2027-01-02T00:00Z", None),
    Difference(
        peer="croniter",
        what="a repeated fixed time runs twice",
        expression="30 2 * * *",
        zone="Europe/Berlin",
        after="2027-10-31T00:30Z",
        ours="2027-11-01T01:30Z",
        theirs="2027-10-31T01:30Z",
    ),
    Difference(
        peer="croniter",
        what="*/2 is no star: with a weekday it means OR",
        expression="0 0 */2 * 1",
        zone="UTC",
        after="2027-01-01T12:00Z",
        ours="2027-01-11T00:00Z",
        theirs="2027-01-03T00:00Z",
    ),
    Difference(
        peer="croniter",
        what="a wildcard schedule runs at the end of a gap",
        expression="*/15 2 * * *",
        zone="Europe/Berlin",
        after="2027-03-28T00:30Z",
        ours="2027-03-29T00:00Z",
        theirs="2027-03-28T01:00Z",
    ),
    Difference(
        peer="croniter",
        what="a weekday range of one day is every day",
        expression="0 4 * * 6-6",
        zone="UTC",
        after="2027-01-03T12:00Z",
        ours="2027-01-09T04:00Z",
        theirs="2027-01-04T04:00Z",
    ),
    Difference(
        peer="croniter",
        what="L beside a weekday is forgotten",
        expression="0 4 1,L * 1#1",
        zone="UTC",
        after="2027-01-05T00:00Z",
        ours="2027-01-31T04:00Z",
        theirs="2027-02-01T04:00Z",
    ),
    Difference("croniter", "no LW", "0 4 LW * *", "UTC", "2027-01-01T00:00Z", "2027-01-29T04:00Z", None),
    Difference("croniter", "no L-3", "0 4 L-3 * *", "UTC", "2027-01-01T00:00Z", "2027-01-28T04:00Z", None),
    Difference("croniter", "5L is written L5", "0 4 * * 5L", "UTC", "2027-01-01T00:00Z", "2027-01-29T04:00Z", None),
    Difference("croniter", "no list of W", "0 4 1W,15W * *", "UTC", "2027-01-02T00:00Z", "2027-01-15T04:00Z", None),
)


def cronsim_walk(expression: str, zone: ZoneInfo, after: datetime, number: int) -> list[datetime]:
    """The next instants according to cronsim."""
    steps = CronSim(expression, after.astimezone(zone))
    return [next(steps).astimezone(UTC) for _ in range(number)]


def croniter_walk(expression: str, zone: ZoneInfo, after: datetime, number: int) -> list[datetime]:
    """The next instants according to croniter."""
    steps = croniter(expression, after.astimezone(zone), second_at_beginning=True)
    return [steps.get_next(datetime).astimezone(UTC) for _ in range(number)]


WALKS: dict[str, Callable[[str, ZoneInfo, datetime, int], list[datetime]]] = {
    "cronsim": cronsim_walk,
    "croniter": croniter_walk,
}


def cronsim_comparable(expression: str) -> bool:
    """Whether cronsim means the same by it in every zone."""
    fields = expression.split()
    day, weekday = fields[-3], fields[-1]
    single = any(re.search(r"\b(\d+)-\1/", field) for field in fields)
    return len(fields) == 5 and not single and not re.search(r"[W?H@]|L-|[a-zA-Z]L", day + " " + weekday)


def cronsim_stumbles(expression: str, zone: str, start: datetime) -> bool:
    """Whether a change of clocks off the full hour lies close enough to confuse cronsim's whole steps."""
    fields = expression.split()
    second = int(start.timestamp())
    spans = load_zone(zone)
    near = spans.changes(second, second + 4 * 86_400)
    odd = any((change + spans.offset(moment)) % 3600 for change in near for moment in (change, change - 1))
    if any(change % 60 for change in near):
        return True
    return odd and any(field.startswith("*") for field in fields[:2])


def croniter_comparable(expression: str) -> bool:
    """Whether croniter means the same by it in UTC; about clock changes it never does."""
    fields = expression.split()
    day, weekday = fields[-3], fields[-1]
    both = day not in ("*", "?") and weekday not in ("*", "?")
    stars = (day + weekday).count("*") + (day + weekday).count("/")
    same = any(re.search(r"\b(\w+)-\1\b", field) for field in fields)
    return (
        not same
        and not (both and (stars or "L" in day))
        and not re.search(r"LW|L-|W,|,.*W|[0-9a-z]L", f"{day} {weekday}")
    )
