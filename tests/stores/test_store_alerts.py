"""The contract of alerts: notices once, in order, until they are settled; conditions until they are cleared."""

from msgspec.structs import replace
from store_values import NOON, after, make_job, make_notice, make_run

from rota.core.model import Condition
from rota.store.bundle import Store


async def test_a_notice_is_read_as_it_was_written(store: Store) -> None:
    job = make_job()
    notice = make_notice(
        "n",
        job=job.full_name,
        run_id=make_run(job).id,
        facts={"error": "boom", "times": [1, 2], "nested": {"a": None}},
        state="given-up",
        tries=7,
        next_try=after(60),
        sent=after(61),
        error="550 no such user",
    )
    await store.alerts.add([notice])
    assert await store.alerts.recent(1) == [notice]


async def test_pending_notices_come_oldest_first_when_their_time_has_come(store: Store) -> None:
    now, later, done, old = (
        make_notice("a", after(2)),
        make_notice("b", after(1), next_try=after(30)),
        make_notice("c", after(0), state="sent"),
        make_notice("d", after(-5)),
    )
    await store.alerts.add([now, later, done, old, replace(now, route="mail:other")])
    assert await store.alerts.pending(after(3), 10) == [old, now]
    assert await store.alerts.pending(after(30), 10) == [old, later, now]
    assert await store.alerts.pending(after(30), 1) == [old]
    assert await store.alerts.next_try() == old.created
    assert await store.alerts.recent(2) == [now, later]


async def test_settled_notices_are_tried_no_more(store: Store) -> None:
    one, two = make_notice("a"), make_notice("b", after(1))
    await store.alerts.add([one, two])
    sent = replace(one, state="sent", tries=1, sent=after(5))
    failed = replace(two, tries=3, next_try=after(90), error="timed out")
    await store.alerts.settle([sent, failed, make_notice("unknown")])
    assert await store.alerts.pending(after(60), 10) == []
    assert await store.alerts.next_try() == after(90)
    assert await store.alerts.recent(10) == [failed, sent]
    await store.alerts.settle([replace(failed, state="given-up")])
    assert await store.alerts.next_try() is None


async def test_pruning_keeps_what_is_pending(store: Store) -> None:
    notices = [make_notice(f"n{number:04}", after(number), state="sent") for number in range(700)]
    waiting = make_notice("waiting", after(-50))
    await store.alerts.add([*notices, waiting, make_notice("x", after(-9), state="given-up")])
    assert await store.alerts.prune(after(600)) == 601
    assert await store.alerts.prune(after(600)) == 0
    assert len(await store.alerts.recent(1000)) == 101
    assert await store.alerts.pending(NOON, 5) == [waiting]


async def test_a_condition_stands_until_it_is_cleared(store: Store) -> None:
    disk = Condition(key="disk", detail="4 % left", since=after(5), hint="free some space")
    file = Condition(key="file:/a.yaml", detail="line 3: unknown key", since=after(1))
    assert await store.alerts.raise_condition(disk)
    assert await store.alerts.raise_condition(file)
    worse = replace(disk, detail="1 % left", since=after(60), hint=None)
    assert not await store.alerts.raise_condition(worse)
    assert await store.alerts.conditions() == [file, replace(worse, since=disk.since)]
    assert await store.alerts.clear_condition("disk")
    assert not await store.alerts.clear_condition("disk")
    assert await store.alerts.conditions() == [file]
