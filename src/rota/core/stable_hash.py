"""One hash for everything that must fall in the same place on every machine and in every version."""

import hashlib


def stable_hash(*parts: str) -> int:
    """A 64-bit number that depends on the words alone."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
