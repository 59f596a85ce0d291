"""Reading what came with a request, within limits: size, nesting, media type, unknown names."""

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request

from rota.core.errors import Invalid, TooLarge
from rota.server.api.limits import BodyShare
from rota.server.api.problems import WrongMediaType
from rota.server.api.routes import Parameters, Route
from rota.server.api.wording import in_words

DEEPEST: Final = 32
LONGEST_PARAMETER: Final = 8192
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_T = TypeVar("_T")
_P = TypeVar("_P", bound=Parameters)


async def read_body(request: Request, limit: int, share: BodyShare) -> bytes:
    """The whole body, or TooLarge as soon as it is longer than `limit`, or Busy when all bodies are too much."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        share.take(len(part))
        parts.append(part)
    return b"".join(parts)


def check_media_type(request: Request, route: Route[Any, Any]) -> str:
    """The body's media type, which must be one that the route reads."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("compressed bodies are not read", hint="send it without Content-Encoding")
    received = request.headers.get("content-type", "")
    media_type = received.partition(";")[0].strip().lower()
    if media_type not in route.reads:
        shown = f'"{media_type[:60]}"' if media_type else "no Content-Type"
        raise WrongMediaType(f"received {shown}", hint=f"send {' or '.join(route.reads)}")
    return media_type


def decode_json(raw: bytes, kind: type[_T]) -> _T:
    """The value of type `kind` in `raw`; raises Invalid with the place, also for a key that is there twice."""
    check_depth(raw)
    try:
        value = msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not what is expected here: {in_words(error)}", hint=_hint(kind)) from error
    _TWINS.decode(raw.decode())
    return value


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object with the same key twice: which of the two is meant nobody can tell."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twin = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise Invalid(f'the key "{twin[:100]}" is there twice in one object', hint="keep one of them")


_TWINS: Final = json.JSONDecoder(object_pairs_hook=_refuse_twins)


def check_depth(raw: bytes) -> None:
    """Refuse JSON nested deeper than 32 levels."""
    depth = 0
    for match in _TOKENS.finditer(raw):
        token = raw[match.start() : match.start() + 1]
        if token in (b"[", b"{"):
            depth += 1
            if depth > DEEPEST:
                raise Invalid(f"the body is nested deeper than {DEEPEST} levels")
        elif token in (b"]", b"}"):
            depth -= 1


def read_parameters(request: Request, kind: type[_P]) -> _P:
    """The path's and query's parameters; an unknown or doubled one is refused with the nearest name."""
    given: dict[str, Any] = dict(request.path_params)
    in_path = set(given)
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name, value in request.query_params.multi_items():
        _check_parameter(name, value, given, [other for other in known if other not in in_path])
        given[name] = value
    for value in given.values():
        if "\0" in value:
            raise Invalid("a parameter holds a NUL character")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(in_words(error, "parameter")) from error


def _check_parameter(name: str, value: str, given: dict[str, Any], known: Sequence[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        nearest = f"did you mean {close[0]}? " if close else ""
        listed = f"known: {', '.join(known)}" if known else "none are taken"
        raise Invalid(f'there is no parameter "{name[:40]}" here', hint=nearest + listed)
    if name in given:
        raise Invalid(f'the parameter "{name}" is given twice', hint="keep one of them")
    if len(value) > LONGEST_PARAMETER:
        raise Invalid(f'the parameter "{name}" has {len(value)} characters; {LONGEST_PARAMETER} are allowed')


def _hint(kind: type[Any]) -> str | None:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    return "the keys are " + ", ".join(field.encode_name for field in msgspec.structs.fields(kind))


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit // 1024} KiB", hint="send it in parts")
