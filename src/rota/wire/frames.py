"""Messages as frames: one message in msgpack to a frame, within a limit, and read with every doubt.

Unknown fields are left out, so that a newer sender can say more. An unknown kind of message, a value of another type
or out of its range is an error that ends the connection: going on would mean to guess.
"""

from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from rota.core.errors import RotaError
from rota.wire.messages import Assign, FromServer, FromWorker

FRAME_LIMIT: Final = 4 * 1024 * 1024
FRAME_TARGET: Final = 256 * 1024
"""Orders that are larger together travel in several frames: an acknowledgement must not wait behind megabytes."""

_T = TypeVar("_T")
_encode: Final = msgspec.msgpack.Encoder().encode


class NotUnderstood(RotaError):
    """A frame holds no message that is known here."""

    code = "NOT_UNDERSTOOD"


class FrameTooLarge(RotaError):
    """A message is larger than a frame may be; it was not sent."""

    code = "FRAME_TOO_LARGE"


class Reader(Generic[_T]):
    """Reads the frames of one direction."""

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[_T] = msgspec.msgpack.Decoder(kind)

    def read(self, frame: bytes) -> _T:
        """The message of a frame; raises NotUnderstood, which says what is wrong and where."""
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
            raise NotUnderstood(f"the message was not understood: {str(error)[:200]}") from error


from_worker: Final[Reader[FromWorker]] = Reader(FromWorker)
from_server: Final[Reader[FromServer]] = Reader(FromServer)


def frames_of(message: object) -> list[bytes | FrameTooLarge]:
    """The frames that carry a message, in order; in the place of what no frame can carry, the error that says so."""
    frame = _encoded(message)
    if len(frame) <= FRAME_TARGET:
        return [frame]
    if isinstance(message, Assign) and len(message.orders) > 1:
        middle = len(message.orders) // 2
        halves = (message.orders[:middle], message.orders[middle:])
        return [part for half in halves for part in frames_of(Assign(orders=half))]
    if len(frame) <= FRAME_LIMIT:
        return [frame]
    size, most = len(frame) // 1024, FRAME_LIMIT // 1024
    return [FrameTooLarge(f"a {type(message).__name__} of {size} KiB is more than the {most} KiB a frame may have")]


def _encoded(message: object) -> bytes:
    """A message in msgpack. What a job returned may be more than msgpack can say; then it is said plainly."""
    try:
        return _encode(message)
    except (OverflowError, UnicodeEncodeError):
        return _encode(_plain(msgspec.to_builtins(message, builtin_types=(bytes, datetime))))


def _plain(value: Any) -> Any:
    """Integers of more than 64 bits as their digits, halves of characters as a question mark."""
    match value:
        case dict():
            return {_plain(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bool():
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else str(value)
        case str():
            return value.encode("utf-8", "replace").decode()
        case _:
            return value
