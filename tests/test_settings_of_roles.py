"""The settings of servers and workers: what each takes, what is refused, and that no password is ever shown."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pytest

from rota.settings import (
    DatabaseUrl,
    LimitOptions,
    ServerSettings,
    SettingsRefused,
    Sources,
    WorkerProcessSettings,
    find_database,
    load_server_settings,
    load_up_settings,
    load_worker_settings,
    worker_name,
)
from rota.settings.keys import SERVER_KEYS, UP_KEYS, WORKER_KEYS
from rota.settings.readers import Wrong

DATABASE = "postgresql://rota:hunter22@db.example.com/rota"


def server(folder: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> ServerSettings:
    path = folder / "server.toml"
    path.write_text(text)
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_server_settings(Sources(environment or {}, given, path))


def worker(
    folder: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any
) -> WorkerProcessSettings:
    (folder / "rota.toml").write_text(text)
    return load_worker_settings(Sources(environment or {}, flags), folder)


def problems(load: Any, folder: Path, *given: Any, **flags: Any) -> list[str]:
    with pytest.raises(SettingsRefused) as caught:
        load(folder, *given, **flags)
    return [str(problem).replace(str(folder), "DIR") for problem in caught.value.problems]


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_needs_a_database_and_nothing_else(tmp_path: Path) -> None:
    settings = server(tmp_path, database=DATABASE)
    assert settings.database.reveal() == DATABASE
    assert (settings.host, settings.port, settings.advertise) == ("127.0.0.1", 8700, None)
    assert settings.limits == LimitOptions()
    assert not settings.is_https
    (problem,) = problems(server, tmp_path)
    assert problem.startswith("database: no database is given\n  = rota server --database postgresql://")
    assert server(tmp_path, environment={"ROTA_DATABASE": "sqlite:///x.db"}).database.path == Path("x.db")


def test_everything_a_server_can_be_told(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem", "key"):
        (tmp_path / name).write_text("x")
    text = f"""
database = "{DATABASE}"
host = "0.0.0.0"
port = 9000
advertise = "https://a.example.com:9000"
public_url = "https://rota.example.com"
allowed_hosts = ["rota.internal"]
trusted_proxies = ["10.0.0.0/8"]
secret_key_file = "{tmp_path}/key"
tls = {{ certificate = "{tmp_path}/c.pem", key = "{tmp_path}/k.pem" }}
[limits]
token_requests = 50
streams = 7
[channels.mail]
type = "mail"
"""
    settings = server(tmp_path, text, {"ROTA_LIMITS_CONNECTIONS": "99"}, port=9001)
    assert (settings.host, settings.port) == ("0.0.0.0", 9001)
    assert settings.is_https
    assert settings.tls_certificate == tmp_path / "c.pem"
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.limits == LimitOptions(token_requests=50, streams=7, connections=99)
    assert set(settings.channels) == {"mail"}


def test_what_a_server_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    assert problems(server, tmp_path, 'jobs = ["x"]\nadvertize = "http://x"\n', host="0.0.0.0", port="x") == [
        'DIR/server.toml:1: unknown key "jobs"\n  = ' + known("jobs"),
        'DIR/server.toml:2: unknown key "advertize"\n  = did you mean advertise?',
        '--port: port: "x" is not a whole number from 0 to 65535',
        '--host: host "0.0.0.0" would serve tokens and logs to the network without TLS\n  = give tls.certificate and'
        " tls.key, or put a proxy that speaks TLS in front and set tls_ends_at_proxy = true, or keep host 127.0.0.1 and"
        " reach it through ssh -L",
        "database: no database is given\n  = rota server --database postgresql://USER@HOST/NAME, or ROTA_DATABASE;"
        " for SQLite: sqlite:///PATH",
    ]
    half = problems(server, tmp_path, database=DATABASE, tls__certificate=tmp_path / "c.pem")
    assert half == ["--tls-certificate: tls.certificate is given without tls.key\n  = give both"]
    both = {"tls__certificate": "/none", "tls__key": tmp_path / "c.pem"}
    lone = problems(server, tmp_path, database=DATABASE, host="0.0.0.0", **both)
    assert lone == ["--tls-certificate: tls.certificate: there is no file /none"]
    missing = problems(server, tmp_path, database=DATABASE, tls__key="/none", secret_key_file="/none")
    assert missing[0] == "--tls-key: tls.key: there is no file /none"
    assert any("secret_key_file: there is no file /none" in one for one in missing)


def known(name: str) -> str:
    names = [*(key.name for key in SERVER_KEYS), "channels"]
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


@pytest.mark.parametrize(
    ("text", "shown", "has_password"),
    [
        ("postgresql://rota:hunter22@db/rota", "postgresql://rota@db/rota", True),
        ("postgres://rota:hunter22@db:5432/rota?sslmode=require", "postgresql://rota@db:5432/rota", True),
        ("postgresql://rota@db/rota?password=hunter22", "postgresql://rota@db/rota", True),
        ("postgresql://rota@db/rota", "postgresql://rota@db/rota", False),
        ("postgresql://a:hunter22@one,two:5433/rota", "postgresql://a@one,two:5433/rota", True),
        ("postgresql:///rota?host=/run/postgresql", "postgresql:///rota", False),
        ("sqlite:///rota.db", "sqlite, rota.db", False),
        ("sqlite:////var/lib/rota/rota.db", "sqlite, /var/lib/rota/rota.db", False),
        ("sqlite:///a%20b.db", "sqlite, a b.db", False),
    ],
)
def test_addresses_of_databases(text: str, shown: str, has_password: bool) -> None:
    url = DatabaseUrl(text)
    assert (url.shown, repr(url), f"{url}", url.has_password) == (shown, shown, shown, has_password)
    assert url.reveal() == text
    assert url == DatabaseUrl(text)


@pytest.mark.parametrize(
    "text",
    [
        "hunter22",
        "mysql://u:hunter22@h/d",
        "postgresql//u:hunter22@h",
        "sqlite://hunter22",
        "sqlite:///",
        "postgresql://[hunter22",
        "",
    ],
)
def test_what_is_no_address_is_not_repeated(tmp_path: Path, text: str) -> None:
    (problem,) = [one for one in problems(server, tmp_path, database=text) if "database" in one]
    assert "hunter22" not in problem
    assert "postgresql://USER@HOST/NAME" in problem or "sqlite:///PATH" in problem
    if text:
        with pytest.raises(Wrong) as caught:
            find_database(text, {})
        assert "hunter22" not in str(caught.value)


def test_no_password_is_in_what_settings_print(tmp_path: Path) -> None:
    settings = server(tmp_path, database=DATABASE)
    assert "hunter22" not in f"{settings} {settings!r}"
    found = find_database(None, {"ROTA_DATABASE": DATABASE})
    assert found is not None
    assert "hunter22" not in repr(found)
    assert find_database(None, {}) is None


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_needs_a_server_and_nothing_else(tmp_path: Path) -> None:
    settings = worker(tmp_path, server=["https://rota.example.com:8700/"])
    assert settings.servers == ("https://rota.example.com:8700",)
    assert settings.worker.name == worker_name()
    assert not settings.worker.private_networks
    assert (settings.state, settings.grace, settings.cpu, settings.memory) == (tmp_path, 30.0, None, None)
    (problem,) = problems(worker, tmp_path)
    assert problem.startswith("server: no server is given\n  = rota worker --server https://")


def test_everything_a_worker_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    text = """
server = ["https://one.example.com", "https://two.example.com"]
labels = { zone = "eu" }
slots = { python = 3 }
allowed_users = ["deploy"]
allowed_networks = ["10.1.0.0/16"]
grace = "2m"
log.level = "warning"
"""
    settings = worker(
        tmp_path,
        text,
        {"ROTA_NAME": "w9", "ROTA_RESOURCES": "gpu=2,licence=1"},
        ca=tmp_path / "ca.pem",
        cpu=4,
        memory="8GiB",
    )
    assert len(settings.servers) == 2
    assert (settings.worker.name, settings.worker.labels) == ("w9", {"zone": "eu"})
    assert settings.worker.slots == {"python": 3}
    assert (settings.cpu, settings.memory, settings.resources) == (4, 8 * 2**30, {"gpu": 2, "licence": 1})
    assert (settings.grace, settings.log_level, settings.ca) == (120.0, "warning", tmp_path / "ca.pem")


def test_slots_of_shell_and_tables_from_flags(tmp_path: Path) -> None:
    flags = {"server": ["https://x"], "labels": ["zone=eu", "rack=a=b"], "resources": ["gpu=2"]}
    settings = worker(tmp_path, slots="8", **flags)
    assert settings.worker.slots == {"shell": 8}
    assert settings.worker.labels == {"zone": "eu", "rack": "a=b"}
    assert settings.resources == {"gpu": 2}
    assert worker(tmp_path, slots="shell=8,python=2", **flags).worker.slots == {"shell": 8, "python": 2}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"server": ["rota.example.com"]}, '--server: server: "rota.example.com" is not an address'),
        ({"server": ["https://u:hunter22@x"]}, '--server: server: "https://…@x" is not an address'),
        ({"server": []}, "--server: server: no address is given"),
        ({"server": ["http://rota.example.com"]}, "would send the worker's token and its jobs' secrets unencrypted"),
        ({"name": "a b"}, '--name: name: "a b" is not a name'),
        ({"labels": ["zone"]}, '--label: labels: "zone" is not a table'),
        ({"labels": ["zone="]}, '--label: labels: "" is not a text'),
        ({"cpu": 0}, "--cpu: cpu: 0 is not a whole number from 1 to 65536"),
        ({"memory": "8"}, "--memory: memory: "),
        ({"memory": "1KiB"}, "--memory: memory: 1024 is not a whole number"),
        ({"resources": ["gpu=-1"]}, '--resource: resources: "-1" is not a whole number'),
        ({"slots": "container=3"}, "--slots: slots: there is no kind of job"),
        ({"ca": "/none"}, "--ca: ca: there is no file /none"),
    ],
)
def test_each_wrong_value_of_a_worker_is_said(tmp_path: Path, flags: dict[str, Any], said: str) -> None:
    (problem,) = problems(worker, tmp_path, **{"server": ["https://x"], **flags})
    assert said in problem
    assert "hunter22" not in problem


def test_the_clear_is_for_this_machine_or_a_network_that_encrypts(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:8700", "http://localhost:8700", "http://[::1]:8700"):
        assert worker(tmp_path, server=[url]).servers == (url,)
    (problem,) = problems(worker, tmp_path, server=["https://a", "http://10.0.0.1:8700"])
    assert "http://10.0.0.1:8700 would send" in problem
    assert "plain_http = true" in problem
    assert worker(tmp_path, "plain_http = true\n", server=["http://10.0.0.1:8700"]).plain_http


# ── all ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_role_takes_another_s_variable_for_a_mistake(tmp_path: Path) -> None:
    every = {key.variable: "x" for role in (UP_KEYS, SERVER_KEYS, WORKER_KEYS) for key in role}
    up = {key.variable for key in UP_KEYS}
    load_up_settings(Sources({name: text for name, text in every.items() if name not in up}), tmp_path)
    of_worker = {key.variable for key in WORKER_KEYS}
    others = {name: text for name, text in every.items() if name not in of_worker}
    assert worker(tmp_path, environment=others, server=["https://x"])
    (problem,) = problems(worker, tmp_path, "", {"ROTA_SERVR": "x"}, server=["https://x"])
    assert problem == "ROTA_SERVR: unknown variable\n  = did you mean ROTA_SERVER?"


def test_every_key_of_every_role_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/settings.md").read_text()
    for key in (*SERVER_KEYS, *WORKER_KEYS):
        assert f"`{key.name}`" in page, key.name


def test_a_worker_is_called_like_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in (("box.example.com", "box"), ("-ü-", "worker"), ("a b", "a-b"), ("x" * 80, "x" * 63)):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert worker_name() == name
