"""Limits: how much, for whom, and that one lane takes nothing from another. Time is moved by hand."""

from typing import Any

import pytest
from starlette.datastructures import Headers
from tests.server.api_installation import START, Installation, open_installation

from rota.clock import ManualClock
from rota.events import ClientLimited, Event, RequestLimited
from rota.server.access import new_token_text
from rota.server.api.limits import Limiter, Rates, note_known
from rota.server.api.problems import Busy
from rota.server.rates import Bucket, Buckets

SMALL = {"token": 2.0, "token_burst": 4.0, "address": 5.0, "address_burst": 10.0, "failure_burst": 3.0}


def scope(path: str = "/api/v1/jobs", client: str = "192.0.2.1", method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "path": path, "client": (client, 1234), "method": method}


def shown(token: str | None) -> Headers:
    return Headers({"authorization": f"Bearer {token}"} if token else {})


class Lanes:
    """A limiter, a clock, and how often it lets pass."""

    def __init__(self, proxies: tuple[str, ...] = (), **rates: Any) -> None:
        self.clock, self.events = ManualClock(START), list[Event]()
        self.limiter = Limiter(Rates(**{**SMALL, **rates}), self.clock, self.events.append, proxies)

    def passes(self, times: int, token: str | None = None, status: int = 200, **where: Any) -> int:
        """How many of so many requests pass; each is answered so."""
        passed = 0
        for _ in range(times):
            try:
                self.limiter.check(scope(**where), shown(token))
            except Busy:
                continue
            passed += 1
            answered = scope(**where)
            if status in (101, 200):
                note_known(answered)
            self.limiter.note(answered, shown(token), status)
        return passed


def test_a_bucket_fills_at_its_rate_up_to_its_burst() -> None:
    bucket = Bucket(2.0, 3.0, 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.0) == 0.5
    assert bucket.take(100.25) == 0.25
    assert bucket.take(100.5) == 0
    assert bucket.wait(101.0) == 0
    assert [bucket.take(1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_of_too_many_keys_the_oldest_are_forgotten() -> None:
    buckets: Buckets[int] = Buckets(1.0, 1.0, most=100)
    for key in range(1000):
        assert buckets.take(key, 0.0) == 0
    assert buckets.take(999, 0.0) > 0
    assert buckets.wait(5, 0.0) == 0
    assert len(buckets._buckets) <= 100


def test_each_token_has_a_bucket_and_each_address() -> None:
    lanes = Lanes()
    assert lanes.passes(20, "a") == 4
    assert lanes.passes(20, "b") == 4
    assert lanes.passes(20, "c") == 2  # the address has had enough
    assert lanes.passes(20, "d", client="192.0.2.2") == 4
    lanes.clock.advance(seconds=1)
    assert lanes.passes(20, "a") == 2
    lanes.clock.advance(minutes=1)
    assert lanes.passes(20) == 10


def test_a_refusal_says_what_is_the_limit_and_when_to_come_again() -> None:
    lanes = Lanes()
    lanes.passes(4, "a")
    with pytest.raises(Busy, match="more than 2 requests a second with this token") as refused:
        lanes.limiter.check(scope(), shown("a"))
    assert refused.value.facts["after"] == 0.5
    assert "come again in 1 s" in (refused.value.hint or "")


def test_it_is_said_once_a_minute_and_counted_each_time() -> None:
    lanes = Lanes()
    lanes.passes(30, "a")
    assert len([event for event in lanes.events if isinstance(event, RequestLimited)]) == 26
    assert [event.client for event in lanes.events if isinstance(event, ClientLimited)] == ["192.0.2.1"]
    lanes.clock.advance(seconds=61)
    lanes.passes(30, "a")
    assert len([event for event in lanes.events if isinstance(event, ClientLimited)]) == 2


def test_a_flood_takes_nothing_from_workers_and_probes() -> None:
    lanes = Lanes()
    assert lanes.passes(5000, "a") == 4
    assert lanes.passes(5000, "wrong", status=401) < 5
    assert lanes.passes(1, "w1", path="/api/v1/worker", status=101, client="192.0.2.9") == 1
    assert lanes.passes(400, path="/healthz") == 400
    assert lanes.passes(400, path="/healthz") == 100


def test_a_worker_that_was_let_in_before_comes_in_beside_a_guesser() -> None:
    lanes = Lanes()
    assert lanes.passes(1, "w1", path="/api/v1/worker", status=101) == 1
    assert lanes.passes(100, "guess", path="/api/v1/worker", status=401) == 3
    assert lanes.passes(1, "w1", path="/api/v1/worker", status=101) == 1
    assert lanes.passes(100, "w1", path="/api/v1/worker", status=101) == 28  # nor does it connect without end


def test_guessing_is_slow_and_gains_nothing_even_when_it_is_right() -> None:
    lanes = Lanes()
    assert lanes.passes(3, "friend") == 3
    assert sum(lanes.passes(1, f"guess-{number}", status=401) for number in range(100)) == 3
    assert lanes.passes(1, "right") == 0
    assert lanes.passes(1, "friend") == 1
    assert lanes.passes(1, "right", client="192.0.2.2") == 1
    lanes.clock.advance(seconds=3)
    assert sum(lanes.passes(1, f"guess-{number}", status=401) for number in range(100)) == 1


def test_logins_have_the_bucket_of_wrong_tokens() -> None:
    lanes = Lanes()
    assert lanes.passes(50, path="/login", method="POST", status=401) == 3
    assert lanes.passes(1, path="/login", method="POST") == 0
    assert lanes.passes(1, path="/login") == 1  # the form is shown all the same


def test_a_token_that_ended_is_not_known_as_good_any_more() -> None:
    lanes = Lanes()
    assert lanes.passes(1, "a") == 1
    assert lanes.passes(50, "a", status=401) == 3
    assert lanes.passes(1, "a") == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),  # nobody's word counts but the proxy's
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "garbage", "garbage"),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("2001:db8::ffff:1", None, "2001:db8::/64"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("", None, ""),
    ],
)
def test_whom_a_request_is_from(peer: str, forwarded: str | None, client: str) -> None:
    lanes = Lanes(proxies=("10.0.0.0/8",))
    headers = Headers({"x-forwarded-for": forwarded} if forwarded is not None else {})
    assert lanes.limiter.client(scope(client=peer), headers) == client


# ── over the API ─────────────────────────────────────────────────────────────────────────────────────────


async def test_the_answer_is_a_problem_with_retry_after() -> None:
    async with open_installation(rates=SMALL) as rota, rota.client("read") as reader:
        for _ in range(4):
            assert (await reader.get("/api/v1/me")).status_code == 200
        refused = await reader.get("/api/v1/me")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert refused.json()["code"] == "TOO_MANY"
        assert "2 requests a second" in refused.json()["detail"]
        rota.clock.advance(seconds=1)
        assert (await reader.get("/api/v1/me")).status_code == 200


async def test_wrong_tokens_and_logins_over_the_api() -> None:
    async with open_installation(rates=SMALL) as rota:
        async with rota.client("read") as reader:
            assert (await reader.get("/api/v1/me")).status_code == 200
        async with rota.client(None) as guesser:
            answers = [
                (await guesser.get("/api/v1/me", headers={"Authorization": f"Bearer {new_token_text()}"})).status_code
                for _ in range(5)
            ]
            assert answers == [401, 401, 401, 429, 429]
            wrong = await guesser.post("/login", data={"code": "x" * 30})
            assert wrong.status_code == 429
        async with rota.client("read") as reader:
            assert (await reader.get("/api/v1/me")).status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/jobs", "/", "/api/v1/jobs/a", "/static/app.js", "/healthz", "/login"])
async def test_no_answer_of_another_path_makes_a_guess_a_known_one(path: str) -> None:
    async with open_installation(rates=SMALL) as rota, rota.client(None) as guesser:
        answers = []
        for _ in range(10):
            shown = {"Authorization": f"Bearer {new_token_text()}"}
            await guesser.get(path, headers=shown)
            answers.append((await guesser.get("/api/v1/me", headers=shown)).status_code)
        assert answers.count(401) <= 3
        assert answers[-1] == 429


async def test_guesses_at_pages_and_cookies_are_counted() -> None:
    for name in ("Authorization", "Cookie"):
        async with open_installation(rates=SMALL) as rota, rota.client(None) as guesser:
            guesses = [
                f"Bearer {new_token_text()}" if name == "Authorization" else f"rota_session_8700={n}" * 9
                for n in range(5)
            ]
            answers = [(await guesser.get("/jobs", headers={name: guess})).status_code for guess in guesses]
            assert answers == [303, 303, 303, 429, 429]


async def test_streams_are_limited_for_one_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes(streams=3, streams_each=2)
    with lanes.limiter.stream("a"), lanes.limiter.stream("a"):
        with pytest.raises(Busy, match="live streams"), lanes.limiter.stream("a"):
            pass
        with lanes.limiter.stream("b"), pytest.raises(Busy), lanes.limiter.stream("c"):
            pass
    with lanes.limiter.stream("a"):
        pass


async def test_bodies_are_limited_together() -> None:
    lanes = Lanes(bodies=1000)
    with lanes.limiter.body() as one:
        one.take(900)
        with lanes.limiter.body() as other, pytest.raises(Busy, match="large requests"):
            other.take(101)
        with lanes.limiter.body() as third:
            third.take(100)
    with lanes.limiter.body() as fourth:
        fourth.take(1000)


async def test_a_body_too_many_over_the_api() -> None:
    async with open_installation(rates={"bodies": 100}) as rota:
        await small_and_large(rota)


async def small_and_large(rota: Installation) -> None:
    async with rota.client("admin") as admin:
        large = await admin.put("/api/v1/secrets/A", json={"value": "x" * 200})
        assert (large.status_code, large.json()["code"]) == (429, "TOO_MANY")
        small = await admin.put("/api/v1/secrets/A", json={"value": "x" * 20})
        assert small.status_code == 204
