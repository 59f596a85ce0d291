"""Cursors of keyset-paged lists: opaque text that holds the sort and the key of the last row given."""

import base64
import binascii

import msgspec

from rota.core.errors import Invalid


class BadCursor(Invalid):
    """The cursor is not one that this list gave."""

    code = "BAD_CURSOR"


def encode(sort: str, key: tuple[str, ...] | None) -> str | None:
    """The cursor that goes on after `key`; None at the end of the list."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode([sort, *key])).decode().rstrip("=")


def decode(sort: str, text: str | None) -> tuple[str, ...] | None:
    """The key inside a cursor of a list sorted by `sort`; raises BadCursor."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        made_for, *key = msgspec.json.decode(raw, type=list[str])
    except (binascii.Error, ValueError, UnicodeError, msgspec.DecodeError) as error:
        raise BadCursor("the cursor is damaged", hint="take `next` of the page before, unchanged") from error
    if made_for != sort or not key or any("\0" in part for part in key):
        raise BadCursor(
            f"the cursor belongs to a list sorted by {made_for[:20]}", hint=f"ask with sort={made_for[:20]}"
        )
    return tuple(key)
