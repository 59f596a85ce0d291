"""Expressions, zones and moments for the comparisons: everyday ones, awkward ones and random ones."""

from datetime import UTC, datetime
from random import Random

from rota.core.zones import END, load_zone

ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Anadyr",
    "Asia/Beirut",
    "Asia/Dhaka",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/Lisbon",
    "Europe/London",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Kwajalein",
    "Pacific/Norfolk",
    "Pacific/Tongatapu",
    "UTC",
]


def listed(text: str) -> list[str]:
    """The expressions of a table with | between them."""
    return text.strip().replace("\n", "|").split("|")


EVERYDAY = listed("""
* * * * *|*/5 * * * *|*/15 * * * *|0 * * * *|30 * * * *|0 3 * * *|30 2 * * *|0 0 * * *|15 1 * * *|45 23 * * *
0,30 1-3 * * *|*/15 2 * * *|30 */2 * * *|0 */6 * * *|0 0-23 * * *|5,35 0,2,12 * * *|30 1 * * 0|0 2 * * sun
0 9 * * mon-fri|30 2 1 * *|30 2 * 3,10 *|0 0 13 * 5|0 0 */2 * 1|*/20 1-2 * * 6-7|59 1 * * *|0 3 29 2 *
""")

SPECIAL = listed("""
0 4 L * *|0 4 L-3 * *|0 4 LW * *|0 4 15W * *|0 4 1W,31W * *|30 2 L 3,10 *|0 4 * * 5#3|0 4 * * 5L|0 2 * * 0#2
0 2 ? 3 sunL|0 4 1,L * 1#1|0 4 31 * *|0 4 29 2 *|30 2 8-14 3 *|0 4 */10 */2 *|10/20 1 * * *|0 0 1 1 ?
""")

SECONDS = listed("""
*/20 * * * * *|15 30 2 * * *|*/30 30 2 * * *|0,59 59 1-2 * * *|10 0 0 * * *|30 */30 */3 * * *
""")


def random_field(random: Random, low: int, high: int, star: float) -> str:
    """A plain field: often `*`, else a step, a value, a range or a list."""
    if random.random() < star:
        return "*"
    kind = random.randrange(5)
    first = random.randint(low, high)
    last = random.randint(first, high)
    if kind == 0:
        return f"*/{random.randint(1, high - low + 1)}"
    if kind == 1:
        return f"{first}-{last}" + (f"/{random.randint(1, high - low + 1)}" if random.random() < 0.5 else "")
    if kind == 2:
        return ",".join(str(random.randint(low, high)) for _ in range(random.randint(1, 4)))
    return str(first)


def random_expression(random: Random) -> str:
    """Five plain fields that may be rare but are not impossible on purpose."""
    minute = random_field(random, 0, 59, 0.2)
    hour = random_field(random, 0, 23, 0.4)
    day = random_field(random, 1, 31, 0.6)
    month = random_field(random, 1, 12, 0.8)
    weekday = random_field(random, 0, 6, 0.6)
    return f"{minute} {hour} {day} {month} {weekday}"


def moments(random: Random, zone: str, number: int) -> list[datetime]:
    """Moments worth looking at: changes of clocks if there are any, else anything."""
    changes = load_zone(zone).changes(86_400 * 400, END - 86_400 * 400)
    # The changes in the zone's file are the irregular ones; the rule's repeat for ever.
    irregular = changes[:150]
    found = random.sample(irregular, min(number, len(irregular)))
    while len(found) < number:
        found.append(random.randrange(86_400 * 400, END - 86_400 * 400))
    return [datetime.fromtimestamp(second, UTC) for second in found]
