"""The checker of the durability test catches what is planted, and is silent on a clean history."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.history import probe
from tests.history.checker import check, instants
from tests.history.oracle import expected
from tests.history.probe import Event
from tests.history.records import Acknowledged, Definition, GapRow, History, JobHistory, Kill, Rewind, Row, Window

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def window(asked: float, answered: float) -> Window:
    """A call from one second after noon to another."""
    return Window(asked=at(asked), answered=at(answered))


def event(kind: str, up: float, run: str, number: int, fence: int, job: str = "d/every") -> Event:
    """A probe's line."""
    return Event(kind=kind, uptime=up, job=job, run=run, attempt=number, fence=fence, pid=1)


def clean() -> History:
    """Ten seconds of a job of every second: row 3 was killed and tried again, 5 to 8 lie in a pause, one trigger."""
    job = JobHistory(
        name="d/every",
        definitions=[
            Definition(window=window(0.1, 0.2), expression="* * * * * *"),
            Definition(window=window(10.4, 10.6), expression=None),
        ],
        pauses=[(window(4.4, 4.6), window(8.4, 8.6))],
    )
    history = History(jobs={"d/every": job}, kills=[Kill(struck=103.4, buried=103.6)])
    for second in (1, 2, 3, 4, 9, 10):
        run = f"run-{second}"
        fences = ((1, 30), (2, 31)) if second == 3 else ((1, second * 10),)
        history.rows.append(
            Row(id=run, job="d/every", due=at(second), trigger="schedule", state="succeeded", attempts=fences)
        )
        history.events.append(event("start", 100 + second, run, 1, fences[0][1]))
        if second == 3:
            history.events.append(event("start", 104, run, 2, 31))
        history.events.append(event("end", 104.5 if second == 3 else 100.5 + second, run, len(fences), fences[-1][1]))
    history.gaps.append(GapRow(job="d/every", after=at(4.5), until=at(8.5), count=4))
    history.rows.append(
        Row(id="by-hand", job="d/hand", due=at(6), trigger="manual", state="succeeded", attempts=((1, 99),))
    )
    history.acknowledged += [Acknowledged(key="k1", run="by-hand"), Acknowledged(key="k1", run="by-hand")]
    history.until = at(11)
    return history


def change_row(history: History, run: str, **changes: object) -> None:
    """Another row in the place of one."""
    index = next(index for index, row in enumerate(history.rows) if row.id == run)
    fields = {name: getattr(history.rows[index], name) for name in Row.__dataclass_fields__}
    history.rows[index] = Row(**{**fields, **changes})


def drop_row(history: History, run: str) -> None:
    history.rows = [row for row in history.rows if row.id != run]


def add_row(history: History, **fields: object) -> None:
    usual = {"id": "more", "job": "d/every", "due": at(2), "trigger": "schedule", "state": "skipped"}
    history.rows.append(Row(**{**usual, **fields}))  # type: ignore[arg-type]


def replace_events(history: History, keep: Callable[[Event], bool], *more: Event) -> None:
    history.events = [one for one in history.events if keep(one)] + list(more)


PLANTED: dict[str, tuple[Callable[[History], None], str]] = {
    "instant lost": (lambda h: drop_row(h, "run-2"), "12:00:02+00:00 has neither run nor gap"),
    "instant doubled": (add_row, "12:00:02+00:00 has 2 run rows"),
    "run outside the schedule": (lambda h: add_row(h, due=at(2.5)), "is no instant of the schedule then in force"),
    "run after the end": (lambda h: add_row(h, due=at(15)), "is no instant of the schedule then in force"),
    "run planned ahead and run all the same": (
        lambda h: add_row(h, due=at(11), state="succeeded"),
        "is no instant of the schedule then in force",
    ),
    "row inside a gap": (lambda h: add_row(h, due=at(6)), "is answered 2 times (1 runs, 1 gaps)"),
    "gaps overlap": (
        lambda h: h.gaps.append(GapRow(job="d/every", after=at(6), until=at(7), count=1)),
        "12:00:07+00:00 is answered 2 times (0 runs, 2 gaps)",
    ),
    "gap miscounts": (
        lambda h: h.gaps.__setitem__(0, GapRow(job="d/every", after=at(4.5), until=at(8.5), count=5)),
        "counts 5 instants, not 4 to 4",
    ),
    "gap lost": (lambda h: h.gaps.clear(), "12:00:05+00:00 has neither run nor gap"),
    "run while paused": (
        lambda h: (h.gaps.clear(), add_row(h, due=at(6), attempts=((1, 60),), state="lost"))[0],
        "12:00:06+00:00 was run although the job was paused",
    ),
    "one run, two rows": (lambda h: add_row(h, id="run-1", trigger="retry"), "run run-1 has 2 rows"),
    "run never ended": (lambda h: change_row(h, "run-4", state="running"), "is still running"),
    "success out of thin air": (
        lambda h: replace_events(h, lambda e: (e.run, e.kind) != ("run-4", "end")),
        "run run-4 is called succeeded, but its last attempt never reached its end",
    ),
    "end of an older attempt counts as success": (
        lambda h: replace_events(h, lambda e: (e.run, e.kind) != ("run-3", "end"), event("end", 103.2, "run-3", 1, 30)),
        "run run-3 is called succeeded, but its last attempt never reached its end",
    ),
    "started twice under a fence": (
        lambda h: replace_events(h, lambda e: True, event("start", 102.1, "run-2", 1, 20)),
        "run run-2 started twice under the fence 20",
    ),
    "fence goes back": (
        lambda h: (
            replace_events(h, lambda e: True, event("start", 102.9, "run-2", 2, 19)),
            change_row(h, "run-2", attempts=((2, 19), (1, 20))),
        )[0],
        "started under the fence 19 after 20",
    ),
    "two attempts at once": (
        lambda h: (
            replace_events(h, lambda e: True, event("start", 102.2, "run-2", 2, 21)),
            change_row(h, "run-2", attempts=((2, 21), (1, 20))),
        )[0],
        "had two attempts alive at once, 1 and 2",
    ),
    "two attempts at once, seen alive": (
        lambda h: replace_events(h, lambda e: True, event("alive", 104.2, "run-3", 1, 30)),
        "had two attempts alive at once, 1 and 2",
    ),
    "one fence for two": (
        lambda h: change_row(h, "run-4", attempts=((1, 20),)),
        "have attempts under the fence 20",
    ),
    "two runs at once": (
        lambda h: (
            setattr(h.jobs["d/every"], "overlaps", False),
            replace_events(h, lambda e: True, event("alive", 102.1, "run-1", 1, 10)),
        )[0],
        "runs run-1 and run-2 were under way at once",
    ),
    "started again without a kill": (lambda h: h.kills.clear(), "started again (2) though attempt 1 was not killed"),
    "kill of another time": (
        lambda h: h.kills.__setitem__(0, Kill(struck=105.0, buried=105.2)),
        "though attempt 1 was not killed",
    ),
    "kill of an earlier time": (
        lambda h: h.kills.__setitem__(0, Kill(struck=102.0, buried=102.5)),
        "though attempt 1 was not killed",
    ),
    "ran off the record": (
        lambda h: replace_events(h, lambda e: True, event("start", 101, "ghost", 1, 77)),
        "run ghost fence 77 ran and is on no record",
    ),
    "a fence given again, off the record": (
        lambda h: replace_events(h, lambda e: True, event("start", 101, "ghost", 1, 90)),
        "run ghost was started under the fence 90 of run run-9",
    ),
    "at most once broken": (
        lambda h: setattr(h.jobs["d/every"], "at_most_once", True),
        "run run-3 was started 2 times although at most once was promised",
    ),
    "trigger lost": (lambda h: drop_row(h, "by-hand"), "the acknowledged trigger k1 has no run by-hand"),
    "trigger doubled under its key": (
        lambda h: (
            add_row(h, id="by-hand-2", job="d/hand", trigger="manual"),
            h.acknowledged.append(Acknowledged(key="k1", run="by-hand-2")),
        )[0],
        "the trigger k1 made 2 runs",
    ),
    "trigger doubled unseen": (
        lambda h: add_row(h, id="by-hand-2", job="d/hand", trigger="manual"),
        "2 manual runs for 1 triggers",
    ),
}


def test_clean_history_passes() -> None:
    assert check(clean()) == []


@pytest.mark.parametrize("name", PLANTED)
def test_planted_violation_is_caught(name: str) -> None:
    plant, sentence = PLANTED[name]
    history = clean()
    plant(history)
    assert any(sentence in violation for violation in check(history)), check(history)


def test_what_a_database_lost_may_be_gone_and_nothing_else() -> None:
    history = clean()
    drop_row(history, "by-hand")
    history.acknowledged = [Acknowledged(key="k1", run="by-hand", window=window(5.9, 6.1))]
    replace_events(history, lambda e: True, event("start", 106, "ghost", 1, 77))
    assert len(check(history)) == 2
    history.rewinds = [Rewind(lost=window(6.0, 7.0), struck=105.5, known=107.0)]
    assert check(history) == []
    history.acknowledged.append(Acknowledged(key="k2", run="gone", window=window(7.1, 7.2)))
    replace_events(history, lambda e: True, event("start", 107.5, "ghost-2", 1, 78))
    assert check(history) == [
        "d/every: run ghost-2 fence 78 ran and is on no record",
        "the acknowledged trigger k2 has no run gone",
    ]


@pytest.mark.parametrize("started", [103.3, 103.4, 103.5, 103.6])
def test_an_attempt_that_began_while_the_blow_fell_died_of_it(started: float) -> None:
    history = clean()
    replace_events(history, lambda one: (one.run, one.fence) != ("run-3", 30), event("start", started, "run-3", 1, 30))
    assert check(history) == []


def test_an_attempt_that_began_after_the_burial_did_not_die_of_it() -> None:
    history = clean()
    replace_events(history, lambda one: (one.run, one.fence) != ("run-3", 30), event("start", 103.7, "run-3", 1, 30))
    assert any("though attempt 1 was not killed" in one for one in check(history))


def test_instants_during_an_edit_may_be_either() -> None:
    job = JobHistory(
        name="d/edited",
        definitions=[
            Definition(window=window(0.1, 0.2), expression="*/2 * * * * *"),
            Definition(window=window(4.5, 7.5), expression="*/3 * * * * *"),
        ],
    )
    must, may = instants(job, at(10))
    assert sorted(must) == [at(2), at(4), at(9)]
    assert sorted(may) == [at(6)]  # it belongs to both


def test_edit_answered_late_leaves_its_instants_open_but_never_doubled() -> None:
    history = clean()
    history.jobs["d/every"].definitions[0] = Definition(window=window(0.1, 2.5), expression="* * * * * *")
    drop_row(history, "run-1")
    replace_events(history, lambda one: one.run != "run-1")
    assert check(history) == []
    add_row(history)
    assert any("has 2 run rows" in one for one in check(history))


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("* * * * * *", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("*/4 * * * * *", [4, 8]),
        ("3,7-9 * * * * *", [3, 7, 8, 9]),
        ("5/2 * * * * *", [5, 7, 9]),
        ("* * * * * 2", []),
        ("6 0 12 23 11 *", [6]),
        ("6 0 12 * * 1", [6]),
    ],
)
def test_oracle(expression: str, seconds: list[int]) -> None:
    assert expected(expression, NOON, at(10)) == [at(second) for second in seconds]


def test_oracle_speaks_local_time_and_steps_over_a_gap() -> None:
    after, until = datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    hours = expected("0 0 * * * *", after, until, "Europe/Berlin")
    assert [hour.hour for hour in hours] == [1, 2]  # 03:00 and 04:00 there; there is no 02:00
    assert expected("0 15 2 * * *", after, until, "Europe/Berlin") == []


@pytest.mark.parametrize("expression", ["* * * * *", "* * * 1 * 1"])
def test_oracle_refuses_what_it_does_not_know(expression: str) -> None:
    with pytest.raises(ValueError, match=r"six fields|must be a star"):
        expected(expression, NOON, at(1))


def test_probe_lines_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    with path.open("ab") as target:
        for kind in ("start", "end"):
            raw = probe.line(
                kind, "d/a-job-with-a-name", "01234567-89ab-8cde-8f01-23456789abcd", "2", "1099511627777", 4
            )
            assert len(raw) == probe.LINE_BYTES
            target.write(raw)
    first, last = probe.read_events(path)
    assert (first.kind, last.kind) == ("start", "end")
    assert (first.job, first.attempt, first.fence) == ("d/a-job-with-a-name", 2, 1099511627777)


def test_torn_probe_line_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_bytes(b"start 1.0")
    with pytest.raises(ValueError, match="not a whole number of lines"):
        probe.read_events(path)
