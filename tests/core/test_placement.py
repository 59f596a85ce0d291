"""Which worker takes a run."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import later, make_run

from rota.core.placement import WorkerRoom, kinds_with_room, place


def room(name: str, draining: bool = False, **kinds: int) -> WorkerRoom:
    return WorkerRoom(name=name, session=len(name), room=kinds, draining=draining)


def test_roomiest_worker_takes_it_and_the_first_by_name_among_equals() -> None:
    run = make_run()
    assert place([run], [room("a", shell=1), room("b", shell=2)]).placed[0].worker == "b"
    assert place([run], [room("b", shell=2), room("a", shell=2)]).placed[0].worker == "a"


def test_placed_run_carries_the_session() -> None:
    assert place([make_run()], [room("abc", shell=1)]).placed[0].session == 3


def test_full_worker_takes_nothing_and_says_why() -> None:
    run = make_run()
    placement = place([run], [room("a", shell=0)])
    assert not placement.placed
    assert placement.refused[run.id].code == "NO_ROOM"


def test_room_can_be_overdrawn() -> None:
    assert place([make_run()], [room("a", shell=-2)]).refused


def test_other_kind_is_no_room() -> None:
    run = make_run(kind="http")
    placement = place([run], [room("a", shell=5)])
    assert placement.refused[run.id].code == "NO_WORKER"
    assert placement.refused[run.id].params == {"kind": "http"}


def test_draining_worker_is_not_there() -> None:
    run = make_run()
    draining = [room("a", draining=True, shell=5)]
    assert place([run], draining).refused[run.id].code == "NO_WORKER"
    assert kinds_with_room(draining) == {}


def test_nobody_there() -> None:
    run = make_run()
    assert place([run], []).refused[run.id].code == "NO_WORKER"


def test_kinds_with_room_add_up_and_leave_out_what_is_full() -> None:
    rooms = [room("a", shell=2, http=0), room("b", shell=3, http=-1), room("c", python=1)]
    assert kinds_with_room(rooms) == {"shell": 5, "python": 1}


@given(
    st.lists(st.sampled_from(["http", "shell", "python"]), max_size=40),
    st.lists(st.dictionaries(st.sampled_from(["http", "shell"]), st.integers(-1, 6)), max_size=5),
)
def test_no_worker_is_overfilled_and_no_room_is_wasted(kinds: list[str], rooms: list[dict[str, int]]) -> None:
    workers = [room(f"w{index}", **kinds) for index, kinds in enumerate(rooms)]
    runs = [make_run(later(index), kind=kind) for index, kind in enumerate(kinds)]
    placement = place(runs, workers)
    placed = [one.run.id for one in placement.placed]
    assert sorted([*placed, *placement.refused]) == sorted(run.id for run in runs)
    for worker in workers:
        for kind in ("http", "shell"):
            taken = sum(one.worker == worker.name and one.run.kind == kind for one in placement.placed)
            assert taken <= max(worker.room.get(kind, 0), 0)
    for kind, total in kinds_with_room(workers).items():
        assert sum(one.run.kind == kind for one in placement.placed) == min(total, kinds.count(kind))


def test_runs_are_placed_in_the_order_given() -> None:
    runs = [make_run(later(index)) for index in range(3)]
    placement = place(runs, [room("a", shell=2)])
    assert [one.run.id for one in placement.placed] == [runs[0].id, runs[1].id]
