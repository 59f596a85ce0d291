"""What may follow a schedule: `, spread D`, `, random D`, `, from DATE`, `, until DATE`; and the text's own limits."""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from rota.core.cron import ClockRule
from rota.core.cron_fields import Token
from rota.core.cron_series import DAY
from rota.core.phrases import IntervalRule
from rota.core.schedule_errors import ScheduleError, shown
from rota.core.schedule_times import duration_text, local_seconds, parse_duration, parse_moment, to_epoch
from rota.core.zones import END, Zone

LONGEST_TEXT: Final = 1_000
LONGEST_SHIFT: Final = 31 * DAY
_SUFFIX: Final = re.compile(r",[ \t]*(spread|random|from|until)(?![A-Za-z])", re.IGNORECASE)


class Clauses(NamedTuple):
    """What follows the schedule proper, in seconds and UTC seconds."""

    spread: int = 0
    random: int = 0
    first: int = 0
    last: int = END - 1
    words: str = ""


NO_CLAUSES: Final = Clauses()


def refuse_unreadable(text: str, field: str) -> None:
    """Refuse what no schedule contains, before anything looks at the text more closely."""
    if len(text) > LONGEST_TEXT:
        message = f"the {field} has {len(text)} characters; at most {LONGEST_TEXT} are allowed"
        raise ScheduleError(message, position=LONGEST_TEXT, field=field, hint="split it into several jobs")
    if not text.strip():
        hint = 'write for example "every day at 03:00"'
        raise ScheduleError(f"the {field} is empty", position=0, field=field, hint=hint)
    for position, character in enumerate(text):
        if character != "\t" and not " " <= character <= "~":
            message = f"the {field} holds {shown(character)} (U+{ord(character):04X})"
            hint = "only plain ASCII letters, digits and signs are allowed"
            raise ScheduleError(message, position=position, field=field, hint=hint)


def split_clauses(text: str, zone: Zone) -> tuple[str, Clauses]:
    """The schedule proper, and what its `, spread D`, `, random D`, `, from DATE`, `, until DATE` mean."""
    marks = list(_SUFFIX.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)][: len(marks)]
    found: dict[str, Token] = {}
    for mark, end in zip(marks, ends, strict=True):
        word, raw = mark[1].lower(), text[mark.end() : end]
        if word in found:
            raise ScheduleError(f"{word} is given twice", position=mark.start(1), field=word, hint="keep one")
        found[word] = Token(raw.strip(), mark.end() + len(raw) - len(raw.lstrip()))
    return (text[: marks[0].start()], _clauses(found, zone)) if marks else (text, NO_CLAUSES)


def _clauses(found: dict[str, Token], zone: Zone) -> Clauses:
    spread = parse_duration(found["spread"], what="spread", longest=LONGEST_SHIFT) if "spread" in found else 0
    random = parse_duration(found["random"], what="random", longest=LONGEST_SHIFT) if "random" in found else 0
    first = _bound(found["from"], zone, "from") if "from" in found else 0
    last = _bound(found["until"], zone, "until") if "until" in found else END - 1
    if last < first:
        message = "the schedule ends before it begins"
        raise ScheduleError(message, position=found["until"].position, field="until", hint="until must be after from")
    words = f", spread over {duration_text(spread)}" if spread else ""
    words += f", at random within {duration_text(random)}" if random else ""
    words += "".join(f", {word} {found[word].text}" for word in ("from", "until") if word in found)
    return Clauses(spread, random, first, last, words)


def _bound(token: Token, zone: Zone, word: str) -> int:
    """The first second of `from`, or the last one of `until`: a bare date includes the whole day."""
    moment, has_time = parse_moment(token.text, token.position, word)
    if moment.tzinfo is not None:
        return to_epoch(moment)
    whole_day = word == "until" and not has_time
    instants, gap_end = zone.resolve(local_seconds(moment) + (DAY if whole_day else 0))
    if not instants:
        bound = gap_end or 0
    else:
        bound = instants[-1] if word == "until" and has_time else instants[0]
    return bound - whole_day


def refuse_long_random(rule: ClockRule | IntervalRule, clauses: Clauses) -> None:
    """Jitter longer than the shortest gap would let one instant overtake the next."""
    if not clauses.random:
        return  # a rule for each second has a long table
    if isinstance(rule, IntervalRule):
        shortest = rule.seconds
    else:
        times = rule.table()
        steps = [later - earlier for earlier, later in pairwise(times)]
        shortest = min([*steps, times[0] + DAY - times[-1]])
    if clauses.random > shortest:
        raise ScheduleError(
            f"random {duration_text(clauses.random)} is longer than the shortest gap, {duration_text(shortest)}",
            field="random",
            hint=f"write at most {shortest}s, or use spread",
        )
