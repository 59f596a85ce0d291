"""The core imports the standard library's pure parts and msgspec, whatever dependencies are added one day."""

import ast
import sys

import pytest
from repo_scripts import ROOT

CORE = sorted((ROOT / "src" / "rota" / "core").glob("*.py"))
IMPURE = {"asyncio", "logging", "os", "select", "signal", "socket", "sqlite3", "subprocess", "sys", "threading", "time"}
AMBIENT = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("uuid", "uuid4")}


def imported(tree: ast.AST) -> set[str]:
    """The top packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name if name.startswith("rota.core") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_module_is_pure(path: object) -> None:
    tree = ast.parse(path.read_text())  # type: ignore[attr-defined]
    foreign = {name for name in imported(tree) if not name.startswith("rota.core")}
    assert foreign - {"msgspec", "tzdata"} <= set(sys.stdlib_module_names) - IMPURE


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_module_asks_no_clock_and_no_chance(path: object) -> None:
    tree = ast.parse(path.read_text())  # type: ignore[attr-defined]
    called = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not called & AMBIENT
    assert not {attribute for owner, attribute in called if owner == "random"} - {"Random"}
