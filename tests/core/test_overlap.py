"""What a due run may do while earlier runs of its job are unfinished."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON, later, make_held, make_run

from rota.core.model import Overlap, Reason, RunState, Trigger
from rota.core.overlap import QUEUE_LIMIT, Release, Skip, Wait, decide, waiting_in_order

DUE = make_run(later(60))
HOLDER = make_held()


@pytest.mark.parametrize("policy", Overlap)
def test_nothing_in_the_way(policy: Overlap) -> None:
    assert decide(policy, DUE, [], [DUE]) == Release(alone=policy is not Overlap.ALLOW)


@pytest.mark.parametrize("policy", Overlap)
def test_retry_is_its_own_holder_and_goes_on(policy: Overlap) -> None:
    run = make_run(released=NOON)
    assert decide(policy, run, [HOLDER], [DUE]) == Release(alone=False)


def test_allow_runs_beside() -> None:
    assert decide(Overlap.ALLOW, DUE, [HOLDER], []) == Release(alone=False)


def test_skip_names_the_holder() -> None:
    decision = decide(Overlap.SKIP, DUE, [HOLDER], [])
    assert decision == Skip(reason=Reason(code="OVERLAP_SKIP", params={"holder": HOLDER.id}))


def test_queue_waits_up_to_the_limit() -> None:
    line = [make_run(later(60 + index)) for index in range(QUEUE_LIMIT + 1)]
    assert isinstance(decide(Overlap.QUEUE, line[QUEUE_LIMIT - 1], [HOLDER], line), Wait)
    full = decide(Overlap.QUEUE, line[QUEUE_LIMIT], [HOLDER], line)
    assert full == Skip(reason=Reason(code="QUEUE_FULL", params={"limit": QUEUE_LIMIT}))


def test_queue_keeps_its_order_even_when_nothing_runs() -> None:
    """A run that is looked at before the one in front of it does not overtake."""
    front, back = make_run(later(60)), make_run(later(120))
    assert decide(Overlap.QUEUE, front, [], [front, back]) == Release(alone=True)
    assert isinstance(decide(Overlap.QUEUE, back, [], [front, back]), Wait)


def test_queue_latest_keeps_the_newest() -> None:
    older, newer = make_run(later(60)), make_run(later(120))
    assert isinstance(decide(Overlap.QUEUE_LATEST, newer, [HOLDER], [older, newer]), Wait)
    decision = decide(Overlap.QUEUE_LATEST, older, [HOLDER], [older, newer])
    assert decision == Skip(reason=Reason(code="SUPERSEDED", params={"by": newer.id}))


def test_queue_latest_supersedes_also_when_nothing_runs() -> None:
    older, newer = make_run(later(60)), make_run(later(120))
    assert isinstance(decide(Overlap.QUEUE_LATEST, older, [], [older, newer]), Skip)


def test_replace_ends_the_holders_and_waits() -> None:
    decision = decide(Overlap.REPLACE, DUE, [HOLDER], [DUE])
    assert isinstance(decision, Wait)
    assert decision.end == (HOLDER.id,)
    assert decision.reason.code == "REPLACING"


def test_replace_asks_for_an_end_only_once() -> None:
    ending = make_held(cancel=Reason(code="REPLACED", params={"by": DUE.id}))
    decision = decide(Overlap.REPLACE, DUE, [ending], [DUE])
    assert isinstance(decision, Wait)
    assert decision.end == ()


def test_line_has_only_due_unreleased_queued_runs_in_order() -> None:
    first, second = make_run(later(1)), make_run(later(2))
    others = [
        make_run(later(3), released=NOON),
        make_held(),
        make_run(later(1000)),
        make_run(later(4), state=RunState.SKIPPED),
    ]
    assert waiting_in_order([second, *others, first], later(10)) == [first, second]


@given(
    st.sampled_from(Overlap),
    st.lists(st.integers(0, 600), unique=True, min_size=1, max_size=8),
    st.booleans(),
)
def test_of_one_job_at_most_one_run_of_the_line_starts_unless_allowed(
    policy: Overlap, seconds: list[int], held: bool
) -> None:
    line = waiting_in_order([make_run(later(second)) for second in seconds], later(1000))
    holders = [HOLDER] if held else []
    released = 0
    for run in line:
        if isinstance(decide(policy, run, holders, line), Release):
            released += 1
            holders = [*holders, make_held(due=run.due)]
    if policy is Overlap.ALLOW:
        assert released == len(line)
    else:
        assert released == (0 if held else 1)


def test_manual_trigger_overlaps_like_any_other() -> None:
    manual = make_run(later(60), trigger=Trigger.MANUAL, key="k")
    assert isinstance(decide(Overlap.SKIP, manual, [HOLDER], []), Skip)
