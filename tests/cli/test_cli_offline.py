import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.e2e.running_rota import rota_command

from rota.cli.main import GROUPS, MEANT, VERBS, overview, run

GOOD = "version: 1\nnamespace: web\njobs:\n  fetch: { schedule: every day at 03:00, shell: 'true' }\n"
BAD = """\
version: 1
namespace: web
jobs:
  fetch:
    schedule: every day at 03:00
    shell: 'true'
    retrys: { tries: 4 }
"""


def test_overview_names_every_verb_and_begins_with_examples(rota: Command) -> None:
    text = rota("--help").out
    assert text == overview()
    for name in VERBS:
        assert f"\n  {name} " in text
    assert text.index("rota up") < text.index("Begin")
    assert rota("-h").out == rota("help").out == text


def test_no_arguments_is_wrong_use_and_shows_the_overview(rota: Command) -> None:
    assert rota(expect=2).out == overview()


def test_every_verb_has_help_of_its_own_within_a_screen(rota: Command) -> None:
    for name in VERBS:
        text = rota(name, "--help").out
        assert text.startswith(f"Usage: rota {name}"), name
        assert len(text.splitlines()) <= 50, name
    assert rota("help", "runs").out == rota("runs", "--help").out


def test_verbs_are_listed_once() -> None:
    assert len(VERBS) == sum(len(group.verbs) for group in GROUPS)


def test_words_of_other_programs_lead_to_verbs_and_are_none() -> None:
    assert not MEANT.keys() & VERBS.keys()
    assert {verb.partition(" ")[0] for verb in MEANT.values()} <= VERBS.keys()


def test_version(rota: Command) -> None:
    assert rota("--version").out.startswith("rota 0.")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lss", "ls"), ("aply", "apply"), ("log", "logs"), ("wokers", "workers"), ("chek", "check"),
        ("status", "ls"), ("staus", "ls"), ("ps", "runs"), ("stop", "cancel"), ("start", "run"),
    ],
)  # fmt: skip
def test_a_mistyped_verb_is_answered_with_the_nearest(rota: Command, word: str, meant: str) -> None:
    done = rota(word, expect=2)
    assert f'there is no verb "{word}"' in done.err
    assert f'did you mean "rota {meant}"?' in done.err
    assert done.out == ""


def test_a_verb_that_is_nothing_like_any_is_shown_safely(rota: Command) -> None:
    done = rota("\x1b]0;x\x07zzz", expect=2)
    assert "\x1b" not in done.err
    assert "rota --help shows all" in done.err


def test_a_mistyped_flag_is_answered_with_the_nearest(rota: Command) -> None:
    assert "Did you mean --jsonl" in rota("ls", "--jsnl", expect=2).err
    assert "error:" in rota("explain", "cron", expect=2).err
    assert "error:" in rota("explain", "cron", "* * * * *", "-n", "many", expect=2).err


def test_words_too_many_are_shown_as_they_were_given(rota: Command) -> None:
    assert rota("up", "jobs.yaml", "more", expect=2).err.startswith("error: not understood: jobs.yaml more\n")


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────


def test_explain_cron_as_json_is_the_contract(rota: Command) -> None:
    found = rota(
        "explain", "cron", "0 3 * * *", "--tz", "Europe/Berlin", "--from", "2026-11-23T12:00", "-n", "2", "--json"
    )
    assert found.json == {
        "words": "every day at 03:00",
        "timezone": "Europe/Berlin",
        "next": ["2026-11-24T02:00:00.000000Z", "2026-11-25T02:00:00.000000Z"],
        "warnings": [],
    }


def test_explain_cron_for_people_is_in_the_zone_and_warns(rota: Command) -> None:
    done = rota("explain", "cron", "*/7 * * * *", "--tz", "Europe/Berlin", "--from", "2026-11-23T12:50")
    assert done.lines[0] == "every 7th minute  (Europe/Berlin)"
    assert done.lines[1] == "  Mon 2026-11-23T12:56:00+01:00"
    assert done.lines[2] == "  Mon 2026-11-23T13:00:00+01:00"
    assert "! uneven" in done.out


def test_explain_cron_shows_a_clock_change(rota: Command) -> None:
    done = rota("explain", "cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2027-03-27T12:00", "-n", "1")
    assert "2027-03-28T03:00:00+02:00" in done.out


def test_explain_takes_words(rota: Command) -> None:
    assert rota("explain", "cron", "every weekday at 09:00", "--json").json["words"] == "every weekday at 09:00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["61 * * * *"], "outside 0 to 59"),
        (["0 0 30 2 *"], "30"),
        (["* * * * *", "--tz", "Europe/Berln"], "did you mean Europe/Berlin?"),
        (["* * * * *", "--from", "gestern"], "is not a time"),
        ([""], "empty"),
    ],
)
def test_explain_refuses_with_the_reason(rota: Command, arguments: list[str], said: str) -> None:
    done = rota("explain", "cron", *arguments, expect=2)
    assert said in done.err
    assert done.out == ""


def test_explain_a_code(rota: Command) -> None:
    assert rota("explain", "e0142").out.startswith("E0142: unknown key")
    assert "secret" in rota("explain", "MISSING_SECRET").out
    assert rota("explain", "E0142", "--json").json["items"][0]["code"] == "E0142"
    listed = rota("explain").out
    assert "E0142" in listed
    assert "NO_WORKER" in listed
    assert "no code" in rota("explain", "E9999", expect=3).err


# ── job files ────────────────────────────────────────────────────────────────────────────────────────────


def test_new_writes_a_file_that_checks(rota: Command) -> None:
    done = rota("new", "web/fetch")
    assert done.out == "fetch.yaml\n"
    assert "rota check fetch.yaml" in done.err
    assert "1 job in 1 file: all good" in rota("check", "fetch.yaml").err


def test_new_overwrites_nothing_unless_told(rota: Command) -> None:
    rota.write("fetch.yaml", "mine")
    assert "nothing was written" in rota("new", "fetch", expect=2).err
    assert Path("fetch.yaml").read_text() == "mine"
    rota("new", "fetch", "--force")
    rota("new", "other", "-o", "deep/er/other.yaml", "--quiet")
    assert Path("deep/er/other.yaml").exists()


def test_new_refuses_a_name_that_cannot_be(rota: Command) -> None:
    assert "write" in rota("new", "Web/Fetch Me", expect=2).err
    assert list(Path().iterdir()) == []


def test_check_says_all_that_is_wrong_where_and_what_was_meant(rota: Command) -> None:
    rota.write("jobs.yaml", BAD)
    done = rota("check", "jobs.yaml", expect=30)
    assert "error[E0142]" in done.out
    assert "jobs.yaml:7:5" in done.out
    assert 'did you mean "retry"?' in done.out
    assert "1 error" in done.err


def test_check_as_json(rota: Command) -> None:
    rota.write("a/bad.yaml", BAD)
    rota.write("a/good.yaml", GOOD.replace("fetch", "other"))
    document = rota("check", "a", "--json", expect=30).json
    assert document["ok"] is False
    assert document["jobs"] == ["web/other"] or "web/other" in document["jobs"]
    assert [problem["code"] for problem in document["items"]] == ["E0142"]
    lines = rota("check", "a", "--jsonl", expect=30).lines
    assert json.loads(lines[0])["line"] == 7


def test_check_strict_fails_on_warnings_alone(rota: Command) -> None:
    rota.write("jobs.yaml", GOOD.replace("every day at 03:00", '"*/7 * * * *"'))
    assert "warning" in rota("check", "jobs.yaml").out
    rota("check", "jobs.yaml", "--strict", expect=31)


def test_check_of_nothing_and_of_what_is_not_there(rota: Command) -> None:
    assert "no job file is named" in rota("check", expect=2).err
    assert "cannot be read" in rota("check", "none.yaml", expect=30).out


def test_plan_and_apply_refuse_wrong_files_before_they_look_for_a_server(rota: Command) -> None:
    rota.write("jobs.yaml", BAD)
    for verb in ("plan", "apply"):
        done = rota(verb, "jobs.yaml", expect=30)
        assert "E0142" in done.err
    assert "nothing was applied" in done.err


# ── crontab ──────────────────────────────────────────────────────────────────────────────────────────────

CRONTAB = "MAILTO=ops@example.com\n0 3 * * * /srv/fetch.sh\n61 * * * * broken\n\n# note\n"


def test_import_reports_every_line_and_says_what_was_lost(rota: Command) -> None:
    rota.write("tab", CRONTAB)
    done = rota("import", "crontab", "tab", "-o", "legacy.yaml", expect=7)
    assert "61" in done.out
    assert "imported 1 job" in done.out
    rota("check", "legacy.yaml")
    assert "exists; nothing was written" in rota("import", "crontab", "tab", "-o", "legacy.yaml", expect=2).err
    rota("import", "crontab", "tab", "-o", "legacy.yaml", "--force", expect=7)


def test_import_from_stdin_to_stdout_keeps_data_and_report_apart(rota: Command) -> None:
    done = rota("import", "crontab", "-", "--namespace", "old", "--tz", "Asia/Tokyo", stdin="0 3 * * * true\n")
    assert done.out.startswith("#")
    assert "namespace: old" in done.out
    assert "timezone: Asia/Tokyo" in done.out
    assert "imported 1 job" in done.err


def test_import_shadow_and_system(rota: Command) -> None:
    done = rota("import", "crontab", "-", "--shadow", "--system", stdin="0 3 * * * deploy run.sh\n")
    assert "shadow: true" in done.out
    assert "user: deploy" in done.out


def test_import_of_what_is_not_there(rota: Command) -> None:
    assert "there is no file" in rota("import", "crontab", "none", expect=3).err
    assert "zone" in rota("import", "crontab", "-", "--tz", "Nowhere", stdin="", expect=2).err


# ── without a server ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["ls", "runs", "next", "workers", "alerts", "open"])
def test_no_server_known_says_how_to_get_one(rota: Command, verb: str) -> None:
    done = rota(verb, expect=6)
    assert "rota up" in done.err
    assert done.out == ""


def test_a_server_that_is_not_there(rota: Command) -> None:
    done = rota("ls", "--url", "http://127.0.0.1:9", expect=6)
    assert "http://127.0.0.1:9 cannot be reached" in done.err


def test_an_address_that_is_none(rota: Command) -> None:
    assert "is not the address of a server" in rota("ls", "--url", "nonsense", expect=2).err


def test_doctor_without_anything(rota: Command) -> None:
    done = rota("doctor", expect=40)
    assert "there is no data folder here" in done.out
    assert "✕ server" in done.out


def test_doctor_finds_open_folders_and_wrong_settings(rota: Command) -> None:
    data = rota.folder / ".rota"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    (data / "admin-token").write_text("t")
    (data / "admin-token").chmod(0o644)
    (data / "rota.toml").write_text("prot = 1\n")
    document = rota("doctor", "--json", expect=40).json
    words = [f"{finding['subject']} {finding['words']} {finding['hint']}" for finding in document["items"]]
    assert any("chmod 700" in word for word in words)
    assert any("chmod 600" in word for word in words)
    assert any("did you mean port?" in word for word in words)


def test_up_refuses_wrong_settings_all_at_once_and_starts_nothing(rota: Command) -> None:
    rota.write("d/rota.toml", 'prot = 1\nhost = "0.0.0.0"\n')
    done = rota("up", "--data", "d", "--log-level", "loud", "--no-open", expect=2)
    assert "rota.toml:1" in done.err
    assert "would serve tokens" in done.err
    assert "--log-level" in done.err
    assert done.err.endswith("nothing was started\n")
    assert [path.name for path in Path("d").iterdir()] == ["rota.toml"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_verbs(rota: Command, shell: str) -> None:
    script = rota("completion", shell).out
    for name in ("apply", "logs", "explain"):
        assert name in script


def test_completion_for_an_unknown_shell(rota: Command) -> None:
    assert "Invalid" in rota("completion", "tcsh", expect=2).err or "tcsh" in rota("completion", "tcsh", expect=2).err


def test_what_goes_wrong_inside_is_one_line_and_a_traceback_only_on_request(
    rota: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("rota.cli.files.check_paths", broken)
    done = rota("check", "x.yaml", expect=1)
    assert done.err == "internal error: ZeroDivisionError: oh\n  = run it again with --debug to see where\n"
    assert run(["check", "x.yaml", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130_and_quiet(rota: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rota.cli.files.check_paths", interrupted)
    assert rota("check", "x.yaml", expect=130).err == "\n"


# ── as a program ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    script = f"{rota_command()[0]} explain cron '* * * * *' -n 5000 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == ["every minute  (UTC)", "0"]
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "not_loaded"),
    [
        (["--help"], ["cyclopts", "msgspec", "httpx2", "rota.core.schedule"]),
        (["explain", "cron", "0 3 * * *"], ["httpx2", "ruamel", "rota.jobfile", "asyncio", "starlette"]),
        (["check", "none.yaml"], ["httpx2", "starlette", "uvicorn"]),
        (["ls"], ["starlette", "uvicorn", "ruamel", "rota.wiring", "aiosmtplib"]),
    ],
)
def test_a_verb_loads_no_more_than_it_needs(tmp_path: Path, arguments: list[str], not_loaded: list[str]) -> None:
    program = (
        "import sys\nfrom rota.cli.main import run\n"
        f"run({arguments!r})\n"
        f"print([name for name in {not_loaded!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stderr.splitlines()[-1] == "[]"
