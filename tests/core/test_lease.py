"""Leases as arithmetic: fair shares that servers agree on without talking, and deadlines that err to the safe side."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.builders import NOON, later

from rota.core.lease import (
    GRACE_SECONDS,
    LEASE_SECONDS,
    MARGIN_SECONDS,
    SILENCE_SECONDS,
    balance,
    is_live,
    surplus_workers,
    worker_deadline,
)
from rota.core.model import Server, Shard, Standing

NAMES = ("a", "b", "c", "d", "e")


def server(name: str, *, lives: bool = True) -> Server:
    return Server(
        id=name, name=name, url="", version="0", started=NOON, renewed=NOON, lease_until=later(4 if lives else 0)
    )


def standing(live: str, owners: str, dead: str = "") -> Standing:
    """One letter per shard says who leads it; `-` is nobody."""
    servers = [*(server(name) for name in live), *(server(name, lives=False) for name in dead)]
    shards = [Shard(number=n, server=owner.replace("-", ""), epoch=10 + n) for n, owner in enumerate(owners)]
    return Standing(now=NOON, servers=tuple(servers), shards=tuple(shards))


def after_round(now: Standing) -> Standing:
    """What the shards are after every live server has done what it wants, all having seen the same."""
    owners = {shard.number: shard for shard in now.shards}
    for one in now.servers:
        wanted = balance(now, one.id)
        for number, epoch in wanted.take.items():
            if owners[number].epoch == epoch:
                owners[number] = Shard(number=number, server=one.id, epoch=epoch + 1)
        for number in wanted.release:
            assert owners[number].server == one.id
            owners[number] = replace(owners[number], server="")
    return replace(now, shards=tuple(owners.values()))


def test_alone_a_server_takes_everything() -> None:
    assert balance(standing("a", "----"), "a").take == {0: 10, 1: 11, 2: 12, 3: 13}


def test_two_that_start_together_want_different_shards() -> None:
    now = standing("ab", "------")
    assert sorted([*balance(now, "a").take, *balance(now, "b").take]) == [0, 1, 2, 3, 4, 5]


def test_shards_of_the_dead_are_free() -> None:
    now = standing("a", "aabb", dead="b")
    assert balance(now, "a").take == {2: 12, 3: 13}


def test_who_comes_later_gets_a_share() -> None:
    now = standing("ab", "aaaaaa")
    assert balance(now, "b") == balance(standing("b", ""), "b")
    assert balance(now, "a").release == (3, 4, 5)


def test_a_server_without_a_lease_wants_nothing() -> None:
    assert balance(standing("b", "--", dead="a"), "a").take == {}
    assert balance(standing("b", "aa", dead="a"), "a").release == ()


def test_shards_are_for_servers_that_have_workers() -> None:
    now = replace(standing("abc", "aabb--"), workers={"b": 1, "dead": 3})
    assert balance(now, "b").take == {4: 14, 5: 15}
    assert (balance(now, "a").take, balance(now, "a").release) == ({}, (0, 1))
    assert balance(now, "c") == balance(standing("c", ""), "c")
    nobody = replace(now, workers={"dead": 3})
    assert balance(nobody, "a").release == ()


def test_a_lease_ends_at_its_moment() -> None:
    assert is_live(server("a"), later(3.999))
    assert not is_live(server("a"), later(4))


@given(
    live=st.integers(1, 5),
    owners=st.lists(st.sampled_from(["-", *NAMES]), min_size=1, max_size=64),
)
def test_shares_become_fair_and_stay_still(live: int, owners: list[str]) -> None:
    now = standing("".join(NAMES[:live]), "".join(owners), dead="".join(NAMES[live:]))
    for _ in range(3):
        now = after_round(now)
    counts = [sum(shard.server == name for shard in now.shards) for name in NAMES[:live]]
    assert sum(counts) == len(owners)
    assert max(counts) - min(counts) <= 1
    assert after_round(now) == now


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 99))
def test_workers_become_evenly_spread_and_stay(counts: list[int], seed: int) -> None:
    """Whoever is sent away goes to some other server, the most crowded one included."""
    rng = Random(seed)
    live = "".join(NAMES[: len(counts)])
    workers = dict(zip(live, counts, strict=True))
    for _ in range(200):
        now = replace(standing(live, ""), workers=dict(workers))
        for name in live:
            others = [one for one in live if one != name]
            for _ in range(surplus_workers(now, name)):
                workers[name] -= 1
                workers[rng.choice(others)] += 1
    assert (sum(workers.values()), min(workers.values()) >= 0) == (sum(counts), True)
    assert max(workers.values()) <= sum(counts) // len(counts) + 1


def test_a_server_without_a_lease_sends_nobody_away() -> None:
    assert surplus_workers(replace(standing("b", "", dead="a"), workers={"a": 9}), "a") == 0


@given(
    sent=st.floats(0, 1e6),
    travel=st.floats(0, 10),
    age=st.floats(0, 100),
)
def test_a_worker_ends_before_any_server_may_call_it_lost(sent: float, travel: float, age: float) -> None:
    """The heartbeat sent at `sent` was heard and answered `travel` later, by a server with a renewal of that age."""
    heard = sent + travel
    renewed = heard - age
    known = sent - age  # what the worker can tell: the answer was not made before the question was sent
    deadline = worker_deadline(sent, known)
    assert deadline <= heard + SILENCE_SECONDS - MARGIN_SECONDS + 1e-6
    assert deadline <= renewed + LEASE_SECONDS + GRACE_SECONDS - MARGIN_SECONDS + 1e-6


def test_a_database_outage_of_a_minute_kills_nothing() -> None:
    """Heartbeats go on being acknowledged, with an older renewal each time."""
    for now in range(1000, 1060):
        assert worker_deadline(float(now), 1000.0) > now
