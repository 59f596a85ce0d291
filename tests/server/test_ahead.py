"""What may be tried to be staged, and when again."""

from tests.core.builders import NOON, later, make_job, make_run

from rota.core.model import Job, Overlap, Run
from rota.server.ahead import REMEMBERED, Ahead, Candidate


def planned(ahead: Ahead, job: Job, *runs: Run) -> None:
    ahead.add(runs, {job.id: job})


def test_while_one_is_staged_the_next_is_not_tried_until_that_has_ended() -> None:
    ahead, job = Ahead(), make_job(schedule="* * * * * *")
    first, second, third = (make_run(later(seconds)) for seconds in (1, 2, 3))
    planned(ahead, job, first)
    assert ahead.take(NOON, 10) == [Candidate(first, job)]
    ahead.note_staged([Candidate(first, job)])
    planned(ahead, job, second)
    assert ahead.take(NOON, 10) == []
    ahead.free([job.id])
    assert ahead.take(NOON, 10) == [Candidate(second, job)]
    planned(ahead, job, third)
    assert ahead.take(NOON, 10) == [Candidate(third, job)], "nothing is staged any more"


def test_one_whose_end_is_not_heard_of_stands_in_the_way_for_a_while_only() -> None:
    """Another server may have recorded it."""
    ahead, job = Ahead(), make_job(schedule="* * * * * *")
    ahead.note_staged([Candidate(make_run(NOON), job)])
    planned(ahead, job, make_run(later(60)))
    ahead.forget_due(NOON + REMEMBERED)
    assert not ahead
    ahead.forget_due(later(5.001))
    assert [candidate.run.due for candidate in ahead.take(later(6), 10)] == [later(60)]


def test_runs_that_may_overlap_do_not_stand_in_each_other_s_way() -> None:
    ahead, job = Ahead(), make_job(schedule="* * * * * *", overlap=Overlap.ALLOW)
    ahead.note_staged([Candidate(make_run(later(1)), job)])
    planned(ahead, job, make_run(later(2)), make_run(later(3)))
    assert len(ahead.take(NOON, 10)) == 2
