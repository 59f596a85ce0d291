"""When a failed attempt is tried again, and after how long.

The wait before try n+1 is `wait_min · 2^(n−1)`, at most `wait_max`, moved by the jitter. Lost attempts are no
failures: they have their own cap and their own short wait.
"""

from datetime import datetime, timedelta
from random import Random
from typing import Final

from rota.core.model import RetryPolicy

FAILURE_KINDS: Final = {
    "timeout": "the attempt ran longer than its timeout, or a stage of an http request did",
    "connect": "no connection to the http target (refused, unreachable, name not found)",
    "tls": "the http target's certificate was not accepted",
    "http-4xx": "the answer had a status of 400 to 499 that was not expected",
    "http-429": "the answer was 429 Too Many Requests",
    "http-5xx": "the answer had a status of 500 to 599",
    "http-status": "the answer had another status that was not expected",
    "protocol": "the answer was broken off or was not HTTP",
    "expect": "status was as expected, but a header, the JSON or the body was not",
    "policy": "the target's address or scheme is not allowed",
    "exit": "the command or the function's process ended with an exit code other than 0",
    "signal": "the command was ended by a signal",
    "exception": "the python function raised",
    "start": "the command or interpreter could not be started",
    "rejected": "the worker refused the attempt by its own rules",
}

NEVER_RETRIED: Final = frozenset({"policy", "rejected"})
LOST_CAP: Final = 3
STOPPED: Final = "stopped"
"""How a lost attempt failed whose worker was stopped in order: nobody wonders what became of it, so it does not count
towards LOST_CAP."""
STOPPED_CAP: Final = 10  # stops of one run, of which it may be the reason itself
LOST_WAIT: Final = timedelta(seconds=1)


def is_retried(policy: RetryPolicy, failures: int, failure: str) -> bool:
    """Whether a run with `failures` failed attempts, the last of kind `failure`, gets another try."""
    if failures >= policy.tries or failure in NEVER_RETRIED:
        return False
    return not policy.when or failure in policy.when or _family(failure) in policy.when


def retry_at(policy: RetryPolicy, failures: int, now: datetime, rng: Random) -> datetime:
    """When the next try may start, after `failures` (≥ 1) failed attempts."""
    doublings = min(failures - 1, 62)
    wait = min(policy.wait_min * 2**doublings, policy.wait_max)
    wait *= 1 + policy.jitter * rng.uniform(-1, 1)
    return now + timedelta(seconds=wait)


def _family(failure: str) -> str:
    """`http-429` is also an `http-4xx`."""
    return "http-4xx" if failure == "http-429" else failure
