"""What the kernel is told about the sockets of channels, on systems that know it."""

import asyncio
import contextlib
import socket
from typing import Final

GIVE_UP_SECONDS: Final = 30.0
UNSENT_BYTES: Final = 128 * 1024


def keep_short(transport: asyncio.BaseTransport) -> None:
    """Send small messages at once; let what is not sent yet wait with us; end a connection that nobody answers on.

    Without the second, megabytes of output lie in the kernel before a heartbeat, on a slow line for minutes. Without
    the third, a connection whose other end vanished keeps what was written to it for a quarter of an hour.
    """
    kernel = transport.get_extra_info("socket")
    settings = (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_NOTSENT_LOWAT", None), UNSENT_BYTES),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", None), int(GIVE_UP_SECONDS * 1000)),
    )
    for level, option, value in settings:
        if option is not None and kernel is not None:
            with contextlib.suppress(OSError):  # not TCP, or a kernel without it
                kernel.setsockopt(level, option, value)
