"""Files and folders: what is read, and what is said about all of it together."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rota.core.errors import Invalid
from rota.jobfile import check_paths
from rota.jobfile.paths import job_files
from rota.jobfile.template import new_job_file

GOOD = "version: 1\nnamespace: web\njobs:\n  {name}: {{ shell: x }}\n"


def write(path: Path, name: str = "a") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GOOD.format(name=name))
    return path


def test_folders_are_searched_for_job_files(tmp_path: Path) -> None:
    wanted = [write(tmp_path / "a.yaml", "a"), write(tmp_path / "sub/deep/b.yml", "b")]
    for ignored in (".hidden.yaml", ".git/c.yaml", "a.yaml~", "#a.yaml#", "notes.txt", "x.json", ".#a.yaml"):
        write(tmp_path / ignored, "ignored")
    result = check_paths([tmp_path])
    assert sorted(result.files) == sorted(wanted)
    assert [job.full_name for job in result.jobs] == ["web/a", "web/b"]
    assert result.problems == ()


def test_a_named_file_counts_whatever_it_is_called(tmp_path: Path) -> None:
    assert job_files([write(tmp_path / "jobs.txt")]) == [tmp_path / "jobs.txt"]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml")
    result = check_paths([tmp_path, file])
    assert (len(result.jobs), result.problems) == (1, ())


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(job_files([tmp_path])) == 1


def test_a_job_in_two_files_names_both_places(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.yaml"), write(tmp_path / "2.yaml")
    result = check_paths([tmp_path])
    (problem,) = result.errors
    assert (problem.code, problem.file, problem.line) == ("E0147", str(second), 4)
    assert problem.label == f"first defined in {first}:4"


def test_problems_of_all_files_come_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text("a: *x\n")
    (tmp_path / "2.yaml").write_text("version: 1\njobs: { a: { shel: x } }\n")
    write(tmp_path / "3.yaml")
    result = check_paths([tmp_path, tmp_path / "missing.yaml"])
    assert [(Path(problem.file).name, problem.code) for problem in result.errors] == [
        ("1.yaml", "E0110"),
        ("2.yaml", "E0145"),
        ("2.yaml", "E0142"),
        ("missing.yaml", "E0101"),
    ]
    assert [job.full_name for job in result.jobs] == ["web/a"]
    assert set(result.sources) == {str(tmp_path / f"{number}.yaml") for number in (1, 2, 3)}


def test_a_huge_file_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(500 * 1024 * 1024)
    (problem,) = check_paths([huge]).errors
    assert (problem.code, problem.message) == ("E0102", "the file is more than 5 MiB")  # how much more was not read


def test_an_empty_folder_is_a_warning(tmp_path: Path) -> None:
    result = check_paths([tmp_path])
    assert [problem.code for problem in result.warnings] == ["W0204"]
    assert result.errors == ()


def test_now_turns_surprises_into_warnings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\njobs: { a: { shell: x, schedule: '*/7 * * * *' } }\n")
    assert [problem.code for problem in check_paths([tmp_path], now=datetime(2026, 1, 1, tzinfo=UTC)).warnings] == [
        "W0201"
    ]


@pytest.mark.parametrize(("name", "full_name"), [("fetch", "default/fetch"), ("web/fetch", "web/fetch")])
def test_a_new_job_file_is_valid(tmp_path: Path, name: str, full_name: str) -> None:
    (tmp_path / "new.yaml").write_text(new_job_file(name, "Europe/Berlin"))
    result = check_paths([tmp_path], now=datetime(2026, 6, 1, tzinfo=UTC))
    assert result.errors == ()
    assert [(job.full_name, job.spec.timezone) for job in result.jobs] == [(full_name, "Europe/Berlin")]


@pytest.mark.parametrize(("name", "zone"), [("Fetch", "UTC"), ("a/b/c", "UTC"), ("a", "Mars/Base"), ("/a", "UTC")])
def test_a_new_job_file_needs_a_name_and_a_zone(name: str, zone: str) -> None:
    with pytest.raises(Invalid):
        new_job_file(name, zone)
