import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rota.core.zones import zone_names
from rota.settings import MailSettings, SecretText, SettingsRefused, UpSettings, host_name, host_zone, load_up_settings
from rota.settings.gathering import key_lines
from rota.settings.keys import CHANNEL_KEYS, UP_KEYS
from rota.settings.sources import Sources


def load(folder: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> UpSettings:
    """The settings with `text` as the data folder's rota.toml."""
    if text:
        (folder / "rota.toml").write_text(text)
    return load_up_settings(Sources(environment or {}, flags), folder)


def problems(folder: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(SettingsRefused) as caught:
        load(folder, text, environment, **flags)
    return [str(problem).replace(str(folder), "DIR") for problem in caught.value.problems]


def test_nothing_said_means_loopback_and_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.host, settings.port, settings.port_was_asked_for) == ("127.0.0.1", 8700, False)
    assert (settings.keep_history, settings.keep_logs) == (timedelta(days=90), timedelta(days=30))
    assert settings.data == tmp_path
    assert settings.timezone == host_zone()
    assert settings.worker.private_networks
    assert settings.channels == {}


FULL = """\
host = "127.0.0.2"
port = 8800
jobs = ["~/jobs", "/srv/more"]
public_url = "https://rota.example.com/"
allowed_hosts = ["rota.example.com"]
timezone = "Europe/Berlin"

[log]
format = "json"
level = "debug"

[keep]
history = "30d"
logs = "12h"

[worker]
name = "box-1"
labels = { rack = "db1" }
slots = { python = 3 }
allowed_users = ["deploy"]
private_networks = false
allowed_networks = ["10.1.0.0/16"]

[channels.mail]
type = "mail"
host = "smtp.example.com"
tls = "starttls"
user = "rota"
password_env = "SMTP_PASSWORD"
sender = "rota@example.com"
timeout = "10s"

[channels.local]
type = "mail"
sendmail = "/usr/sbin/sendmail"
"""


def test_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = load(tmp_path, FULL, {"SMTP_PASSWORD": "hunter22"})
    assert settings.port_was_asked_for
    assert settings.jobs == (Path("/home/ada/jobs"), Path("/srv/more"))
    assert settings.public_url == "https://rota.example.com"
    assert (settings.log_format, settings.log_level) == ("json", "debug")
    assert (settings.keep_history, settings.keep_logs) == (timedelta(days=30), timedelta(hours=12))
    assert settings.worker.slots == {"python": 3}
    assert settings.worker.labels == {"rack": "db1"}
    assert settings.worker.allowed_networks == ("10.1.0.0/16",)
    assert settings.channels["mail"] == MailSettings(
        host="smtp.example.com",
        tls="starttls",
        user="rota",
        password=SecretText("hunter22"),
        sender="rota@example.com",
        timeout=10.0,
    )
    assert settings.channels["local"].sendmail == Path("/usr/sbin/sendmail")


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = 'port = 1001\nlog.level = "error"\nlog.format = "json"\n'
    settings = load(tmp_path, text, {"ROTA_PORT": "1002", "ROTA_LOG_LEVEL": "warning"}, port=1003)
    assert (settings.port, settings.log_level, settings.log_format) == (1003, "warning", "json")


def test_flags_that_were_not_given_say_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "port = 1001\n", port=None, jobs=None).port == 1001


def test_environment_of_every_kind(tmp_path: Path) -> None:
    environment = {
        "ROTA_JOBS": os.pathsep.join(["/a", "/b"]),
        "ROTA_ALLOWED_HOSTS": "one.example, two.example",
        "ROTA_TLS_ENDS_AT_PROXY": "true",
        "ROTA_HOST": "0.0.0.0",
        "ROTA_KEEP_HISTORY": "7d",
        "ROTA_WORKER_NAME": "w9",
    }
    settings = load(tmp_path, environment=environment)
    assert settings.jobs == (Path("/a"), Path("/b"))
    assert settings.allowed_hosts == ("one.example", "two.example")
    assert settings.host == "0.0.0.0"
    assert settings.keep_history == timedelta(days=7)
    assert settings.worker.name == "w9"


def test_data_folder_and_file_from_the_environment(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 1234\n")
    settings = load_up_settings(Sources({"ROTA_DATA": str(tmp_path / "d"), "ROTA_CONFIG": str(other)}))
    assert (settings.data, settings.port) == (tmp_path / "d", 1234)


def test_a_named_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="there is no such file"):
        load_up_settings(Sources({}, config=tmp_path / "none.toml"), tmp_path)


def test_all_problems_in_one_pass_with_their_places(tmp_path: Path) -> None:
    text = 'port = 99999\nhst = "x"\n\n[worker]\nslotts = 3\n\n[keep]\nlogs = 30\n'
    text += '[channels.mail]\ntype = "mail"\nprot = 25\n'
    found = problems(tmp_path, text, {"ROTA_LOG_LEVEL": "loud", "ROTA_POTR": "1"})
    assert found == [
        "DIR/rota.toml:1: port: 99999 is not a whole number from 0 to 65535",
        'DIR/rota.toml:2: unknown key "hst"\n  = did you mean host?',
        'DIR/rota.toml:5: unknown key "worker.slotts"\n  = did you mean worker.slots?',
        'DIR/rota.toml:8: keep.logs: 30 is not a duration\n  = write it with its unit, in quotes: "30d"',
        'DIR/rota.toml:11: unknown key "prot" in [channels.mail]\n  = did you mean port?',
        'ROTA_LOG_LEVEL: log.level: "loud" is not one of debug, info, warning, error',
        "ROTA_POTR: unknown variable\n  = did you mean ROTA_PORT?",
    ]


@pytest.mark.parametrize("name", ["ROTA_RUN_ID", "ROTA_PARAM_X", "ROTA_URL", "ROTA_TOKEN", "ROTA_SECRET_KEY", "PORT"])
def test_variables_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, environment={name: "x"}).port == 8700


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "rota.example.com"])
def test_a_host_others_can_reach_needs_tls_in_front(tmp_path: Path, host: str) -> None:
    (problem,) = problems(tmp_path, f'host = "{host}"\n')
    assert problem.startswith(f'DIR/rota.toml:1: host "{host}" would serve tokens')
    assert "tls_ends_at_proxy = true" in problem
    assert load(tmp_path, f'host = "{host}"\ntls_ends_at_proxy = true\n').host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.9", "::1", "[::1]"])
def test_loopback_needs_nothing(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, host=host).host == host


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = true\n", "True is not a whole number"),
        ('port = "x"\n', '"x" is not a whole number'),
        ("host = 3\n", "3 is not a text"),
        ('host = ""\n', '"" is not a text'),
        ("jobs = 7\n", "7 is not a list"),
        ('timezone = "Europe/Berln"\n', "did you mean Europe/Berlin?"),
        ('public_url = "rota.example.com"\n', "is not an address"),
        ('public_url = "https://u:p@rota.example.com"\n', "is not an address"),
        ('keep = { history = "30 bananas" }\n', "there is no unit"),
        ('keep = { history = "1s" }\n', "out of range"),
        ('tls_ends_at_proxy = "maybe"\n', "neither true nor false"),
        ("worker = { slots = { container = 3 } }\n", "the kinds are http, shell, python"),
        ("worker = { slots = { python = -1 } }\n", "-1 is not a whole number"),
        ('worker = { labels = "x" }\n', "is not a table"),
        ('worker = { allowed_networks = ["10.0.0.0/99"] }\n', "is not a network"),
        ('worker = { name = "a b" }\n', "is not a name"),
        ("worker = 3\n", 'unknown key "worker"'),
        ("channels = 3\n", "channels is not a table"),
        ("[channels]\nmail = 3\n", "channels.mail is not a table"),
        ("[channels.Mail]\n", "is not a channel name"),
        ('[channels.mail]\nhost = "x"\n', "says no type"),
        ('[channels.mail]\ntype = "fax"\n', '"fax" is not one of mail'),
        ('[channels.mail]\ntype = "mail"\ntimeout = "1h"\n', "out of range"),
        ('[channels.mail]\ntype = "mail"\npassword = "x"\n', "password is given without user"),
        ('[channels.mail]\ntype = "mail"\nuser = "u"\npassword = "x"\npassword_env = "Y"\n', "are both given"),
        ('[channels.mail]\ntype = "mail"\nuser = "u"\npassword_env = "NOT_SET"\n', "NOT_SET is not set"),
        ('[channels.mail]\ntype = "mail"\nuser = "u"\npassword_file = "/none"\n', "/none cannot be read"),
        ("port = \n", "not TOML"),
        ("a = 1\na = 2\n", "not TOML"),
    ],
)
def test_each_wrong_value_is_said(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert said in problem
    assert problem.startswith("DIR/rota.toml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "rota.toml").write_bytes(b"\xff\xfe\x00")
    (problem,) = problems(tmp_path)
    assert "not UTF-8" in problem


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "#" * (1024 * 1024 + 1))
    assert "longer than 1 MiB" in problem


def test_a_deep_file_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "a = " + "[" * 50_000)
    assert "DIR/rota.toml" in problem


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter22\n")
    text = f'[channels.mail]\ntype = "mail"\nuser = "u"\npassword_file = "{tmp_path}/password"\n'
    settings = load(tmp_path, text)
    password = settings.channels["mail"].password
    assert password is not None
    assert password.reveal() == "hunter22"
    for shown in (repr(settings), str(settings), repr(settings.channels), f"{password}"):
        assert "hunter22" not in shown
    (problem,) = problems(tmp_path, '[channels.mail]\ntype = "mail"\nuser = "u"\npassword = 12345678\n')
    assert "12345678" not in problem


def test_secret_texts_compare_by_their_text() -> None:
    assert SecretText("a") == SecretText("a")
    assert len({SecretText("a"), SecretText("a"), SecretText("b")}) == 2
    assert SecretText("a") != "a"


def test_lines_of_keys() -> None:
    text = 'a = 1\n# b = 2\n[t]\nc = 3\n[t."x y"]\nd.e = 4\n'
    assert key_lines(text) == {"a": 1, "t": 3, "t.c": 4, "t.x y": 5, "t.x y.d.e": 6}


def test_the_machine_has_a_zone_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_zone() in zone_names()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert host_zone() == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "../../etc/passwd")
    assert host_zone() in zone_names()
    assert host_name()
    assert " " not in host_name()


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/settings.md").read_text()
    for key in UP_KEYS:
        assert f"`{key.name}`" in page, key.name
    for key in CHANNEL_KEYS:
        assert f"`{key.name}`" in page, key.name
