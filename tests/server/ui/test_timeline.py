"""A run's timeline by time, and the runs that sentences name; counted things."""

from datetime import UTC, datetime, timedelta

from rota.server.queries.shapes import ReasonView, moment
from rota.server.queries.why import Step
from rota.server.ui.timeline import Piece, named_by, pieces, timeline
from rota.server.ui.words import counted
from rota.store.jobs import AuditEntry

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUN = "0193586e-1c00-8abc-8def-0123456789ab"
OTHER = "0193586e-1c00-8abc-8def-0123456789ac"


def step(text: str, seconds: float | None) -> Step:
    at = None if seconds is None else moment(NOON + timedelta(seconds=seconds))
    return Step(ok=True, text=text, code="STARTED", at=at)


def act(verb: str, seconds: float, detail: str = "") -> AuditEntry:
    return AuditEntry(at=NOON + timedelta(seconds=seconds), actor="ada", verb=verb, object=RUN, detail=detail)


def told(steps: list[Step], *acts: AuditEntry) -> list[str]:
    return [line.text for line in timeline(steps, acts, RUN)]


def test_what_people_did_stands_where_it_was_done() -> None:
    steps = [step("made", 0), step("started", 1), step("ended", 5), step("asked to end", None), step("the end", 6)]
    acts = act("run.trigger", 0, RUN), act("run.cancel", 4, "too slow")
    assert told(steps, *acts) == [
        "made", "ada: run.trigger", "started", "ada: run.cancel (too slow)", "ended", "asked to end", "the end",
    ]  # fmt: skip


def test_how_things_are_now_comes_last() -> None:
    steps = [step("made", 0), step("it runs", None)]
    assert told(steps, act("run.cancel", 9)) == ["made", "ada: run.cancel", "it runs"]


def test_steps_keep_their_order_whatever_clocks_say() -> None:
    assert told([step("given", 3), step("started", 1)], act("run.cancel", 2)) == ["ada: run.cancel", "given", "started"]


def test_a_sentence_is_cut_at_the_runs_its_reason_names() -> None:
    reason = ReasonView(code="OVERLAP_SKIP", params={"holder": OTHER, "limit": 3, "why": "x"}, words="", advice="")
    assert named_by(reason) == {OTHER}
    assert named_by(None) == set()
    assert pieces(f"after {OTHER}, not {RUN}", named_by(reason)) == [
        Piece("after ", run=False), Piece(OTHER, run=True), Piece(f", not {RUN}", run=False),
    ]  # fmt: skip
    assert pieces("after nothing", set()) == [Piece("after nothing", run=False)]


def test_one_thing_is_not_many() -> None:
    assert [counted(count, "instant") for count in (0, 1, 2000)] == ["0 instants", "1 instant", "2,000 instants"]
