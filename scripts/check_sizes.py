"""Holds the code to its budgets (scripts/budgets.toml): sizes, nesting, broad catches, how much is tested and how.

Nothing is exempted silently: an exemption stands in the budgets with its reason, and one that is not needed any more
is itself an error.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
MOCK_NAMES = {"Mock", "MagicMock", "AsyncMock", "NonCallableMock", "create_autospec", "patch", "mock_open"}
SLEEPERS = {("time", "sleep"), ("asyncio", "sleep"), ("anyio", "sleep")}


@dataclass
class Measures:
    """What was counted over all source files."""

    file_lines: list[int] = field(default_factory=list)
    function_lines: list[int] = field(default_factory=list)
    nesting: list[int] = field(default_factory=list)


@dataclass
class Report:
    """What is over its budget, and which exemptions were used."""

    budgets: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)

    def over(self, rule: str, place: str, found: float, most: float) -> None:
        """Report a measure over its budget unless it is exempt."""
        if found <= most:
            return
        key = f"{rule} {place}"
        if key in self.budgets.get("exempt", {}):
            self.used.add(("exempt", key))
            return
        self.problems.append(f"{place}: {rule.replace('_', ' ')} {found:g}, budget {most:g}")

    def allow(self, table: str, path: str, line: int, what: str) -> None:
        """Report something that only listed files may do."""
        if path in self.budgets.get(table, {}):
            self.used.add((table, path))
            return
        self.problems.append(f"{path}:{line}: {what}; if it must be, list the file under [{table}] with the reason")

    def unused(self) -> None:
        """Report exemptions that nothing needs, and those without a reason."""
        for table in ("exempt", "broad_catches", "local_imports"):
            for key, reason in self.budgets.get(table, {}).items():
                if (table, key) not in self.used:
                    self.problems.append(f"budgets.toml: [{table}] {key!r} is not needed any more: take it out")
                elif not str(reason).strip():
                    self.problems.append(f"budgets.toml: [{table}] {key!r} gives no reason")


def length(node: ast.stmt) -> int:
    """Lines from the first to the last of a definition, without its decorators and docstring."""
    body: list[ast.stmt] = getattr(node, "body", [])
    documented = bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    docstring = (body[0].end_lineno or 0) - body[0].lineno + 1 if documented else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def depth(node: ast.AST) -> int:
    """How deeply blocks are nested below `node`; an `elif` counts as its `if`, inner functions on their own."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        chained = isinstance(child, ast.If) and isinstance(node, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (1 if isinstance(child, BLOCKS) and not chained else 0))
    return deepest


def parameters(function: Function) -> int:
    """How many parameters a caller has to think of."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (1 if names and names[0] in ("self", "cls") else 0)


def named(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Every function and class with its dotted name."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}{child.name}"
            yield name, child
            yield from named(child, f"{name}.")
        else:
            yield from named(child, prefix)


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Whether the handler takes any exception and does not raise it again at its end."""
    if isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None:
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )


def check_definition(place: str, node: Function | ast.ClassDef, report: Report, measures: Measures) -> None:
    """Hold one function or class to its budgets."""
    budget = report.budgets["source"]
    if isinstance(node, ast.ClassDef):
        report.over("class_lines", place, length(node), budget["class_lines"])
        public = [one for one in node.body if isinstance(one, Function) and not one.name.startswith("_")]
        report.over("public_methods", place, len(public), budget["public_methods"])
        return
    measures.function_lines.append(length(node))
    measures.nesting.append(depth(node))
    report.over("function_lines", place, length(node), budget["function_lines"])
    report.over("nesting", place, depth(node), budget["nesting"])
    report.over("parameters", place, parameters(node), budget["parameters"])


def check_source(path: str, text: str, report: Report, measures: Measures) -> None:
    """Hold one source file to its budgets."""
    lines = text.count("\n")
    measures.file_lines.append(lines)
    report.over("file_lines", path, lines, report.budgets["source"]["file_lines"])
    tree = ast.parse(text)
    for name, node in named(tree):
        check_definition(f"{path}::{name}", node, report, measures)
        if isinstance(node, Function):
            inside = [one for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)]
            for statement in inside[:1]:
                report.allow("local_imports", path, statement.lineno, "imports inside a function")
    for handler in (one for one in ast.walk(tree) if isinstance(one, ast.ExceptHandler) and catches_everything(one)):
        report.allow("broad_catches", path, handler.lineno, "catches every exception")


def percentile(values: list[int], share: float) -> int:
    """The value that `share` of all values do not exceed."""
    ordered = sorted(values) or [0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def is_mock(node: ast.AST) -> bool:
    """Whether a node makes a mock or replaces something by a stand-in."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        owner = called.value.id if isinstance(called.value, ast.Name) else ""
        return called.attr in MOCK_NAMES or (owner == "monkeypatch" and called.attr in ("setattr", "setitem"))
    return isinstance(called, ast.Name) and called.id in MOCK_NAMES


def is_sleep(node: ast.AST) -> bool:
    """Whether a node sleeps for a time; `sleep(0)` only gives way."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    gives_way = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
    return (owner, node.func.attr) in SLEEPERS and not gives_way


def code_lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(1 for line in text.splitlines() if line.strip())


def check_tests(source: dict[str, str], tests: dict[str, str], report: Report) -> str:
    """Hold the tests to their budgets; returns the figures in words."""
    budget = report.budgets["tests"]
    tested, written = sum(map(code_lines, source.values())), sum(map(code_lines, tests.values()))
    nodes = [node for text in tests.values() for node in ast.walk(ast.parse(text))]
    per_thousand = 1000 / max(written, 1)
    mocks, sleeps = sum(map(is_mock, nodes)) * per_thousand, sum(map(is_sleep, nodes)) * per_thousand
    ratio = written / max(tested, 1)
    if ratio < budget["lines_per_source_line"]:
        report.problems.append(
            f"tests: {ratio:.2f} lines per source line, budget {budget['lines_per_source_line']:g} (may only be raised)"
        )
    report.over("mocks_per_1000_lines", "tests", mocks, budget["mocks_per_1000_lines"])
    report.over("sleeps_per_1000_lines", "tests", sleeps, budget["sleeps_per_1000_lines"])
    return f"{tested} lines of source, {ratio:.2f} of tests to each; per 1,000: {mocks:.1f} mocks, {sleeps:.1f} sleeps"


def read_tree(folder: Path, root: Path) -> dict[str, str]:
    """Every Python file below a folder by its path in the repository."""
    return {str(path.relative_to(root)): path.read_text() for path in sorted(folder.rglob("*.py"))}


def check(root: Path, budgets: dict[str, Any]) -> tuple[list[str], str]:
    """All problems of a checkout, and its figures in words."""
    source, tests = read_tree(root / "src", root), read_tree(root / "tests", root)
    report, measures = Report(budgets), Measures()
    for path, text in source.items():
        check_source(path, text, report, measures)
    for rule in ("file_lines", "function_lines", "nesting"):
        p90 = percentile(getattr(measures, rule), 0.9)
        report.over(f"{rule}_p90", "src", p90, budgets["source"][f"{rule}_p90"])
    figures = check_tests(source, tests, report)
    report.unused()
    return report.problems, figures


def main() -> int:
    """Print what is over its budget; exit 1 if anything is."""
    problems, figures = check(ROOT, tomllib.loads((ROOT / "scripts" / "budgets.toml").read_text()))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(figures)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
