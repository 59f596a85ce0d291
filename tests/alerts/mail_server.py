"""A real SMTP server on a free port, and a sendmail that keeps what it is given."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult


class Mailbox:
    """What was taken, and how the server answers; `refuse` maps a recipient to an answer."""

    def __init__(self) -> None:
        self.port = 0
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.users: list[tuple[str, str]] = []
        self.refuse: dict[str, str] = {}
        self.answer = "250 OK"
        self.arrived = asyncio.Event()

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 — aiosmtpd calls it so
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 — aiosmtpd calls it so
        if not self.answer.startswith("250"):
            return self.answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        self.arrived.set()
        return self.answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.users.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"correct horse")


@asynccontextmanager
async def mail_server(*, authenticated: bool = False) -> AsyncIterator[Mailbox]:
    """A server that takes mail until the block ends."""
    box = Mailbox()
    options = {"authenticator": box.authenticate, "auth_require_tls": False} if authenticated else {}
    connections: list[SMTP] = []

    def connect() -> SMTP:
        connections.append(SMTP(box, hostname="mail.test", **options))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)


def fake_sendmail(folder: Path, *, exit_code: int = 0, says: str = "") -> Path:
    """A program that writes its arguments and its input beside itself."""
    program = folder / "sendmail"
    program.write_text(
        f'#!/bin/sh\nfor one in "$@"; do printf \'%s\\n\' "$one"; done > {folder}/arguments\n'
        f"cat > {folder}/mail\nprintf '%s' '{says}' >&2\nexit {exit_code}\n"
    )
    program.chmod(0o755)
    return program


def text_of(message: EmailMessage) -> str:
    """The plain text of a mail."""
    body = message.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())
