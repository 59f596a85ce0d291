"""What is wrong with a request is told in words, and not in those of the library that found it."""

from datetime import datetime
from typing import Annotated

import msgspec
import pytest

from rota.server.api.wording import in_words


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="^a?")]
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    items: Annotated[list[int], msgspec.Meta(max_length=2)] = []
    params: dict[str, str] = {}
    until: datetime | None = None
    wait: bool = False


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[]", "it must be an object"),
        ("{}", 'the key "name" is missing'),
        ('{"name":"a","nme":1}', 'there is no key "nme"'),
        ('{"name":""}', "the key name must not be empty"),
        ('{"name":"aaaa"}', "the key name must have at most 3 characters"),
        ('{"limit":0}', "the key limit must be at least 1"),
        ('{"limit":1001}', "the key limit must be at most 1000"),
        ('{"limit":"x"}', "the key limit must be a whole number"),
        ('{"items":[1,2,3]}', "the key items must have at most 2 items"),
        ('{"items":[1,"x"]}', "the key items[1] must be a whole number"),
        ('{"params":{"a":1}}', "the key params[...] must be a text"),
        ('{"until":5}', "the key until must be an instant or null"),
        ('{"until":"x"}', "the key until: invalid RFC3339 encoded datetime"),
        ('{"wait":1}', "the key wait must be true or false"),
        ("nonsense", "JSON is malformed: invalid character (byte 4)"),
    ],
)
def test_each_mistake(body: str, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body, type=Asked)
    assert in_words(caught.value) == words
