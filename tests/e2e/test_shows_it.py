"""The main job, end to end: what a person sees who replaces a crontab this evening."""

import email
import email.policy
import socket
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from flaky_target import Target
from running_rota import RunningRota

DAILY = """\
version: 1
namespace: web
defaults: {{ timezone: Europe/Berlin }}
jobs:
  fetch-homepage:
    schedule: every day at 03:00
    http: {{ get: "{url}/?day=${{due.date}}", expect: {{ status: 200 }} }}
    timeout: 30s
    retry: {{ tries: 3, wait: 1s..2s, jitter: 0% }}
    alert: {{ to: ["mail:ops@example.com"], when: [failed, recovered] }}
"""


class Mailbox:
    """What an SMTP server was given."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 — its protocol
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as running:
        yield running


def wait_for_mail(box: Mailbox, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(box.messages) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(box.messages) == count


def test_daily_fetch_applies_runs_and_shows_its_next_instant_in_its_zone(tmp_path: Path, target: Target) -> None:
    with RunningRota(tmp_path) as rota:
        rota.rota("apply", str(rota.jobs(DAILY.format(url=target.url))))
        upcoming = rota.rota("next", "-q", "job:web/fetch-homepage").stdout
        assert "03:00" in upcoming
        rota.rota("run", "web/fetch-homepage", "--wait", "--timeout", "30s")
        assert len(target.requests) == 1
        path, headers = target.requests[0]
        assert path.startswith("/?day=20")
        assert headers["Rota-Job"] == "web/fetch-homepage"
        assert headers["Rota-Attempt"] == "1"
        run = rota.json("show", "web/fetch-homepage@latest")
        assert run["state"] == "succeeded"
        assert run["exit"] == 200
        assert headers["Rota-Run"] == headers["Idempotency-Key"] == run["id"]
        assert "hello from the target" in rota.rota("logs", run["id"]).stdout


def test_a_target_that_fails_twice_is_fetched_three_times_with_back_off(tmp_path: Path, target: Target) -> None:
    target.failures = 2
    with RunningRota(tmp_path) as rota:
        rota.rota("apply", str(rota.jobs(DAILY.format(url=target.url))))
        started = time.monotonic()
        rota.rota("run", "web/fetch-homepage", "--wait", "--timeout", "30s")
        assert time.monotonic() - started >= 3.0, "one second, then two, between the tries"
        assert [headers["Rota-Attempt"] for _, headers in target.requests] == ["1", "2", "3"]
        fences = [int(headers["Rota-Fence"]) for _, headers in target.requests]
        assert fences == sorted(set(fences))
        run = rota.json("show", "web/fetch-homepage@latest")
        assert [attempt["state"] for attempt in run["attempts"]] == ["failed", "failed", "succeeded"]


def test_a_dead_target_fails_with_one_mail_and_recovers_with_another(
    tmp_path: Path, target: Target, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    target.failures = 1_000
    data = tmp_path / "data"
    data.mkdir()
    (data / "rota.toml").write_text(
        f'[channels.mail]\ntype = "mail"\nhost = "127.0.0.1"\nport = {port}\nsender = "rota@example.com"\n'
    )
    with RunningRota(tmp_path) as rota:
        rota.rota("apply", str(rota.jobs(DAILY.format(url=target.url))))
        rota.rota("run", "web/fetch-homepage", "--wait", "--timeout", "60s", expect=20)
        wait_for_mail(box, 1)
        rota.rota("run", "web/fetch-homepage", "--wait", "--timeout", "60s", expect=20)
        target.failures = 0
        rota.rota("run", "web/fetch-homepage", "--wait", "--timeout", "60s")
        wait_for_mail(box, 2)
    failed, recovered = box.messages
    assert "FAILED" in failed["Subject"]
    assert "web/fetch-homepage" in failed["Subject"]
    assert "503" in failed["Subject"]
    assert failed["To"] == "ops@example.com"
    assert "RECOVERED" in recovered["Subject"].upper()
    assert recovered["References"] == failed["References"] or failed["Message-ID"] in (recovered["References"] or "")


def test_a_crontab_imports_checks_and_applies(tmp_path: Path) -> None:
    lines = ["MAILTO=ops@example.com", "# nightly report", '0 3 * * * echo "report for $USER"', "*/7 * * * * true"]
    crontab = "\n".join([*lines, "61 * * * * broken", ""])
    with RunningRota(tmp_path) as rota:
        output = tmp_path / "legacy.yaml"
        done = rota.rota(
            "import", "crontab", "-", "--namespace", "legacy", "-o", str(output), stdin=crontab, expect=None
        )
        report = done.stdout + done.stderr
        assert "61" in report, "the bad line is named"
        rota.rota("check", str(output))
        rota.rota("apply", str(output))
        jobs = rota.json("ls", "-q", "ns:legacy")["items"]
        assert len(jobs) == 2
        assert all(job["paused"] for job in jobs), "imported jobs start paused"


def test_stops_when_told_and_leaves_nothing_running(tmp_path: Path) -> None:
    with RunningRota(tmp_path) as rota:
        assert rota.stop() == 0
        again = RunningRota(tmp_path)
        again.start()
        assert again.stop() == 0
