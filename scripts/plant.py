"""Plants bugs: applies each patch of planted/ to a copy of the repository and looks whether the tests catch it.

python scripts/plant.py                 every bug, by the tests that its patch names
python scripts/plant.py 07 spool        only those whose names contain one of these words
python scripts/plant.py --whole 07      by the whole suite
python scripts/plant.py --page          writes the table in docs/explanation/planted-bugs.md; --page --check compares

A patch begins with `Bug:`, `Breaks:` and one `Caught by:` line for each test, or command, that must fail. Before any
bug is planted all of them must pass. A bug is caught when each of them fails, by the assertions of tests: a patch that
breaks an import, or the collection of tests, proves nothing and is reported as such.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "planted-bugs.md"
BEGIN: Final = "<!-- begin: written by scripts/plant.py -->"
END: Final = "<!-- end -->"
AT_ONCE: Final = 2
PATIENCE: Final = 400.0  # seconds for the tests of one bug; some bugs make a test hang until its own time limit
WHOLE_PATIENCE: Final = 3600.0
# What speaks of the patches themselves, and would notice any of them.
OF_PATCHES: Final = ("tests/repo/test_planted.py",)
PYTEST: Final = ("-m", "pytest", "-p", "no:randomly", "-o", "addopts=", "-q", "-p", "no:cacheprovider", "--timeout=60")


class BadPatch(Exception):
    """A patch without what must be said of it."""


@dataclass(frozen=True, kw_only=True)
class Bug:
    """One patch, and what it says of itself."""

    path: Path
    text: str
    breaks: str
    tests: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def name(self) -> str:
        """The patch's name, as it is told."""
        return self.path.stem

    @property
    def catchers(self) -> tuple[str, ...]:
        """All that must fail."""
        return (*self.tests, *self.commands)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one bug."""

    bug: Bug
    word: str  # "caught", or why not
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_caught(self) -> bool:
        """Whether all that should notice it did."""
        return self.word == CAUGHT


CAUGHT: Final = "caught"
NOT_CAUGHT: Final = "NOT CAUGHT"
DOES_NOT_APPLY: Final = "does not apply"
BROKEN: Final = "breaks more than it plants"


# ── patches ──────────────────────────────────────────────────────────────────────────────────────────────


def read_bug(path: Path) -> Bug:
    """The bug of one patch; raises BadPatch when its head is not complete."""
    said: dict[str, list[str]] = {"Bug": [], "Breaks": [], "Caught by": []}
    for line in path.read_text().splitlines():
        if line.startswith(("diff ", "--- ")):
            break
        key, _, value = line.partition(":")
        if key in said:
            said[key].append(value.strip())
        elif line.strip():
            raise BadPatch(f"{path.name}: expected Bug:, Breaks: or Caught by: before the patch, not {line!r}")
    if len(said["Bug"]) != 1 or len(said["Breaks"]) != 1 or not said["Caught by"]:
        raise BadPatch(f"{path.name}: it needs one Bug:, one Breaks: and at least one Caught by:")
    catchers = said["Caught by"]
    return Bug(
        path=path,
        text=said["Bug"][0],
        breaks=said["Breaks"][0],
        tests=tuple(one for one in catchers if one.startswith("tests/")),
        commands=tuple(one for one in catchers if not one.startswith("tests/")),
    )


def all_bugs() -> list[Bug]:
    """Every planted bug, in order of name."""
    return [read_bug(path) for path in sorted((ROOT / "planted").glob("*.patch"))]


def apply(bug: Bug, folder: Path, *, only_check: bool = False) -> str:
    """Apply a bug's patch in `folder`, or only see whether it would; returns why it does not apply, "" when it does."""
    command = ["git", "apply", *(["--check"] if only_check else []), str(bug.path)]
    # Without a repository of its own the folder is not to be taken for a part of one around it.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or "git apply failed"


# ── the copy ─────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def copy_of_repository() -> Iterator[Path]:
    """A temporary copy of the working tree: what git tracks, and new files that it does not ignore."""
    root = ROOT
    listing = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="rota-planted-") as name:
        folder = Path(name)
        for relative in filter(None, names):
            if (root / relative).is_file():
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / relative, folder / relative)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        yield folder


def environment_of(folder: Path) -> dict[str, str]:
    """The environment in which the copy's sources come before the installed ones."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder)]), "PYTHONHASHSEED": "0"}


def imports_from(folder: Path) -> str:
    """Why the copy's own package cannot be used, "" when it is the one that is imported."""
    code = "import rota, rota.wiring.up, rota.wiring.worker, tests; print(rota.__file__, *tests.__path__)"
    done = run([sys.executable, "-c", code], folder, 60.0)
    if done.returncode != 0:
        return _last_line(done.stderr)
    strange = [path for path in done.stdout.split() if not Path(path).resolve().is_relative_to(folder.resolve())]
    return f"the tests would run {strange[0]}, not the copy" if strange else ""


def run(command: Sequence[str], folder: Path, patience: float) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy; one that takes too long is ended with all it started, and counts as failed."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment_of(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(command, 1, stdout, f"{stderr}\nno end after {patience:g} s")
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


def failures_of(tests: Sequence[str], folder: Path, *options: str) -> dict[str, str]:
    """What failed of these tests, by test, with the last word of each; raises RuntimeError when they did not run."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    done = run([sys.executable, *PYTEST, f"--junitxml={report}", *options, *tests], folder, PATIENCE)
    if done.returncode not in (0, 1):
        raise RuntimeError(_last_line(done.stdout) or _last_line(done.stderr))
    if not report.exists():
        return dict.fromkeys(tests, _last_line(done.stderr))  # it hung for longer than any test may
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        for outcome in (*case.iter("failure"), *case.iter("error")):
            path = (case.get("classname") or "").replace(".", "/") + ".py"
            found[f"{path}::{case.get('name')}"] = (outcome.get("message") or "").splitlines()[0][:160]
    return found


def unnoticed(bug: Bug, folder: Path) -> tuple[list[str], str]:
    """Which of the bug's catchers do not fail in the copy, and what the first that does says."""
    failed = failures_of(bug.tests, folder) if bug.tests else {}
    silent = [test for test in bug.tests if not any(_is_of(case, test) for case in failed)]
    words = next(iter(failed.values()), "")
    for command in bug.commands:
        done = run(_argv(command), folder, PATIENCE)
        if done.returncode == 0:
            silent.append(command)
        elif done.returncode != 1:
            raise RuntimeError(_last_line(done.stderr))
        else:
            words = words or (done.stderr.strip().splitlines() or [""])[0][:160]
    return silent, words


def plant(bug: Bug, *, whole: bool) -> Verdict:
    """Plant one bug in a copy, and look who notices."""
    began = time.monotonic()
    with copy_of_repository() as folder:
        word, detail = _judge(bug, folder, whole=whole)
    return Verdict(bug=bug, word=word, detail=detail, seconds=time.monotonic() - began)


def _judge(bug: Bug, folder: Path, *, whole: bool) -> tuple[str, str]:
    """The verdict on a bug in a fresh copy, with what explains it."""
    if why := apply(bug, folder):
        return DOES_NOT_APPLY, why
    if why := imports_from(folder):
        return BROKEN, why
    try:
        if whole:
            return _judge_by_all(folder)
        silent, words = unnoticed(bug, folder)
    except RuntimeError as error:
        return BROKEN, str(error)
    return (NOT_CAUGHT, "silent: " + ", ".join(silent)) if silent else (CAUGHT, words)


def _judge_by_all(folder: Path) -> tuple[str, str]:
    """The verdict of the whole suite."""
    ignored = [f"--ignore={path}" for path in OF_PATCHES]
    done = run([sys.executable, *PYTEST, "-n", str(AT_ONCE), "--maxfail=1", *ignored], folder, WHOLE_PATIENCE)
    if done.returncode == 0:
        return NOT_CAUGHT, "the whole suite passes"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return CAUGHT, failed[0] if failed else _last_line(done.stdout)


def check_unpatched(bugs: Sequence[Bug]) -> list[str]:
    """What fails without any bug: tests that would prove nothing."""
    tests = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
    commands = list(dict.fromkeys(command for bug in bugs for command in bug.commands))
    with copy_of_repository() as folder:
        if why := imports_from(folder):
            return [why]
        try:
            parallel = ("-n", str(AT_ONCE)) if len(tests) > AT_ONCE else ()  # starting takes longer than a few tests
            failed = failures_of(tests, folder, *parallel) if tests else {}
        except RuntimeError as error:
            return [f"the tests do not run: {error}"]
        problems = [f"{test}: {words}" for test, words in failed.items()]
        for command in commands:
            done = run(_argv(command), folder, PATIENCE)
            if done.returncode != 0:
                problems.append(f"{command}: {_last_line(done.stderr)}")
    return problems


def _is_of(case: str, test: str) -> bool:
    """Whether a case that was run is one of a test, which may be named without its parameters."""
    return case == test or case.startswith(f"{test}[")


def _argv(command: str) -> list[str]:
    """A command as it is run; `python` is the one that runs this."""
    words = shlex.split(command)
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────


def table(bugs: Sequence[Bug]) -> str:
    """One row per bug, between the marks of the page."""
    lines = [BEGIN, "", "| | Bug | Breaks | Caught by |", "|---|---|---|---|"]
    for bug in bugs:
        catchers = "<br>".join(f"`{one}`" for one in bug.catchers)
        number = bug.name.partition("-")[0]
        lines.append(f"| {number} | {_cell(bug.text)} | {_cell(bug.breaks)} | {_cell(catchers)} |")
    return "\n".join([*lines, "", END])


def updated(page: str, bugs: Sequence[Bug]) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + table(bugs) + after


def write_page(*, only_check: bool) -> int:
    """Write the page, or only compare it."""
    page = PAGE.read_text()
    now = updated(page, all_bugs())
    if not only_check:
        PAGE.write_text(now)
    elif page != now:
        print(f"{PAGE} is not in step with planted/; run: python scripts/plant.py --page", file=sys.stderr)
        return 1
    return 0


def _cell(text: str) -> str:
    """Text as a table cell; a bar would end it."""
    return text.replace("|", "\\|")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def tell(verdict: Verdict) -> None:
    """One line, and what explains it."""
    print(f"{verdict.word:<15} {verdict.bug.name}  ({verdict.seconds:.0f} s)", flush=True)
    if verdict.detail:
        print(f"                {verdict.detail}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Plant what was asked for; 1 when something is not caught."""
    options = _parser().parse_args(arguments)
    if options.page:
        return write_page(only_check=options.check)
    words: list[str] = options.names
    bugs = [bug for bug in all_bugs() if not words or any(word in bug.name for word in words)]
    if not bugs:
        print("no planted bug has such a name", file=sys.stderr)
        return 1
    if not options.whole and (problems := check_unpatched(bugs)):
        print("without any bug planted, these fail and so prove nothing:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    verdicts: list[Verdict] = []
    at_once = 1 if options.whole else AT_ONCE  # the whole suite takes both cores by itself
    with ThreadPoolExecutor(at_once) as pool:
        for verdict in pool.map(lambda bug: plant(bug, whole=options.whole), bugs):
            tell(verdict)
            verdicts.append(verdict)
    missed = [verdict for verdict in verdicts if not verdict.is_caught]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} planted bugs are caught")
    for verdict in missed:
        print(f"  {verdict.word}: {verdict.bug.name} — {verdict.bug.text}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/plant.py", description="Plant bugs and look who notices.")
    parser.add_argument("names", nargs="*", help="words in the names of the bugs to plant (default: all)")
    parser.add_argument("--whole", action="store_true", help="let the whole suite look, not only the tests named")
    parser.add_argument("--page", action="store_true", help="write the table of the page")
    parser.add_argument("--check", action="store_true", help="with --page: only compare")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
