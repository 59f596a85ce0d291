import json
from pathlib import Path

import pytest

from rota.client.discovery import Target, discover, find_data
from rota.client.errors import NoServerKnown
from rota.core.errors import Invalid

URL = "http://127.0.0.1:8700"


def data_folder(path: Path, url: str | None = URL, token: str | None = "found-token") -> Path:
    path.mkdir(parents=True)
    if url is not None:
        (path / "server.json").write_text(json.dumps({"url": url, "pid": 1}))
    if token is not None:
        (path / "admin-token").write_text(token + "\n")
    return path


def found(folder: Path, environment: dict[str, str] | None = None, **said: str | Path) -> Target:
    wanted: dict[str, object] = {"url": None, "token": None, "data": None} | said
    return discover(environment=environment or {}, folder=folder, **wanted)  # type: ignore[arg-type]


def test_the_nearest_folder_upwards_tells_both(tmp_path: Path) -> None:
    data_folder(tmp_path / ".rota", url="http://127.0.0.1:1")
    near = data_folder(tmp_path / "a" / ".rota")
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    target = found(below)
    assert (target.url, target.token, target.found_in) == (URL, "found-token", near)


def test_what_is_said_wins_over_the_environment_and_that_over_the_folder(tmp_path: Path) -> None:
    data_folder(tmp_path / ".rota")
    environment = {"ROTA_URL": "http://env.example", "ROTA_TOKEN": "env-token"}
    assert found(tmp_path, environment) == Target(url="http://env.example", token="env-token")
    said = found(tmp_path, environment, url="http://said.example/", token="said-token")
    assert said == Target(url="http://said.example", token="said-token")


def test_a_token_that_was_found_goes_to_no_other_server(tmp_path: Path) -> None:
    data_folder(tmp_path / ".rota")
    assert found(tmp_path, url="http://evil.example").token is None
    assert found(tmp_path, url=URL + "/").token == "found-token"


def test_data_folder_by_flag_and_by_variable(tmp_path: Path) -> None:
    one, two = data_folder(tmp_path / "one"), data_folder(tmp_path / "two", url="http://127.0.0.1:2")
    assert found(tmp_path, {"ROTA_DATA": str(two)}).url == "http://127.0.0.1:2"
    assert found(tmp_path, {"ROTA_DATA": str(two)}, data=one).url == URL
    assert find_data(None, {}, tmp_path) is None


def test_no_folder_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NoServerKnown) as caught:
        found(tmp_path)
    assert "rota up" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [None, "", "not json", "[]", '{"pid": 3}', '{"url": 7}'])
def test_a_folder_without_a_running_server_says_how_to_start_it(tmp_path: Path, content: str | None) -> None:
    data = data_folder(tmp_path / ".rota", url=None)
    if content is not None:
        (data / "server.json").write_text(content)
    with pytest.raises(NoServerKnown) as caught:
        found(tmp_path)
    assert f"rota up --data {data}" in (caught.value.hint or "")


def test_a_folder_without_a_token_still_tells_the_address(tmp_path: Path) -> None:
    data_folder(tmp_path / ".rota", token=None)
    assert found(tmp_path).token is None


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[::1", "http://x/?token=1", "//x"])
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Invalid, match="is not the address of a server"):
        found(tmp_path, url=url)
