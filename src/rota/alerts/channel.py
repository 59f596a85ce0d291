"""What a channel promises: it takes a message, or says why it did not."""

from datetime import datetime
from typing import ClassVar, Protocol

from rota.core.errors import RotaError
from rota.core.model import Value


class Message(Value):
    """What is to be said, to whom. All texts are literal: nothing in them is ever a template or a header."""

    id: str  # the notice's id: the same message sent twice carries it twice
    thread: str  # messages of one thread belong together
    target: str  # what the route says after `channel:`
    subject: str
    text: str
    created: datetime


class NotTaken(RotaError):
    """The channel could not take the message now; a later try may succeed."""

    code: ClassVar[str] = "NOTICE_NOT_TAKEN"
    retryable: ClassVar[bool] = True


class Refused(RotaError):
    """The channel will never take this message."""

    code: ClassVar[str] = "NOTICE_REFUSED"


class AlertChannel(Protocol):
    """Carries messages to people."""

    async def send(self, message: Message) -> None:
        """Return when the message was taken; raise NotTaken or Refused. The same message may come twice."""

    async def probe(self) -> str:
        """Say in words how messages would leave, after trying to get there without sending; raises NotTaken."""
