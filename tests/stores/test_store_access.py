"""The contract of access: tokens, logins taken once, secrets, remembered answers, the trail of acts."""

import asyncio

import pytest
from msgspec.structs import replace
from store_values import NOON, after, audit

from rota.core.errors import Invalid
from rota.store.access import LoginRecord, RememberedAnswer, SecretRecord, TokenRecord
from rota.store.bundle import Store

TOKEN = TokenRecord(id="t1", digest=b"\x01" * 32, name="laptop", scopes=("admin", "read"), created=NOON)
LOGIN = LoginRecord(digest=b"\x02" * 32, kind="code", token_id="t1", created=NOON, expires=after(600))
SECRET = SecretRecord(name="shop", key_id="k1", nonce=b"\x00\xff", ciphertext=b"\x80\x81", updated=NOON)
ANSWER = RememberedAnswer(key="k", actor="ann", request_digest=b"\x09", status=201, body=b"{}", created=NOON)


async def test_tokens_are_found_by_digest_and_id(store: Store) -> None:
    await store.access.put_token(TOKEN, audit("token.create"))
    assert await store.access.find_token(TOKEN.digest) == TOKEN
    assert await store.access.get_tokens(["t1"]) == {"t1": TOKEN}
    assert await store.access.find_token(b"\x05" * 32) is None
    assert await store.access.get_tokens(["t2"]) == await store.access.get_tokens([]) == {}
    used = replace(TOKEN, expires=after(60), last_used=after(5), revoked=after(9), scopes=())
    await store.access.put_token(used)
    assert await store.access.find_token(TOKEN.digest) == used
    newer = replace(TOKEN, id="t2", digest=b"\x07", created=after(1))
    await store.access.put_token(newer)
    assert await store.access.tokens() == [newer, used]
    assert await store.access.get_tokens(["t2", "t3", "t1"]) == {"t1": used, "t2": newer}
    assert [entry.verb for entry in await store.access.audit_trail(5)] == ["token.create"]


async def test_writing_what_was_read_before_undoes_no_end(store: Store) -> None:
    limited = replace(TOKEN, scopes=("join",), uses=2, last_used=after(5))
    await store.access.put_token(limited)
    await store.access.put_token(replace(limited, revoked=after(9), uses=1, last_used=after(8)))
    await store.access.put_token(replace(limited, name="renamed", last_used=after(7)))
    assert await store.access.tokens() == [
        replace(limited, name="renamed", revoked=after(9), uses=1, last_used=after(8))
    ]
    await store.access.put_token(replace(TOKEN, last_used=None))
    (kept,) = await store.access.tokens()
    assert (kept.uses, kept.last_used, kept.revoked) == (1, after(8), after(9))


async def test_two_tokens_cannot_share_a_digest(store: Store) -> None:
    await store.access.put_token(TOKEN)
    with pytest.raises(Invalid):
        await store.access.put_token(replace(TOKEN, id="t2"), audit("token.create"))
    assert await store.access.tokens() == [TOKEN]
    assert await store.access.audit_trail(5) == []


async def test_a_login_code_is_taken_by_exactly_one(store: Store) -> None:
    await store.access.put_login(LOGIN)
    taken = await asyncio.gather(*(store.access.take_login(LOGIN.digest) for _ in range(5)))
    assert [login for login in taken if login is not None] == [LOGIN]
    assert await store.access.take_login(LOGIN.digest) is None


async def test_a_code_is_no_session(store: Store) -> None:
    session = replace(LOGIN, digest=b"\x03", kind="session", csrf="c")
    await store.access.put_login(LOGIN)
    await store.access.put_login(session)
    assert await store.access.find_session(LOGIN.digest) is None
    assert await store.access.find_session(session.digest) == session
    assert await store.access.take_login(session.digest) == session
    assert await store.access.find_session(session.digest) is None


async def test_expired_logins_go_when_one_is_added(store: Store) -> None:
    session = replace(LOGIN, digest=b"\x03", kind="session", expires=after(10))
    await store.access.put_login(session)
    await store.access.put_login(replace(LOGIN, created=after(9)))
    assert await store.access.find_session(session.digest) == session
    await store.access.put_login(replace(LOGIN, digest=b"\x04", created=after(10)))
    assert await store.access.find_session(session.digest) is None


async def test_secrets_are_replaced_by_name(store: Store) -> None:
    other = replace(SECRET, name="mail")
    await store.access.put_secrets([SECRET, other], audit("secret.set"))
    changed = replace(SECRET, key_id="k2", nonce=b"\x03", ciphertext=b"", updated=after(1))
    await store.access.put_secrets([changed])
    assert await store.access.get_secrets() == {"mail": other, "shop": changed}
    assert await store.access.get_secrets(["shop", "none"]) == {"shop": changed}
    assert await store.access.get_secrets([]) == {}
    assert await store.access.delete_secret("shop", audit("secret.rm"))
    assert not await store.access.delete_secret("shop", audit("secret.rm"))
    assert await store.access.get_secrets() == {"mail": other}
    assert [entry.verb for entry in await store.access.audit_trail(9)] == ["secret.rm", "secret.set"]


async def test_the_first_answer_to_a_key_stays(store: Store) -> None:
    await store.access.remember(ANSWER, NOON)
    await store.access.remember(replace(ANSWER, status=500), NOON)
    await store.access.remember(replace(ANSWER, actor="bob", body=b"b"), NOON)
    assert await store.access.remembered("k", "ann") == ANSWER
    assert await store.access.remembered("k", "bob") == replace(ANSWER, actor="bob", body=b"b")
    assert await store.access.remembered("k", "eve") is None


async def test_old_answers_are_forgotten(store: Store) -> None:
    await store.access.remember(ANSWER, NOON)
    await store.access.remember(replace(ANSWER, key="l", created=after(60)), after(1))
    assert await store.access.remembered("k", "ann") is None
    assert await store.access.remembered("l", "ann") is not None


async def test_the_trail_is_newest_first(store: Store) -> None:
    entries = [replace(audit("job.pause"), at=after(number), detail=f"d{number}") for number in range(3)]
    await store.access.audit(entries)
    await store.access.audit([replace(entries[0], request_id="r", actor="bob")])
    trail = await store.access.audit_trail(3)
    assert trail == [replace(entries[0], request_id="r", actor="bob"), entries[2], entries[1]]


# ── tokens that make tokens ──────────────────────────────────────────────────────────────────────────────

JOIN = TokenRecord(
    id="j1", digest=b"\x0a" * 32, name="fleet", scopes=("join",), created=NOON, expires=after(60), uses=2,
    labels={"group": "batch"},
)  # fmt: skip


def worker_token(number: int, worker: str = "w1") -> TokenRecord:
    """A token for a worker."""
    return TokenRecord(
        id=f"w{number}", digest=bytes([number]) * 32, name=f"worker {worker}", scopes=("worker",), created=NOON,
        worker=worker, labels=JOIN.labels,
    )  # fmt: skip


async def test_a_join_token_is_worth_as_many_tokens_as_it_has_uses(store: Store) -> None:
    await store.access.put_token(JOIN)
    made = [worker_token(number, f"w{number}") for number in range(2, 6)]
    done = await asyncio.gather(*(store.access.use_token(JOIN.digest, one, NOON, audit("worker.join")) for one in made))
    assert sorted(done) == [False, False, True, True]
    kept = {token.id for token in await store.access.tokens()} - {JOIN.id}
    assert kept == {one.id for one, is_made in zip(made, done, strict=True) if is_made}
    assert (await store.access.get_tokens([JOIN.id]))[JOIN.id] == replace(JOIN, uses=0, last_used=NOON)
    assert [entry.verb for entry in await store.access.audit_trail(9)] == ["worker.join"] * 2


async def test_a_join_token_ends(store: Store) -> None:
    await store.access.put_token(JOIN)
    entry = audit("worker.join")
    assert not await store.access.use_token(b"\x0b" * 32, worker_token(2), NOON, entry)
    assert not await store.access.use_token(JOIN.digest, worker_token(2), after(60), entry)
    await store.access.put_token(replace(JOIN, revoked=after(1)))
    assert not await store.access.use_token(JOIN.digest, worker_token(2), after(2), entry)
    assert [token.id for token in await store.access.tokens()] == [JOIN.id]


async def test_a_worker_has_one_token_at_a_time(store: Store) -> None:
    await store.access.put_token(JOIN)
    await store.access.use_token(JOIN.digest, worker_token(2), NOON, audit("worker.join"))
    await store.access.use_token(JOIN.digest, worker_token(3), after(5), audit("worker.join"))
    assert await store.access.get_tokens(["w2"]) == {"w2": replace(worker_token(2), revoked=after(5))}
    assert await store.access.find_token(worker_token(3).digest) == worker_token(3)
