"""Mail: by the machine's own sendmail, or by SMTP to a named server, or to port 25 of this machine.

A message keeps its Message-ID however often it is sent, and the messages of one row of failures share a thread, so
that a recovery stands below the failure it ends. Addresses are checked before they come near a header or a command.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from email.charset import QP, Charset
from email.header import Header
from email.mime.nonmultipart import MIMENonMultipart
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import aiosmtplib

from rota.alerts.channel import Message, NotTaken, Refused
from rota.alerts.message import one_line
from rota.settings import MailSettings, host_name

SENDMAIL_PLACES: Final = "/usr/sbin:/usr/lib:/usr/bin:/usr/local/sbin"
_PERMANENT_EXITS: Final = frozenset({65, 67, 68})  # sysexits: bad data, no such user, no such host
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*(@[A-Za-z0-9.-]+)?", re.ASCII
)
_LONGEST_ADDRESS: Final = 320
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class MailChannel:
    """Sends messages as mail."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        self._sender = settings.sender or f"rota@{host_name()}"

    async def send(self, message: Message) -> None:
        """Hand the mail over; raises NotTaken or Refused."""
        recipients = addresses(message.target)
        mail = build_mail(message, self._sender, recipients)
        sendmail = self._sendmail()
        if sendmail is not None:
            await self._by_sendmail(sendmail, mail, recipients)
        else:
            await self._by_smtp(mail, recipients)

    async def probe(self) -> str:
        """Where mail leaves; raises NotTaken when nobody answers there."""
        sendmail = self._sendmail()
        if sendmail is not None:
            return f"mail leaves by {sendmail}"
        host, port = self._server()
        try:
            async with aiosmtplib.SMTP(**self._connection()):
                return f"mail leaves by SMTP to {host}:{port}"
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._unreachable(error) from error

    def _sendmail(self) -> Path | None:
        """The sendmail to use, or None when SMTP is to be used."""
        if self._settings.sendmail is not None:
            return self._settings.sendmail
        if self._settings.host is not None:
            return None
        found = shutil.which("sendmail", path=SENDMAIL_PLACES)
        return Path(found) if found else None

    async def _by_sendmail(self, sendmail: Path, mail: MIMENonMultipart, recipients: list[str]) -> None:
        """Pipe the mail into sendmail, on a thread: the server's event loop is not made for spawning."""
        command = [str(sendmail), "-i", "-f", self._sender, "--", *recipients]
        text = mail.as_bytes()
        try:
            done = await asyncio.to_thread(
                subprocess.run, command, input=text, capture_output=True, timeout=self._settings.timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotTaken(f"{sendmail} did not end within {self._settings.timeout:g} s") from error
        except OSError as error:
            hint = "correct sendmail in the channel's settings, or name an SMTP host"
            raise NotTaken(f"{sendmail} cannot be run: {error.strerror}", hint=hint) from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[:300]
            kind = Refused if done.returncode in _PERMANENT_EXITS else NotTaken
            raise kind(f"{sendmail} ended with exit code {done.returncode}: {said or 'it said nothing'}")

    async def _by_smtp(self, mail: MIMENonMultipart, recipients: list[str]) -> None:
        """Hand the mail to the SMTP server."""
        try:
            errors, _ = await aiosmtplib.send(mail, sender=self._sender, recipients=recipients, **self._connection())
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refusal.code for refusal in error.recipients]
            kind = Refused if all(code >= 500 for code in codes) else NotTaken
            raise kind("; ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)) from error
        except aiosmtplib.SMTPDataError as error:
            kind = Refused if error.code >= 500 else NotTaken
            raise kind(f"the mail server answered {error.code} {error.message}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._unreachable(error) from error
        _refuse_partly(errors, recipients)

    def _server(self) -> tuple[str, int]:
        """Host and port of the SMTP server."""
        port = self._settings.port or (465 if self._settings.tls == "tls" else 25)
        return self._settings.host or "localhost", port

    def _connection(self) -> dict[str, Any]:
        """The arguments of a connection."""
        host, port = self._server()
        mode = self._settings.tls
        start_tls: bool | None = {"starttls": True, "tls": False, "none": False}.get(mode)
        if mode == "auto" and self._settings.user is not None and host not in _LOOPBACK:
            start_tls = True  # a password is not sent in the clear
        elif mode == "auto" and host in _LOOPBACK:
            start_tls = False  # a mail server on this machine has, at best, a certificate it made itself
        password = self._settings.password
        return {
            "hostname": host,
            "port": port,
            "use_tls": mode == "tls",
            "start_tls": start_tls,
            "username": self._settings.user,
            "password": password.reveal() if password else None,
            "timeout": self._settings.timeout,
        }

    def _unreachable(self, error: Exception) -> NotTaken:
        """What went wrong on the way to the server."""
        host, port = self._server()
        hint = None
        if self._settings.host is None:
            hint = "no sendmail was found on this machine: install one, or name an SMTP host in [channels.mail]"
        return NotTaken(f"mail server {host}:{port}: {str(error) or type(error).__name__}", hint=hint)


def build_mail(message: Message, sender: str, recipients: list[str]) -> MIMENonMultipart:
    """The mail: literal texts, a Message-ID that is a function of the notice, the thread all of a row share."""
    host = sender.rpartition("@")[2] or "localhost"
    thread = f"<{_token(message.thread)}.thread@{host}>"
    mail = MIMENonMultipart("text", "plain")
    mail.set_payload(message.text, _READABLE_UTF8)
    mail["Message-ID"] = f"<{_token(message.id)}@{host}>"
    mail["In-Reply-To"] = thread
    mail["References"] = thread
    mail["Date"] = format_datetime(message.created)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    # Not the newer email API: on Python 3.11 it loses spaces where it folds an encoded subject.
    subject = one_line(message.subject)
    mail["Subject"] = Header(subject, "us-ascii" if subject.isascii() else "utf-8", header_name="Subject").encode()
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    return mail


def _readable_utf8() -> Charset:
    """UTF-8 as quoted-printable, which people can read in a mail queue."""
    charset = Charset("utf-8")
    charset.body_encoding = QP
    return charset


_READABLE_UTF8: Final = _readable_utf8()


def addresses(target: str) -> list[str]:
    """The addresses of a route's target (several with commas); Refused when one is not an address."""
    found = [part.strip(" ") for part in target.split(",")]
    for address in found:
        if len(address) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(address):
            shown = "".join(char if char.isprintable() else "·" for char in address[:60])
            raise Refused(f'"{shown}" is not a mail address', hint="write mail:ops@example.com in alert.to")
    return found


def _token(text: str) -> str:
    """`text` as it may stand in a message id."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:120] or "none"


def _refuse_partly(errors: Mapping[str, Any], recipients: list[str]) -> None:
    """Say so when only some of the recipients were taken."""
    if errors:
        refused = "; ".join(f"{address}: {answer.code} {answer.message}" for address, answer in errors.items())
        raise Refused(f"taken for {len(recipients) - len(errors)} of {len(recipients)} recipients; {refused}")
