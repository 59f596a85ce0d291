"""Whether the servers of one store have the same key for secrets: a secret must be readable wherever its job is placed.

The store remembers the id of the key (which reveals nothing of it). The first server writes it down; who comes with
another says so. A new key is taken when nothing depends on the old one any more.
"""

from typing import Final

from rota.core.lease import is_live
from rota.server.secrets import VaultKey
from rota.store.bundle import Store

FACT: Final = "secret-key"


async def compare_key(store: Store, key: VaultKey | None) -> str | None:
    """What is wrong with this server's key beside those of the others, in words; call it before the server joins."""
    known = await store.leases.fact(FACT) or None
    if key is None:
        return "there is no key for secrets, and other servers have one: jobs with secrets fail here" if known else None
    if known == key.id:
        return None
    if known is None or not await _is_used(store, known):
        await store.leases.remember(FACT, key.id)
        return None
    return (
        f"this server's key for secrets ({key.id}) is not that of the other servers ({known}):"
        " what is set at one cannot be read at another"
    )


async def _is_used(store: Store, key_id: str) -> bool:
    """Whether another server lives, or a secret was made with this key."""
    standing = await store.leases.standing()
    if any(is_live(server, standing.now) for server in standing.servers):
        return True
    return any(secret.key_id == key_id for secret in (await store.access.get_secrets()).values())
