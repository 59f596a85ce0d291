"""The verbs against a real `rota up`. Each test has a namespace of its own; the installation is the module's."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.e2e.running_rota import RunningRota, rota_command

from rota.core.ids import is_run_id

JOBS = """\
version: 1
namespace: {ns}
jobs:
  daily: {{ shell: "echo hi", schedule: every day at 03:00, timezone: Europe/Berlin, title: Daily }}
  param: {{ shell: "echo month $ROTA_PARAM_MONTH", params: {{ month: none }} }}
  bad: {{ shell: "echo oops >&2; exit 7" }}
  twice: {{ shell: "echo try $ROTA_ATTEMPT; test $ROTA_ATTEMPT = 2", retry: {{ tries: 2, wait: 1s..1s, jitter: 0% }} }}
  slow: {{ shell: "sleep 60", timeout: 1s }}
  long: {{ shell: "echo begun; sleep 60" }}
  dies: {{ shell: "kill -TERM $$" }}
  nasty: {{ shell: "printf '\\\\033]0;title\\\\007\\\\033[31mred\\\\033[0m\\\\rover\\\\n\\\\342\\\\200\\\\256x\\\\n'" }}
"""


@pytest.fixture
def ns(live: Command, request: pytest.FixtureRequest) -> str:
    """A namespace with the jobs above."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60].rstrip("-")
    live("apply", str(live.write("jobs.yaml", JOBS.format(ns=name))), "--quiet")
    return name


# ── applying ─────────────────────────────────────────────────────────────────────────────────────────────


def test_plan_then_apply_then_no_changes(live: Command) -> None:
    path = str(live.write("jobs.yaml", JOBS.format(ns="planned")))
    planned = live("plan", path)
    assert "+ planned/daily" in planned.out
    assert "8 added" in planned.out
    assert f"Next: rota apply {path}" in planned.err
    assert live("ls", "-q", "ns:planned", "--json").json["items"] == []
    live("plan", path, "--exit-code", expect=10)
    applied = live("apply", path)
    assert "+ planned/daily  created" in applied.out
    assert "8 created" in applied.out
    assert "8 unchanged" in live("apply", path).out
    live("plan", path, "--exit-code", expect=0)
    (daily,) = live("ls", "planned/daily", "--json").json["items"]
    assert daily["source"] == path


def test_apply_is_all_or_nothing(live: Command) -> None:
    text = JOBS.format(ns="atomic")
    path = str(live.write("jobs.yaml", text + "  wrong: { shell: x, schedule: every never }\n"))
    live("apply", path, expect=30)
    assert live("ls", "-q", "ns:atomic", "--json").json["count"]["value"] == 0


def test_a_plan_that_was_looked_at_can_be_asked_for(live: Command) -> None:
    path = live.write("jobs.yaml", JOBS.format(ns="stale"))
    looked_at = live("plan", str(path), "--json").json["id"]
    path.write_text(path.read_text().replace("03:00", "04:00"))
    assert "stale" in live("apply", str(path), "--plan", looked_at, expect=11).err
    now = live("plan", str(path), "--json").json["id"]
    assert now != looked_at
    live("apply", str(path), "--plan", now)


def test_a_job_that_left_its_file_stays_until_prune(live: Command) -> None:
    folder = live.write("jobs/one.yaml", JOBS.format(ns="pruned")).parent
    live.write("jobs/two.yaml", JOBS.format(ns="pruned-two"))
    live("apply", str(folder))
    (folder / "two.yaml").unlink()
    text = (folder / "one.yaml").read_text()
    (folder / "one.yaml").write_text("\n".join(line for line in text.splitlines() if "  bad:" not in line) + "\n")
    kept = live("plan", str(folder))
    assert "= pruned/bad" in kept.out
    assert "removed" in live("plan", str(folder), "--prune").out
    live("apply", str(folder))
    assert live("ls", "pruned/bad", "--json").json["count"]["value"] == 1
    removed = live("apply", str(folder), "--prune")
    assert "- pruned/bad  removed" in removed.out
    assert live("ls", "-q", "ns:pruned,pruned-two", "--json").json["count"]["value"] == 7


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────


def test_run_prints_the_id_alone_on_stdout(live: Command, ns: str) -> None:
    done = live("run", f"{ns}/daily")
    assert is_run_id(done.out.strip())
    assert "rota logs -f" in done.err
    assert live("run", f"{ns}/daily", "--json").json["job"] == f"{ns}/daily"


def test_a_run_that_is_not_let_in_says_so_and_why(live: Command, ns: str) -> None:
    first = live("run", f"{ns}/long")
    assert f"Next: rota logs -f {first.out.strip()}" in first.err
    second = live("run", f"{ns}/long")
    run = second.out.strip()
    assert is_run_id(run)
    assert "skipped  " in second.err
    assert live("show", run, "--json").json["reason"]["words"] in second.err
    assert f"Next: rota why {run}" in second.err
    assert "rota logs" not in second.err
    waited = live("run", f"{ns}/long", "--wait", expect=22)
    assert "skipped: " in waited.out
    live("cancel", first.out.strip(), "--wait")


@pytest.mark.parametrize(
    ("job", "code", "word"),
    [("daily", 0, "succeeded"), ("bad", 20, "failed"), ("slow", 21, "timed-out"), ("dies", 20, "failed")],
)
def test_waiting_ends_as_the_run_did(live: Command, ns: str, job: str, code: int, word: str) -> None:
    done = live("run", f"{ns}/{job}", "--wait", "--timeout", "60s", expect=code)
    (line,) = done.lines
    assert f"{ns}/{job} {word}" in line


def test_waiting_tells_of_every_try(live: Command, ns: str) -> None:
    done = live("run", f"{ns}/twice", "--wait")
    assert "queued  attempt 1 failed" in done.err
    assert "attempt 2" in done.out
    lines = live("logs", f"{ns}/twice@latest", "--attempt", "1").lines
    assert lines == ["try 1"]
    assert live("logs", f"{ns}/twice").lines == ["try 2"]


def test_waiting_as_json_gives_the_run(live: Command, ns: str) -> None:
    run = live("run", f"{ns}/param", "--wait", "-p", "month=2026-11", "--json").json
    assert (run["state"], run["params"]) == ("succeeded", {"month": "2026-11"})
    assert live("logs", run["id"]).lines == ["month 2026-11"]


@pytest.mark.parametrize(("job", "code"), [("bad", 7), ("daily", 0), ("dies", 143)])
def test_the_exit_code_of_the_job_itself(live: Command, ns: str, job: str, code: int) -> None:
    live("run", f"{ns}/{job}", "--wait", "--exit-code-of-job", expect=code)


def test_stopping_to_wait_cancelling_and_following(live: Command, ns: str) -> None:
    done = live("run", f"{ns}/long", "--wait", "--timeout", "300ms", expect=23)
    assert "stopped waiting" in done.err
    cancelled = live("cancel", f"{ns}/long@latest", "--reason", "enough", "--wait")
    assert cancelled.out.strip().endswith("cancelled")
    shown = live("show", f"{ns}/long@latest")
    assert "enough" in shown.out
    assert live("logs", "-f", f"{ns}/long@latest").lines[0] == "begun"
    assert live("retry", f"{ns}/long@latest", "--wait", "--timeout", "300ms", expect=23).code == 23
    live("cancel", f"{ns}/long@latest", "--wait", "--json")
    assert live("cancel", f"{ns}/long@latest", expect=None).code in (0, 5)


def test_following_a_log_while_it_is_written(live: Command, ns: str) -> None:
    run = live("run", f"{ns}/twice").out.strip()
    assert live("logs", "-f", run).lines == ["try 1", "try 2"]


def test_a_wait_without_wait_and_a_param_without_a_value(live: Command, ns: str) -> None:
    assert "needs --wait" in live("run", f"{ns}/daily", "--timeout", "3s", expect=2).err
    assert "NAME=VALUE" in live("run", f"{ns}/daily", "-p", "month", expect=2).err
    assert "has no unit" in live("run", f"{ns}/daily", "--wait", "--timeout", "3", expect=2).err


def test_a_run_for_a_time_and_its_reference(live: Command, ns: str) -> None:
    run = live("run", f"{ns}/daily", "--at", "2026-11-20T03:00", "--wait", "--json").json
    assert run["due"] == "2026-11-20T02:00:00.000000Z"


def test_unknown_things_are_named_with_the_nearest(live: Command, ns: str) -> None:
    done = live("run", f"{ns}/dayly", expect=3)
    assert f"there is no job {ns}/dayly" in done.err
    assert f"did you mean {ns}/daily?" in done.err
    assert f"did you mean {ns}/daily?" in live("logs", f"{ns}/dayly", expect=3).err
    assert "rota ls" in live("run", "daily", expect=2).err
    assert "there is no worker" in live("show", "nobody", expect=3).err
    assert "there is no run" in live("show", "01a20a1c-f546-8cae-8034-4d7748cb991f", expect=3).err


def test_ctrl_c_ends_the_waiting_and_not_the_run(live: Command, ns: str, installation: RunningRota) -> None:
    command = [*rota_command(), "run", f"{ns}/long", "--wait", "--data", str(installation.data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        while "running" not in (line := waiting.stderr.readline()):
            assert line, "it ended by itself"
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert live("show", f"{ns}/long@latest", "--json").json["state"] == "running"
    live("cancel", f"{ns}/long@latest", "--wait")


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


def test_lists_for_people_and_for_programs(live: Command, ns: str) -> None:
    live("run", f"{ns}/bad", "--wait", expect=20)
    table = live("ls", "-q", f"ns:{ns}")
    assert table.lines[0].split() == ["JOB", "IS", "SCHEDULE", "NEXT", "LAST", "RECENT"]
    (row,) = [line for line in table.lines if f"{ns}/bad" in line]
    assert "failing" in row
    assert "✕" in row
    assert "8 of 8 jobs" in table.err
    assert live("ls", "-q", f"ns:{ns} is:failing", "--quiet").lines == [f"{ns}/bad"]
    assert [json.loads(line)["name"] for line in live("ls", f"{ns}/d*", "--jsonl").lines] == ["daily", "dies"]
    runs = live("runs", f"{ns}/bad")
    assert "exit code 7" in runs.out
    assert is_run_id(live("runs", f"{ns}/bad", "--quiet").lines[0])
    assert live("runs", "-q", f"ns:{ns} state:succeeded", "--json").json["items"] == []
    assert "no jobs" in live("ls", "-q", "ns:nowhere").err


def test_a_list_longer_than_asked_for_goes_on_at_its_cursor(live: Command, ns: str) -> None:
    page = live("ls", "-q", f"ns:{ns}", "--limit", "3", "--json").json
    assert len(page["items"]) == 3
    assert page["next"]


def test_next_is_in_the_zone_of_the_job(live: Command, ns: str) -> None:
    done = live("next", "--in", "3d", "-q", f"ns:{ns}")
    assert re.search(r"T03:00:00\+0[12]:00 .*Europe/Berlin", done.out)
    assert len(live("next", "--in", "3d", "-q", f"ns:{ns}", "--jsonl").lines) == 3
    assert "is not a duration" in live("next", "--in", "soon", expect=2).err
    refused = live("next", "--limit", "99999999", expect=2)
    assert refused.err == "error[INVALID]: the parameter limit must be at most 1000\n"


def test_show_a_job_a_run_and_a_worker(live: Command, ns: str) -> None:
    live("run", f"{ns}/daily", "--wait")
    job = live("show", f"{ns}/daily")
    assert "every day at 03:00 (Europe/Berlin)" in job.out
    assert "shell: echo hi" in job.out
    assert live("show", f"{ns}/daily", "--json").json["job"] == f"{ns}/daily"
    run = live("show", f"{ns}/daily@latest")
    assert "✓ succeeded" in run.out
    assert "local-1" in run.out
    assert live("show", f"{ns}/daily@latest", "--json").json["exit"] == 0
    worker = live("show", "local-1")
    assert "shell 0/" in worker.out
    assert live("workers", "-q", "name:local-1", "--json").json["items"][0]["state"] == "up"
    assert live("workers", "-q", "-state:up", "--json").json["items"] == []
    assert "did you mean state:" in live("workers", "-q", "staet:up", expect=2).err


def test_why_of_a_run_and_of_an_instant(live: Command, ns: str) -> None:
    live("run", f"{ns}/bad", "--wait", expect=20)
    done = live("why", f"{ns}/bad")
    assert "→ It failed: exit code 7." in done.out
    assert "rota retry" in done.err
    assert "did not exist yet" in live("why", f"{ns}/daily", "--at", "yesterday 03:00").out
    answer = live("why", f"{ns}/daily", "--at", "2026-01-02T03:00", "--json").json
    assert answer["at"] == "2026-01-02T02:00:00.000000Z"
    assert "is not a time" in live("why", f"{ns}/daily", "--at", "whenever", expect=2).err


def test_logs_never_steer_the_terminal_unless_raw(live: Command, ns: str) -> None:
    live("run", f"{ns}/nasty", "--wait")
    done = live("logs", f"{ns}/nasty")
    assert done.lines == ["\\x1b]0;title\\x07red\\x0dover", "\\u202ex"]
    assert live("logs", f"{ns}/nasty", "--raw").out == "\x1b]0;title\x07\x1b[31mred\x1b[0m\rover\n\u202ex\n"


def test_logs_can_be_narrowed(live: Command, ns: str) -> None:
    live("run", f"{ns}/bad", "--wait", expect=20)
    assert live("logs", f"{ns}/bad", "--grep", "o+ps").lines == ["oops"]
    assert live("logs", f"{ns}/bad", "--grep", "nothing").lines == []
    assert live("logs", f"{ns}/bad", "--stream", "stdout").lines == []
    assert live("logs", f"{ns}/bad", "-n", "1", "-t").out.rstrip().endswith("Z  oops")
    assert live("logs", f"{ns}/bad", "--json").json["items"][0]["stream"] == "stderr"
    assert json.loads(live("logs", f"{ns}/bad", "--jsonl").out)["text"] == "oops"
    assert "not a regular expression" in live("logs", f"{ns}/bad", "--grep", "(", expect=2).err
    assert "is not a stream" in live("logs", f"{ns}/bad", "--stream", "out", expect=2).err
    assert "leave out" in live("logs", f"{ns}/bad", "--raw", "-f", expect=2).err
    assert "has 1 attempts" in live("logs", f"{ns}/bad", "--attempt", "9", expect=3).err


# ── pausing, secrets, tokens, alerts ─────────────────────────────────────────────────────────────────────


def test_pause_and_resume(live: Command, ns: str) -> None:
    done = live("pause", f"{ns}/daily", "--until", "2099-01-01", "--reason", "target moves")
    assert "2099-01-01T00:00:00+01:00" in done.out
    assert f"rota resume {ns}/daily" in done.err
    (job,) = live("ls", f"{ns}/daily", "--json").json["items"]
    assert job["paused"]["reason"] == "target moves"
    assert "paused" in live("ls", f"{ns}/daily").out
    assert "is planned again; next" in live("resume", f"{ns}/daily").out
    assert live("pause", f"{ns}/daily", "--json").json["job"]["paused"]["until"] is None
    assert live("resume", f"{ns}/daily", "--json").json["paused"] is None


def test_a_secret_comes_from_stdin_and_never_back(live: Command) -> None:
    done = live("secret", "set", "API_KEY", stdin="hunter22hunter\n")
    assert done.out == ""
    assert "hunter22" not in done.err
    assert [one["name"] for one in live("secret", "list", "--json").json["items"]] == ["API_KEY"]
    assert "API_KEY" in live("secret", "list").out
    live("secret", "rm", "API_KEY")
    assert live("secret", "rm", "API_KEY", expect=3).out == ""
    assert "stdin gave no value" in live("secret", "set", "X", stdin="", expect=2).err
    assert "not UTF-8" in live("secret", "set", "X", stdin=b"\xff\xfe", expect=2).err


def test_a_token_does_what_its_scope_says_until_it_is_revoked(live: Command, ns: str) -> None:
    text = live("token", "create", "--name", "reader", "--expires", "2099-01-01").out.strip()
    assert text.startswith("rota_")
    assert live("ls", "--token", text, "--quiet").code == 0
    assert live("pause", f"{ns}/daily", "--token", text, expect=4).out == ""
    listed = live("token", "list", "--json").json["items"]
    (mine,) = [one for one in listed if one["name"] == "reader"]
    assert text not in live("token", "list").out
    assert "is revoked" in live("token", "revoke", mine["id"]).out
    done = live("ls", "--token", text, expect=4)
    assert text not in done.err
    assert "rota token create --database URL --scope admin" in done.err


def test_the_token_in_use_is_only_revoked_when_that_is_meant(live: Command) -> None:
    made = live("token", "create", "--scope", "admin", "--json").json
    own = ("token", "revoke", made["id"], "--token", made["token"])
    refused = live(*own, expect=2)
    assert "is the one this command uses; nothing was revoked" in refused.err
    assert "--force" in refused.err
    done = live(*own, "--force")
    assert "is revoked" in done.out
    assert "! it was the token in use" in done.err
    assert "rota token create --database URL --scope admin" in done.err
    assert "not valid here" in live("ls", "--token", made["token"], expect=4).err


def test_open_prints_a_link_that_works_once(live: Command) -> None:
    done = live("open", "--no-browser")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/login\?code=\S+\n", done.out)
    assert live("open", "--json").json["url"] != done.out.strip()


def test_alerts_test_says_why_a_channel_did_not_take_it(live: Command) -> None:
    done = live("alerts", "test", "fax:ops", expect=7)
    assert 'there is no channel "fax"' in done.out
    shown = live("alerts", "-q", "route:fax:*")
    assert "fax:ops" in shown.out
    assert "[channels.fax]" in shown.out
    assert "alerts:fax:ops" not in [condition["key"] for condition in live("alerts", "--json").json["conditions"]]
    assert "is not an alert target" in live("alerts", "test", "nobody", expect=2).err


def test_alerts_test_without_a_route_tries_every_one_that_jobs_name(live: Command) -> None:
    text = "version: 1\nnamespace: routes\njobs:\n  one: { shell: x, alert: { to: ['fax:crew', 'fax:desk'] } }\n"
    live("apply", str(live.write("jobs.yaml", text)))
    outcomes = live("alerts", "test", "--json", expect=7).json["items"]
    assert {"fax:crew", "fax:desk"} <= {notice["route"] for notice in outcomes}


def test_doctor_of_a_running_installation(live: Command, installation: RunningRota) -> None:
    document = live("doctor", "--json", expect=None).json
    found = {finding["subject"]: finding["level"] for finding in document["items"]}
    assert found["server"] == found["store"] == found["clock"] == found["workers"] == found["data"] == "ok"


def test_a_second_server_on_the_same_folder_or_port_is_told_so(live: Command, installation: RunningRota) -> None:
    done = live("up", "--data", str(installation.data), "--no-open", expect=5)
    assert "is already in use by process" in done.err
    port = live("open", "--json").json["url"].split(":")[2].split("/")[0]
    taken = live("up", "--data", "other", "--port", port, "--no-open", expect=5)
    assert f"port {port}" in taken.err


def test_the_nearest_data_folder_counts(
    live: Command, installation: RunningRota, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROTA_DATA")
    (live.folder / ".rota").symlink_to(installation.data)
    below = live.folder / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert live("workers", "--quiet").code == 0
    assert live("workers", "--data", str(Path.home() / "none"), expect=6).out == ""


def test_import_apply_and_switch_on(live: Command) -> None:
    live("import", "crontab", "-", "--namespace", "imported", "-o", "legacy.yaml", stdin="0 3 * * * echo imported\n")
    live("apply", "legacy.yaml")
    (job,) = live("ls", "-q", "ns:imported", "--json").json["items"]
    assert job["paused"]
    assert live("run", job["job"], "--wait", "--timeout", "30s").code == 0
    assert live("logs", job["job"]).lines == ["imported"]
