"""Tokens recognise themselves; secrets are ciphertext bound to their names and their key."""

import base64
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from rota.clock import ManualClock
from rota.core.actor import Actor
from rota.core.errors import Invalid, NotAllowed, NotAuthenticated
from rota.server.access import AccessControl, authorize, is_token_text, new_token_text, prepare_admin_token
from rota.server.secrets import SecretKeyError, Vault, VaultKey, load_key
from rota.stores.sqlite import open_sqlite

START = datetime(2026, 11, 23, tzinfo=UTC)
ADMIN = Actor(name="admin", scopes=frozenset({"admin"}))
KEY = VaultKey(bytes(range(32)))


def test_a_token_carries_a_checksum_that_finds_typing_errors() -> None:
    text = new_token_text()
    assert text.startswith("rota_")
    assert len(text) == 5 + 43 + 6
    assert is_token_text(text)
    assert text != new_token_text()
    for position in range(5, len(text)):
        other = "A" if text[position] != "A" else "B"
        assert not is_token_text(text[:position] + other + text[position + 1 :])
    assert not is_token_text(text + "x")
    assert not is_token_text("")


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("admin", "admin write read metrics"), ("write", "write read"), ("read", "read"), ("metrics", "metrics")],
)
def test_scopes_allow_what_they_say(scope: str, allowed: str) -> None:
    actor = Actor(name="x", scopes=frozenset({scope}))
    for permission in ("admin", "write", "read", "metrics"):
        if permission in allowed.split():
            authorize(actor, permission)
        else:
            with pytest.raises(NotAllowed, match=permission):
                authorize(actor, permission)


async def test_tokens_are_refused_for_odd_names_and_scopes() -> None:
    store = await open_sqlite(None, clock=ManualClock(START), inline=True)
    access = AccessControl(store.access, ManualClock(START))
    for name, scopes in (("", ["read"]), ("x" * 101, ["read"]), ("a\nb", ["read"]), ("a", []), ("a", ["root"])):
        with pytest.raises(Invalid):
            await access.create_token(name, scopes, actor=ADMIN)
    with pytest.raises(Invalid, match="past"):
        await access.create_token("a", ["read"], expires=START, actor=ADMIN)
    assert await access.tokens() == []
    await store.close()


async def test_a_use_is_noted_to_the_minute_and_never_undoes_a_revocation() -> None:
    clock = ManualClock(START)
    store = await open_sqlite(None, clock=clock, inline=True)
    access, other = AccessControl(store.access, clock), AccessControl(store.access, clock)
    made = await access.create_token("ci", ["read"], actor=ADMIN)
    await access.authenticate_token(made.text)
    assert (await access.tokens())[0].last_used == START
    clock.advance(seconds=30)
    await access.authenticate_token(made.text)
    assert (await access.tokens())[0].last_used == START
    clock.advance(minutes=1)
    await other.revoke_token(made.record.id, actor=ADMIN)
    with pytest.raises(NotAuthenticated):
        await access.authenticate_token(made.text)
    assert (await access.tokens())[0].revoked is not None
    await store.close()


async def test_a_token_revoked_at_another_server_is_dead_within_two_seconds() -> None:
    clock = ManualClock(START)
    store = await open_sqlite(None, clock=clock, inline=True)
    access, other = AccessControl(store.access, clock), AccessControl(store.access, clock)
    made = await access.create_token("ci", ["read"], actor=ADMIN)
    await access.authenticate_token(made.text)
    await other.revoke_token(made.record.id, actor=ADMIN)
    clock.advance(seconds=2)
    with pytest.raises(NotAuthenticated):
        await access.authenticate_token(made.text)
    await store.close()


async def test_the_admin_token_is_kept_private_and_made_again_when_it_ended(tmp_path: Path) -> None:
    clock = ManualClock(START)
    store = await open_sqlite(None, clock=clock, inline=True)
    access, path = AccessControl(store.access, clock), tmp_path / "admin-token"
    text = await prepare_admin_token(access, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == text
    assert await prepare_admin_token(access, path) == text
    await access.revoke_token((await access.tokens())[0].id, actor=ADMIN)
    assert await prepare_admin_token(access, path) != text
    assert [one.name for one in tmp_path.iterdir()] == ["admin-token"]
    await store.close()


async def test_what_is_stored_is_ciphertext_bound_to_name_and_key() -> None:
    clock = ManualClock(START)
    store = await open_sqlite(None, clock=clock, inline=True)
    vault = Vault(store.access, KEY, clock)
    await vault.put("A", "correct horse", actor=ADMIN)
    await vault.put("B", "battery staple", actor=ADMIN)
    stored = await store.access.get_secrets()
    assert b"horse" not in stored["A"].ciphertext
    assert await vault.values(["A", "B", "C"]) == {"A": "correct horse", "B": "battery staple"}
    assert await vault.self_test() == []
    await store.access.put_secrets([replace(stored["B"], name="A")])
    assert await vault.values(["A"]) == {}
    assert "damaged" in (await vault.self_test())[0]
    await store.access.put_secrets([replace(stored["A"], ciphertext=b"correct horse")])
    assert await vault.values(["A"]) == {}
    other = Vault(store.access, VaultKey(os.urandom(32)), clock)
    assert await other.values(["B"]) == {}
    assert "another key" in (await other.self_test())[-1]
    await store.close()


def test_the_key_comes_from_the_variable_or_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    made = load_key(path, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path, {}).id == made.id
    given = base64.b64encode(bytes(range(32))).decode()
    assert load_key(path, {"ROTA_SECRET_KEY": given}).id == KEY.id
    path.chmod(0o644)
    with pytest.raises(SecretKeyError, match="read by others"):
        load_key(path, {})
    assert repr(made) == f"VaultKey(id={made.id!r})"


@pytest.mark.parametrize("text", ["secret", "AAAA", base64.b64encode(bytes(32)).decode(), "!" * 44])
def test_weak_or_damaged_keys_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SecretKeyError):
        load_key(tmp_path / "none", {"ROTA_SECRET_KEY": text})
