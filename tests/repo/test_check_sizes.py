"""The budgets bite: each planted excess is reported, an exemption silences one thing, a stale one is an error."""

import copy
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from repo_scripts import ROOT, load_script

sizes = load_script("check_sizes")
BUDGETS: dict[str, Any] = tomllib.loads((ROOT / "scripts" / "budgets.toml").read_text())


def budgets(**exemptions: dict[str, str]) -> dict[str, Any]:
    """The real budgets without the real exemptions, and with a modest wish for tests."""
    own = copy.deepcopy(BUDGETS)
    own.update({"broad_catches": {}, "local_imports": {}, "exempt": {}, **exemptions})
    own["tests"]["lines_per_source_line"] = 0.0
    return own


def problems(tmp_path: Path, source: str, tests: str = "", **exemptions: dict[str, str]) -> list[str]:
    """What the check says about a checkout with one source file and one test file."""
    for folder, text in (("src", source), ("tests", tests)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "one.py").write_text(textwrap.dedent(text))
    found, _ = sizes.check(tmp_path, budgets(**exemptions))
    assert isinstance(found, list)
    return found


def test_tidy_code_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, "def add(a, b):\n    return a + b\n", "assert True\n" * 2) == []


def test_long_file(tmp_path: Path) -> None:
    found = problems(tmp_path, "x = 1\n" * 501)
    assert "src/one.py: file lines 501, budget 500" in found


def test_long_function_counts_neither_docstring_nor_decorator(tmp_path: Path) -> None:
    body = "    x = 1\n" * 49
    short = f'@decorated\ndef f():\n    """One.\n\n    Two.\n    """\n{body}'
    assert not any("function lines 5" in one for one in problems(tmp_path, short) if "p90" not in one)
    assert "src/one.py::f: function lines 51, budget 50" in problems(tmp_path, short + "    x = 2\n")


def test_ninetieth_percentile_has_its_own_budget(tmp_path: Path) -> None:
    functions = "".join(f"def f{number}():\n" + "    x = 1\n" * 30 for number in range(10))
    assert "src: function lines p90 31, budget 25" in problems(tmp_path, functions)


def test_big_class(tmp_path: Path) -> None:
    methods = "".join(f"    def m{number}(self): ...\n" for number in range(16))
    private = "".join(f"    def _m{number}(self): ...\n" for number in range(30))
    assert problems(tmp_path, "class C:\n" + methods + private) == ["src/one.py::C: public methods 16, budget 15"]


def test_many_parameters_do_not_count_self(tmp_path: Path) -> None:
    text = "class C:\n    def m(self, a, b, c, d, *, e, f, g): ...\n    def n(self, a, b, c, d, *, e, f, g, h): ...\n"
    assert problems(tmp_path, text) == ["src/one.py::C.n: parameters 8, budget 7"]


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("if a:\n  pass\nelif b:\n  pass\nelif c:\n  pass", 1),
        ("if a:\n  pass\nelse:\n  if b:\n    pass\n  x = 1", 2),
        ("for a in b:\n  if c:\n    with d:\n      pass", 3),
        ("def inner():\n  if a:\n    if b:\n      pass", 0),
    ],
)
def test_depth(text: str, deep: int) -> None:
    tree = sizes.ast.parse("def f():\n" + textwrap.indent(text, "  "))
    assert sizes.depth(tree.body[0]) == deep


def test_local_import_and_broad_catch_are_reported_once_listed_allowed(tmp_path: Path) -> None:
    text = """
        def f():
            import os
            try:
                os.stat("x")
            except Exception:
                return None
    """
    found = problems(tmp_path, text)
    assert len(found) == 2
    assert any("imports inside a function" in one for one in found)
    assert any("catches every exception" in one for one in found)
    listed = {"broad_catches": {"src/one.py": "an edge"}, "local_imports": {"src/one.py": "optional"}}
    assert problems(tmp_path, text, **listed) == []


@pytest.mark.parametrize("kind", ["", " BaseException", " (OSError, Exception)", " Exception as error"])
def test_forms_of_broad_catches(tmp_path: Path, kind: str) -> None:
    assert len(problems(tmp_path, f"try:\n    x = 1\nexcept{kind}:\n    x = 2\n")) == 1


def test_a_catch_that_raises_again_hides_nothing(tmp_path: Path) -> None:
    assert problems(tmp_path, "try:\n    x = 1\nexcept BaseException:\n    x = 2\n    raise\n") == []


def test_stale_exemption_is_an_error(tmp_path: Path) -> None:
    found = problems(tmp_path, "x = 1\n", exempt={"nesting src/gone.py::f": "was hard"})
    assert found == ["budgets.toml: [exempt] 'nesting src/gone.py::f' is not needed any more: take it out"]


def test_exemption_needs_a_reason(tmp_path: Path) -> None:
    text = "try:\n    x = 1\nexcept Exception:\n    x = 2\n"
    assert problems(tmp_path, text, broad_catches={"src/one.py": " "}) == [
        "budgets.toml: [broad_catches] 'src/one.py' gives no reason"
    ]


def test_mocks_and_sleeps_in_tests(tmp_path: Path) -> None:
    tests = "import asyncio, time\n" + "x = 1\n" * 100
    assert problems(tmp_path, "", tests + "async def f():\n    await asyncio.sleep(0)\n") == []
    assert any("sleeps per 1000" in one for one in problems(tmp_path, "", tests + "time.sleep(0.1)\n"))
    assert any("mocks per 1000" in one for one in problems(tmp_path, "", tests + "m = MagicMock()\n"))
    replaced = "def test(monkeypatch):\n    monkeypatch.setattr('a.b', 1)\n"
    assert any("mocks per 1000" in one for one in problems(tmp_path, "", tests + replaced))


def test_too_few_tests(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "src" / "one.py").write_text("x = 1\n" * 10)
    (tmp_path / "tests" / "test_one.py").write_text("assert True\n" * 12)
    wish = budgets()
    wish["tests"]["lines_per_source_line"] = 1.3
    found, figures = sizes.check(tmp_path, wish)
    assert found == ["tests: 1.20 lines per source line, budget 1.3 (may only be raised)"]
    assert figures.startswith("10 lines of source, 1.20 of tests to each")


def test_every_exemption_in_use_has_a_reason_of_some_length() -> None:
    for table in ("broad_catches", "local_imports", "exempt"):
        for key, reason in BUDGETS[table].items():
            assert len(reason.split()) >= 3, f"[{table}] {key}"
