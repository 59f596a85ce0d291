import asyncio
import email
import email.policy
import email.utils
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.alerts.mail_server import fake_sendmail, mail_server, text_of
from tests.alerts.notices import NOON, make_notice

from rota.alerts.channel import Message, NotTaken, Refused
from rota.alerts.mail import MailChannel, addresses, build_mail
from rota.alerts.message import build_message
from rota.alerts.registry import make_channels
from rota.settings import MailSettings, SecretText


def make_message(**changes: str) -> Message:
    values = {"id": "n1", "thread": "t1", "target": "ops@example.com", "subject": "FAILED · a/b", "text": "cause\n"}
    return Message(**(values | changes), created=NOON)


def smtp(port: int, **more: object) -> MailChannel:
    return MailChannel(MailSettings(host="127.0.0.1", port=port, sender="rota@example.com", timeout=10.0, **more))  # type: ignore[arg-type]


async def test_mail_arrives_by_smtp_with_its_text() -> None:
    async with mail_server() as box:
        await smtp(box.port).send(build_message(make_notice(), log_tail=["größer →"]))
    (mail,) = box.messages
    assert mail["Subject"] == "FAILED ×3 · finance/rates-fetch · http 503 from api.example.com"
    assert mail["From"] == "rota@example.com"
    assert mail["To"] == "ops@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == NOON
    assert "> größer →" in text_of(mail)
    assert box.recipients == [["ops@example.com"]]


async def test_the_same_notice_sent_twice_has_one_message_id() -> None:
    async with mail_server() as box:
        channel = smtp(box.port)
        await channel.send(build_message(make_notice()))
        await channel.send(build_message(make_notice()))
    first, second = box.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Message-ID"].endswith("@example.com>")


async def test_recovery_threads_with_the_failure() -> None:
    async with mail_server() as box:
        channel = smtp(box.port)
        await channel.send(build_message(make_notice()))
        await channel.send(build_message(make_notice("recovered")))
    failed, recovered = box.messages
    assert failed["Message-ID"] != recovered["Message-ID"]
    assert failed["References"] == recovered["References"] == recovered["In-Reply-To"]


async def test_user_and_password_are_given_to_the_server() -> None:
    async with mail_server(authenticated=True) as box:
        await smtp(box.port, user="rota", password=SecretText("correct horse")).send(make_message())
    assert box.users[0] == ("rota", "correct horse")
    assert len(box.messages) == 1


async def test_a_wrong_password_can_be_put_right_and_is_not_shown() -> None:
    async with mail_server(authenticated=True) as box:
        with pytest.raises(NotTaken) as caught:
            await smtp(box.port, user="rota", password=SecretText("hunter2hunter2")).send(make_message())
    assert "hunter2" not in str(caught.value)
    assert not box.messages


async def test_a_recipient_refused_for_good_is_refused() -> None:
    async with mail_server() as box:
        box.refuse["ops@example.com"] = "550 no such user"
        with pytest.raises(Refused, match="550 no such user"):
            await smtp(box.port).send(make_message())


async def test_a_recipient_refused_for_now_is_tried_again() -> None:
    async with mail_server() as box:
        box.refuse["ops@example.com"] = "450 greylisted"
        with pytest.raises(NotTaken, match="greylisted"):
            await smtp(box.port).send(make_message())


async def test_one_of_two_recipients_refused_is_said() -> None:
    async with mail_server() as box:
        box.refuse["bad@example.com"] = "550 no such user"
        with pytest.raises(Refused, match=r"taken for 1 of 2.*bad@example\.com"):
            await smtp(box.port).send(make_message(target="ops@example.com,bad@example.com"))
    assert box.recipients == [["ops@example.com"]]


@pytest.mark.parametrize(("answer", "kind"), [("554 spam", Refused), ("451 later", NotTaken)])
async def test_data_refused(answer: str, kind: type[Exception]) -> None:
    async with mail_server() as box:
        box.answer = answer
        with pytest.raises(kind, match=answer[:3]):
            await smtp(box.port).send(make_message())


async def test_nobody_there_is_not_taken_and_says_where() -> None:
    async with mail_server() as box:
        port = box.port
    with pytest.raises(NotTaken, match=f"127.0.0.1:{port}"):
        await smtp(port).send(make_message())
    with pytest.raises(NotTaken, match=f"127.0.0.1:{port}"):
        await smtp(port).probe()


async def test_starttls_is_not_given_up_silently() -> None:
    async with mail_server() as box:
        with pytest.raises(NotTaken, match="STARTTLS"):
            await smtp(box.port, tls="starttls").send(make_message())
    assert not box.messages


async def test_a_server_that_says_nothing_ends_in_time() -> None:
    ended = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = MailChannel(MailSettings(host="127.0.0.1", port=port, timeout=0.2))
    with pytest.raises(NotTaken):
        await channel.send(make_message())
    await ended.wait()
    server.close()
    await server.wait_closed()


async def test_probe_reaches_the_server_and_sends_nothing() -> None:
    async with mail_server() as box:
        assert await smtp(box.port).probe() == f"mail leaves by SMTP to 127.0.0.1:{box.port}"
    assert not box.messages


async def test_sendmail_is_given_the_mail_and_the_recipients(tmp_path: Path) -> None:
    program = fake_sendmail(tmp_path)
    channel = MailChannel(MailSettings(sendmail=program, sender="rota@example.com"))
    await channel.send(make_message(target="ops@example.com, root"))
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "-i",
        "-f",
        "rota@example.com",
        "--",
        "ops@example.com",
        "root",
    ]
    mail = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == "FAILED · a/b"
    assert b"\r\n" not in (tmp_path / "mail").read_bytes()
    assert await channel.probe() == f"mail leaves by {program}"


@pytest.mark.parametrize(("code", "kind"), [(75, NotTaken), (1, NotTaken), (67, Refused)])
async def test_sendmail_that_fails_says_why(tmp_path: Path, code: int, kind: type[Exception]) -> None:
    program = fake_sendmail(tmp_path, exit_code=code, says="queue full")
    with pytest.raises(kind, match=f"exit code {code}: queue full"):
        await MailChannel(MailSettings(sendmail=program)).send(make_message())


async def test_sendmail_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotTaken, match="cannot be run"):
        await MailChannel(MailSettings(sendmail=tmp_path / "none")).send(make_message())


async def test_sendmail_that_hangs_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(NotTaken, match="did not end"):
        await MailChannel(MailSettings(sendmail=program, timeout=0.2)).send(make_message())


@pytest.mark.parametrize("target", ["root", "ops@example.com", "a+b@x-y.example", "a.b@x, c@y"])
def test_addresses_that_are_taken(target: str) -> None:
    assert addresses(target) == [part.strip() for part in target.split(",")]


@pytest.mark.parametrize(
    "target",
    [
        "",
        "-oQ/tmp@example.com",
        "a b@x",
        "a@x\nBcc: e@x",
        "a@x\r\n",
        "a@@x",
        "<a@x>",
        "a@x,",
        '"a"@x',
        "a@ü",
        "a" * 400,
    ],
)
def test_addresses_that_are_refused(target: str) -> None:
    with pytest.raises(Refused, match="is not a mail address"):
        addresses(target)


def test_headers_cannot_be_injected() -> None:
    message = make_message(id="x\r\nBcc: evil@x", thread="y>\nEvil: 1", subject="plain")
    mail = build_mail(message, "rota@example.com", ["ops@example.com"])
    raw = mail.as_bytes()
    assert b"\nBcc" not in raw
    assert b"\nEvil" not in raw
    assert mail["Message-ID"] == "<x-Bcc-evil-x@example.com>"


def test_a_subject_of_any_length_and_script_survives() -> None:
    subject = "FAILED · " + "größte → 失敗 " * 20
    mail = build_mail(make_message(subject=subject.strip()), "rota@example.com", ["ops@example.com"])
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert read["Subject"] == subject.strip()
    assert max(len(line) for line in mail.as_bytes().splitlines()) <= 78


def test_the_date_is_when_it_happened() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    message = Message(id="a", thread="b", target="c", subject="d", text="e", created=moment)
    mail = build_mail(message, "rota@example.com", ["c"])
    assert email.utils.parsedate_to_datetime(mail["Date"]) == moment


def test_mail_is_there_without_settings_and_can_be_defined_anew() -> None:
    assert list(make_channels({})) == ["mail"]
    both = make_channels({"pager": MailSettings(host="mx.example.com")})
    assert sorted(both) == ["mail", "pager"]
