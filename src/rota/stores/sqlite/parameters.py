"""Lists as bound parameters: SQLite takes one value where other databases take an array."""

from collections.abc import Iterable

import msgspec

_encode = msgspec.json.Encoder().encode


def ids_json(ids: Iterable[str | int]) -> str:
    """A list of texts or numbers as one bound parameter, for `json_each`."""
    return _encode(list(ids)).decode()
