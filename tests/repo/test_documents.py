"""The documents keep in step: links lead somewhere, promises name tests that exist, paths in the map are there."""

import ast
import re
from pathlib import Path

import pytest
from repo_scripts import ROOT

from rota.jobfile import check_paths

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CODE = re.compile(r"```.*?```", re.DOTALL)


def prose(path: Path) -> str:
    """A page without its code."""
    return CODE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """What a link into a page may point to."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        if not to.is_relative_to(ROOT) or not to.exists() or (anchor and anchor not in anchors(to)):
            dead.append(target)
    assert dead == []


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = [target.partition("#")[0] for target in LINK.findall(prose(page)) if "://" not in target]
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert {page for page in PAGES if page.parent != ROOT} - reached == set()


def test_promises_name_tests_that_exist() -> None:
    text = (ROOT / "docs" / "explanation" / "promises.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == [f"P{number}" for number in range(1, 13)]
    for section in sections:
        named = TEST.findall(section)
        assert named, f"{section.splitlines()[0]} names no test"
        for path, test in named:
            assert test in functions_of(path), f"{path}::{test}"


def test_the_proof_names_tests_that_exist() -> None:
    named = TEST.findall((ROOT / "docs" / "explanation" / "proof.md").read_text())
    assert len(named) >= 10
    for path, test in named:
        assert test in functions_of(path), f"{path}::{test}"


def functions_of(path: str) -> set[str]:
    """The names of all functions in a file of the repository."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_paths_in_the_map_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[\w*]*(?:\.\w+)?|[a-z_]+\.py)`", text))
    assert len(named) > 40
    roots = (ROOT / "src" / "rota", ROOT)
    missing = [name for name in named if not any(list(root.glob(name.rstrip("/"))) for root in roots)]
    assert sorted(missing) == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "index.md").read_text()
    pages = sorted(folder.glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for page in pages:
        title = page.read_text().splitlines()[0]
        number, _, sentence = title.removeprefix("# ").partition(". ")
        assert f"[{number}]({page.name}) | {sentence}" in listed
        assert "## Context" in page.read_text()
        assert "Refused" in page.read_text() or "## Consequences" in page.read_text()


def test_the_first_screen_of_the_readme_has_both_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:20]
    assert any(line.startswith("make up") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)


def test_the_job_file_of_the_readme_is_a_good_one(tmp_path: Path) -> None:
    from_readme = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert from_readme is not None
    (tmp_path / "fetch.yaml").write_text(from_readme[1])
    result = check_paths([tmp_path / "fetch.yaml"])
    assert not result.problems
    assert [job.full_name for job in result.jobs] == ["web/fetch"]
