"""When failed attempts are tried again."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON

from rota.core.model import RetryPolicy
from rota.core.retry import FAILURE_KINDS, NEVER_RETRIED, is_retried, retry_at


def waits(policy: RetryPolicy, tries: int, seed: int = 1) -> list[float]:
    """The waits after failure 1, 2, … in seconds."""
    rng = Random(seed)
    return [(retry_at(policy, n, NOON, rng) - NOON).total_seconds() for n in range(1, tries + 1)]


def test_waits_double_up_to_the_most() -> None:
    policy = RetryPolicy(tries=9, wait_min=30, wait_max=300, jitter=0)
    assert waits(policy, 6) == [30, 60, 120, 240, 300, 300]


@given(st.integers(1, 10_000), st.floats(0, 1), st.integers())
def test_wait_stays_within_the_jitter_however_many_failures(failures: int, jitter: float, seed: int) -> None:
    policy = RetryPolicy(tries=99_999, wait_min=2, wait_max=500, jitter=jitter)
    base = min(2.0 * 2 ** min(failures - 1, 60), 500)
    wait = retry_at(policy, failures, NOON, Random(seed)) - NOON
    slack = timedelta(microseconds=1)
    assert timedelta(seconds=base * (1 - jitter)) - slack <= wait <= timedelta(seconds=base * (1 + jitter)) + slack


def test_jitter_is_drawn_from_the_given_chance() -> None:
    policy = RetryPolicy(tries=5, jitter=0.5)
    assert waits(policy, 4, seed=3) == waits(policy, 4, seed=3)
    assert waits(policy, 4, seed=3) != waits(policy, 4, seed=4)


@pytest.mark.parametrize(("failures", "retried"), [(1, True), (2, True), (3, False), (4, False)])
def test_tries_count_the_first_attempt(failures: int, retried: bool) -> None:
    assert is_retried(RetryPolicy(tries=3), failures, "exit") is retried


def test_one_try_means_no_retry() -> None:
    assert not is_retried(RetryPolicy(), 1, "exit")


@pytest.mark.parametrize("kind", sorted(FAILURE_KINDS))
def test_every_kind_but_refusals_is_retried_unless_when_says_otherwise(kind: str) -> None:
    assert is_retried(RetryPolicy(tries=2), 1, kind) is (kind not in NEVER_RETRIED)


def test_when_names_the_kinds() -> None:
    policy = RetryPolicy(tries=5, when=("connect", "http-5xx"))
    assert is_retried(policy, 1, "connect")
    assert not is_retried(policy, 1, "exit")


def test_429_is_also_a_4xx_but_not_the_other_way_round() -> None:
    assert is_retried(RetryPolicy(tries=2, when=("http-4xx",)), 1, "http-429")
    assert not is_retried(RetryPolicy(tries=2, when=("http-429",)), 1, "http-4xx")


def test_when_cannot_make_a_refusal_retried() -> None:
    assert not is_retried(RetryPolicy(tries=5, when=("policy",)), 1, "policy")
