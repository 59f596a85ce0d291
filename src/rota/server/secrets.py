"""The vault: secrets of jobs, encrypted with AES-GCM before they reach the store, never readable from outside.

The key lies in a file beside the data (mode 0600), or comes from ROTA_SECRET_KEY. Each ciphertext is bound to its
secret's name, so swapping two rows in the database makes both unreadable instead of exchanging them. At start the
vault proves to itself that what is stored really is ciphertext of its key.
"""

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.errors import Invalid, NotFound, RotaError
from rota.files import write_private
from rota.store.access import Access, SecretRecord
from rota.store.jobs import AuditEntry

KEY_VARIABLE: Final = "ROTA_SECRET_KEY"
SHORTEST_VALUE: Final = 8
LARGEST_VALUE: Final = 64 * 1024
_KEY_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII)


class SecretKeyError(RotaError):
    """The key of the secrets cannot be used."""

    code = "SECRET_KEY"


class VaultKey:
    """An AES-256 key and its id, which tells keys apart without revealing them."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != _KEY_BYTES or len(set(raw)) < 8:
            raise SecretKeyError(
                f"the key of the secrets must be {_KEY_BYTES} random bytes in base64",
                hint="make one: head -c 32 /dev/urandom | base64",
            )
        self.cipher = AESGCM(raw)
        self.id = hashlib.sha256(b"rota secret key\0" + raw).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"VaultKey(id={self.id!r})"


def load_key(path: Path | None, environment: Mapping[str, str]) -> VaultKey:
    """The key from ROTA_SECRET_KEY, else from `path`; made there when there is none."""
    text = environment.get(KEY_VARIABLE)
    if text or path is None:
        return VaultKey(_decode(text or "", f"the variable {KEY_VARIABLE}"))
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SecretKeyError(f"{path} can be read by others (mode {mode:04o})", hint=f"chmod 600 {path}")
    return VaultKey(_decode(path.read_text(encoding="ascii", errors="replace"), str(path)))


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretKeyError(f"{where} does not hold base64", hint="head -c 32 /dev/urandom | base64") from error


class Vault:
    """Secrets by name: set, listed, deleted by people; values are given to the dispatcher only.

    Without a key it opens nothing and takes nothing in.
    """

    def __init__(self, store: Access, key: VaultKey | None, clock: Clock) -> None:
        self._store = store
        self.key = key
        self._clock = clock

    async def put(self, name: str, value: str, *, actor: Actor) -> None:
        """Set or replace a secret."""
        _check_secret(name, value)
        if self.key is None:
            hint = f"give every server the same {KEY_VARIABLE} (head -c 32 /dev/urandom | base64) and start it again"
            raise SecretKeyError("this server has no key for secrets, so it cannot keep any", hint=hint)
        record = self._seal(self.key, name, value)
        await self._store.put_secrets([record], self._entry(actor, "secret.set", name))

    async def names(self) -> list[SecretRecord]:
        """The records of all secrets, by name; ciphertext only."""
        stored = await self._store.get_secrets()
        return [stored[name] for name in sorted(stored)]

    def opens(self, record: SecretRecord) -> bool:
        """Whether the present key opens a record."""
        return self._open(record) is not None

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Remove a secret, or raise NotFound."""
        if not await self._store.delete_secret(name, self._entry(actor, "secret.delete", name)):
            raise NotFound(f'there is no secret "{name[:100]}"', hint="rota secret list shows them")

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        """The values of those of these secrets that exist and that the present key opens."""
        stored = await self._store.get_secrets(names)
        opened = {name: self._open(record) for name, record in stored.items()}
        return {name: value for name, value in opened.items() if value is not None}

    async def self_test(self) -> list[str]:
        """Problems of the vault in words; empty when a round trip works and every stored secret can be opened."""
        if self.key is None:
            return []
        probe = self._seal(self.key, "self-test", secrets.token_hex(16))
        if self._open(probe) is None or self._open(_renamed(probe)) is not None:
            return ["encryption of secrets does not work on this machine"]
        stored = await self._store.get_secrets()
        problems = []
        for name, record in sorted(stored.items()):
            if record.key_id != self.key.id:
                problems.append(f"secret {name} was made with another key ({record.key_id}); set it again")
            elif self._open(record) is None:
                problems.append(f"secret {name} is damaged or not encrypted; set it again")
        return problems

    def _seal(self, key: VaultKey, name: str, value: str) -> SecretRecord:
        nonce = os.urandom(12)
        ciphertext = key.cipher.encrypt(nonce, value.encode(), name.encode())
        return SecretRecord(name=name, key_id=key.id, nonce=nonce, ciphertext=ciphertext, updated=self._clock.now())

    def _open(self, record: SecretRecord) -> str | None:
        if self.key is None:
            return None
        try:
            return self.key.cipher.decrypt(record.nonce, record.ciphertext, record.name.encode()).decode()
        except (InvalidTag, ValueError):
            return None

    def _entry(self, actor: Actor, verb: str, name: str) -> AuditEntry:
        return AuditEntry(at=self._clock.now(), actor=actor.name, verb=verb, object=name, request_id=actor.request_id)


def _renamed(record: SecretRecord) -> SecretRecord:
    return SecretRecord(
        name="other", key_id=record.key_id, nonce=record.nonce, ciphertext=record.ciphertext, updated=record.updated
    )


def _check_secret(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f'"{name[:40]}" is not a name for a secret',
            hint="letters, digits, _ . and -, beginning with a letter, at most 100",
        )
    if len(value) < SHORTEST_VALUE:
        raise Invalid(
            f"the value of {name} has {len(value)} characters; {SHORTEST_VALUE} are needed",
            hint="a shorter one cannot be masked in output without masking ordinary words",
        )
    if len(value.encode()) > LARGEST_VALUE or "\0" in value:
        raise Invalid(f"the value of {name} is longer than {LARGEST_VALUE // 1024} KiB or holds a NUL character")
