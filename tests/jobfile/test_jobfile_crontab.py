"""Crontab import: cron's semantics line by line, and no line without an account."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rota.core.model import JobSpec, MissedMode, Overlap, ShellTask
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.crontab import ImportResult, ImportSettings, import_crontab
from rota.jobfile.crontab_lines import split_command
from rota.jobfile.crontab_names import job_name
from rota.jobfile.crontab_report import render_import, switch_off
from rota.jobfile.parse import parse_text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def imported(text: str | bytes, **options: object) -> ImportResult:
    return import_crontab(text, ImportSettings(timezone="Europe/Prague", **options), NOW)  # type: ignore[arg-type]


def jobs_of(result: ImportResult) -> dict[str, JobSpec]:
    parsed = parse_text(result.yaml, "imported.yaml")
    assert [problem for problem in parsed.problems if problem.is_error] == [], result.yaml
    return {job.name: job.spec for job in parsed.jobs}


def only_job(text: str, **options: object) -> JobSpec:
    (spec,) = jobs_of(imported(text, **options)).values()
    return spec


def command_of(spec: JobSpec) -> str:
    assert isinstance(spec.task, ShellTask)
    return spec.task.command


def test_a_line_becomes_a_job_that_does_the_same() -> None:
    spec = only_job("0 3 * * *  cd /srv && ./fetch.sh -q\n")
    assert spec.task == ShellTask(command="cd /srv && ./fetch.sh -q")
    assert (spec.schedule, spec.timezone, spec.cwd) == ("0 3 * * *", "Europe/Prague", "~")
    assert (spec.missed.mode, spec.overlap, spec.paused, spec.shadow) == (MissedMode.SKIP, Overlap.ALLOW, True, False)


def test_shadow_jobs_are_not_paused() -> None:
    spec = only_job("0 3 * * * x\n", shadow=True)
    assert (spec.paused, spec.shadow) == (False, True)


@pytest.mark.parametrize(
    ("when", "schedule"),
    [
        ("@daily", "@daily"),
        ("@Hourly", "@hourly"),
        ("@reboot", "at start"),
        ("@every_minute", "* * * * *"),
        ("*/7 1-5 1,15 jan-mar MON", "*/7 1-5 1,15 jan-mar MON"),
        ("0\t3\t*  *   *", "0 3 * * *"),
        ("-0 3 * * *", "0 3 * * *"),
        ("0 0 * * 7", "0 0 * * 7"),
        ("0~29 3 * * *", "H(0-29) 3 * * *"),
    ],
)
def test_times(when: str, schedule: str) -> None:
    assert only_job(f"{when} x\n").schedule == schedule


@pytest.mark.parametrize(
    ("rest", "command", "stdin"),
    [
        ("cat %a%b", "cat ", "a\nb\n"),
        ("date +\\%F", "date +%F", None),
        ("x \\\\%y", "x \\\\", "y\n"),
        ("x \\n % 1\\%2%", "x \\n ", " 1%2\n"),
        ("x %", "x ", ""),
        ("x", "x", None),
    ],
)
def test_percent_signs_divide_command_and_input_as_in_cron(rest: str, command: str, stdin: str | None) -> None:
    assert split_command(rest) == (command, stdin)


def test_standard_input_reaches_the_job() -> None:
    assert only_job("5 4 * * * cat %a%b\n").task == ShellTask(command="cat", stdin="a\nb\n")


def test_each_job_gets_the_environment_in_force_at_its_line() -> None:
    text = "A=1\n0 1 * * * one\nA=2\nB = \" x \"\n0 2 * * * two\nC='y'  \n0 3 * * * three\n"
    jobs = jobs_of(imported(text))
    assert [spec.env for spec in jobs.values()] == [
        {"A": "1"},
        {"A": "2", "B": " x "},
        {"A": "2", "B": " x ", "C": "y"},
    ]


def test_what_all_jobs_share_stands_in_the_defaults() -> None:
    result = imported("PATH=/a:/b\nMAILTO=ops@example.com\n0 1 * * * one\n0 2 * * * two\n")
    assert result.yaml.count("/a:/b") == 1
    assert result.yaml.count("ops@example.com") == 1
    assert [spec.env for spec in jobs_of(result).values()] == [{"PATH": "/a:/b"}] * 2


@pytest.mark.parametrize(
    ("text", "options", "targets"),
    [
        ("MAILTO=ops@example.com", {}, ("mail:ops@example.com",)),
        ("MAILTO=root", {}, ("mail:root",)),
        ('MAILTO="a@b, c@d"', {}, ("mail:a@b", "mail:c@d")),
        ('MAILTO=""', {"owner": "deploy"}, ()),
        ("", {"owner": "deploy"}, ("mail:deploy",)),
        ("", {}, ()),
    ],
)
def test_mail_goes_where_cron_sent_it(text: str, options: dict[str, str], targets: tuple[str, ...]) -> None:
    spec = only_job(f"{text}\n0 1 * * * x\n", **options)
    assert spec.alert.to == targets
    if targets:
        assert spec.alert.when == ("output", "failed", "recovered")


def test_nobody_being_told_is_said_unless_it_was_wanted() -> None:
    assert any("MAILTO" in warning for warning in imported("0 1 * * * x\n").warnings)
    assert imported('MAILTO=""\n0 1 * * * x\n').warnings == ()


def test_zones_shells_and_homes() -> None:
    text = "CRON_TZ=America/New_York\nTZ=Asia/Tokyo\nSHELL=/bin/bash\nHOME=/srv/app\n0 1 * * * echo 'a b' {1..3}\n"
    result = imported(text)
    (spec,) = jobs_of(result).values()
    assert (spec.timezone, spec.cwd) == ("America/New_York", "/srv/app")
    assert spec.env == {"TZ": "Asia/Tokyo", "SHELL": "/bin/bash", "HOME": "/srv/app"}
    assert command_of(spec) == "exec /bin/bash -c 'echo '\"'\"'a b'\"'\"' {1..3}'"
    assert "ignore it" in result.of("setting")[0].warnings[0]


def test_what_env_may_not_hold_is_exported_by_the_command() -> None:
    assert command_of(only_job("LD_LIBRARY_PATH=/opt/my lib\n0 1 * * * x\n")) == (
        "export LD_LIBRARY_PATH='/opt/my lib'\nx"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("60 * * * * x", "'60' in the minute field"),
        ("* * * * *", "no command"),
        ("* * * *", "five time fields"),
        ("foo bar", "five time fields"),
        ("@never x", "not a time that cron knows"),
        ("@daily", "no command"),
        ("0 0 30 2 * x", "never fires"),
        ("* * * * * %stdin only", "no command before the %"),
        ("~5 * * * * x", "only one end"),
        ("MAILTO=a b@@c", "not a mail address"),
        ("CRON_TZ=Mars/Base", "there is no timezone"),
        ("ROTA_RUN_ID=1", "set by Rota"),
        ('"A B"=1', "not the name of an environment variable"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_imported(line: str, reason: str) -> None:
    result = imported(f"0 1 * * * before\n{line}\n0 2 * * * after\n")
    (refused,) = result.refused
    assert refused.line == 2
    assert reason in refused.notes[0]
    assert list(jobs_of(result)) == ["before", "after"]
    assert "✕   2  " in render_import(result, "o.yaml")


def test_bytes_that_are_no_text_are_refused_in_their_line_only() -> None:
    result = imported(b"0 1 * * * caf\xe9\n0 2 * * * x\0y\n# \xff\n0 3 * * * ok\n0 4 * * * " + b"z" * 70_000 + b"\n")
    assert [row.line for row in result.refused] == [1, 2, 5]
    assert list(jobs_of(result)) == ["ok"]


def test_line_ends_are_forgiven_and_said() -> None:
    result = imported(b"\xef\xbb\xbf0 1 * * * one\r\n0 2 * * * two")
    assert [command_of(spec) for spec in jobs_of(result).values()] == ["one", "two"]
    assert len([warning for warning in result.warnings if "MAILTO" not in warning]) == 3


SYSTEM = """\
# m h dom mon dow user  command
17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly
25 6\t* * *\twww-data test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }
"""


@pytest.mark.parametrize("options", [{}, {"system": True}, {"file": "/etc/crontab"}])
def test_system_crontabs_have_users(options: dict[str, object]) -> None:
    result = imported(SYSTEM, **options)
    jobs = jobs_of(result)
    assert result.is_system
    assert [(name, spec.user, spec.alert.to) for name, spec in jobs.items()] == [
        ("cron.hourly", "root", ("mail:root",)),
        ("cron.daily", "www-data", ("mail:www-data",)),
    ]
    assert any("folder of scripts" in note for note in result.of("job")[0].notes)
    assert any("anacron" in note for note in result.of("job")[1].notes)


def test_users_are_recognised_without_a_header() -> None:
    assert imported("0 1 * * * root /x\n0 2 * * * postgres /y\n").is_system
    assert not imported("0 1 * * * root /x\n0 2 * * * /y\n").is_system
    assert not imported("0 1 * * * root /x\n", system=False).is_system
    assert not imported("0 1 * * * root /x\n", file="/var/spool/cron/crontabs/me").is_system


def test_a_system_line_without_user_is_refused() -> None:
    assert [row.line for row in imported("0 1 * * * /x\n", system=True).refused] == [1]


def test_the_comment_above_becomes_the_title() -> None:
    jobs = jobs_of(imported("# Fetch rates\n0 1 * * * a\n\n# not this\n\n0 2 * * * b\n#0 3 * * * off\n0 4 * * * c\n"))
    assert [spec.title for spec in jobs.values()] == ["Fetch rates", None, None]


def test_every_line_has_its_account() -> None:
    text = "# c\n\nA=1\n#0 1 * * * off\n0 1 * * * x\nbad\n"
    result = imported(text)
    assert [(row.line, row.kind) for row in result.rows] == [
        (1, "comment"),
        (3, "setting"),
        (4, "off"),
        (5, "job"),
        (6, "refused"),
    ]
    assert len(result.rows) + result.blank == result.lines == 6


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("cd /srv && nice -n 10 /opt/bin/fetch-rates.sh -q", "fetch-rates"),
        ("FOO=1 BAR='x y' /usr/bin/python3 /srv/app/sync.py --all", "sync"),
        ("/srv/venv/bin/python -m app.jobs.clean", "app.jobs.clean"),
        ("php /var/www/artisan schedule:run >> /dev/null 2>&1", "artisan-schedule-run"),
        ("flock -n /tmp/lock timeout 60 backup", "backup"),
        ("curl -fsS https://hc.example.com/ping/1", "curl-hc.example.com"),
        ("bash -c 'cd /x; ./Report.PL'", "report.pl"),
        ("test -x /usr/bin/x && /usr/bin/x --run", "x"),
        ("[ -d /y ] && rsync -a /y /z", "rsync"),
        ("sudo -u www-data /usr/bin/php -f /x/cron.php", "cron"),
        ("echo 'unclosed", "echo"),
        ("\u0444\u0436", "line-7"),
        (":", "line-7"),
    ],
)
def test_names_are_made_from_commands(command: str, name: str) -> None:
    assert job_name(command, 7, ()) == name


def test_names_are_unique() -> None:
    assert list(jobs_of(imported("0 1 * * * x\n0 2 * * * x\n0 3 * * * x\n"))) == ["x", "x-2", "x-3"]


def test_surprises_are_warned_of_in_their_row() -> None:
    result = imported("*/7 * * * * poll\n30 2 * * * dst.sh\n0 0 13 * 5 odd.sh\nP=$PATH:/x\n")
    jobs = result.of("job")
    assert "uneven" in jobs[0].warnings[0]
    assert "2027-03-28" in jobs[1].warnings[0]
    assert "either" in jobs[2].warnings[0]
    assert "does not expand" in result.of("setting")[0].warnings[0]


def test_the_report_says_how_to_switch_the_old_lines_off() -> None:
    text = "# c\n0 5 * * * x\n0 4 * * * y\n"
    assert switch_off(imported(text, owner="deploy")) == (
        "crontab -u deploy -l > crontab.before-rota && "
        "sed '2s/^/# in Rota: /;3s/^/# in Rota: /' crontab.before-rota | crontab -u deploy -"
    )
    assert switch_off(imported(SYSTEM, file="/etc/crontab")) == (
        "sudo sed -i.before-rota '2s/^/# in Rota: /;3s/^/# in Rota: /' /etc/crontab"
    )
    spool = "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (-)\n# (Cron)\n0 1 * * * x\n"
    assert "sed '1s/^/" in switch_off(imported(spool, file="/var/spool/cron/crontabs/me"))
    report = render_import(imported(text), "jobs/legacy.yaml")
    assert "imported 2 jobs, 0 lost, 1 warning → jobs/legacy.yaml" in report
    assert "rota apply jobs/legacy.yaml        (they start paused)" in report
    assert "rota resume legacy/x" in report
    assert "remove shadow: true" in render_import(imported(text, shadow=True), "o.yaml")


def test_an_empty_crontab_is_a_valid_file_and_says_so() -> None:
    result = imported("")
    assert jobs_of(result) == {}
    assert result.warnings == ("no job was found",)
    assert "imported 0 jobs" in render_import(result, "o.yaml")


def test_the_report_is_plain_text() -> None:
    report = render_import(imported("0 1 * * * x\x1b[31m\n"), "o.yaml")
    assert "\x1b" not in report


def test_the_hosts_zone_must_exist() -> None:
    with pytest.raises(ScheduleError):
        import_crontab("", ImportSettings(timezone="Mars/Base"), NOW)


def test_the_tour_of_the_guide(tmp_path: Path) -> None:
    source = tmp_path / "crontab"
    source.write_text("MAILTO=ops@acme.io\n0 3 * * *  fetch.sh\n")
    result = imported(source.read_bytes(), file=str(source), namespace="web")
    assert f"# Imported from {source}." in result.yaml
    assert parse_text(result.yaml, "x").jobs[0].full_name == "web/fetch"


_words = st.sampled_from(
    ["*", "*/5", "0", "3", "root", "MAILTO=", "a@b", "x", "%", "\\%", "@daily", "#", "'", '"', "=", "60"]
)
_scraps = st.lists(st.lists(_words, max_size=9).map(" ".join), max_size=8).map("\n".join)


@given(_scraps, st.sampled_from([None, True, False]))
@settings(max_examples=150, deadline=None)
def test_any_scraps_are_imported_or_accounted_for(text: str, system: bool | None) -> None:
    result = imported(text, system=system)
    assert len(result.rows) + result.blank == result.lines
    assert set(jobs_of(result)) == set(result.imported)
    render_import(result, "o.yaml")


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_imported_or_accounted_for(data: bytes) -> None:
    result = imported(data)
    assert len(result.rows) + result.blank == result.lines
    jobs_of(result)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_command_stays_what_it_is(command: str) -> None:
    result = imported(f"0 1 * * * {command}\n")
    expected, stdin = split_command(command.lstrip(" \t"))
    for spec in jobs_of(result).values():
        assert spec.task == ShellTask(command=expected.strip(" \t"), stdin=stdin)
