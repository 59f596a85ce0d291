"""The command `rota`: finds the verb, loads its module alone, and turns every outcome into an exit code.

Only the module of the verb is imported, so that `rota --help` and offline verbs start at once. Errors are said in
words with what to do; a traceback is shown with --debug only.
"""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

INTERRUPTED: Final = 130
USAGE: Final = 2
UNEXPECTED: Final = 1


class Verb(NamedTuple):
    """A verb: the module that knows it, its function there, and one line about it."""

    module: str
    function: str
    help: str


class Group(NamedTuple):
    """A heading of the overview."""

    title: str
    verbs: dict[str, Verb]


GROUPS: Final = (
    Group(
        "Begin",
        {
            "up": Verb("up", "up", "Server, worker and pages in one process"),
            "server": Verb("server", "server", "One of several servers over a database"),
            "worker": Verb("worker", "worker", "A worker that dials to servers"),
            "new": Verb("files", "new", "Write a commented job file"),
            "import": Verb("imports", "import_", "Turn a crontab into a job file"),
            "open": Verb("open", "open_", "A new login link for the browser"),
            "doctor": Verb("doctor", "doctor", "Look at the installation"),
            "move": Verb("move", "move", "Carry everything into another database"),
        },
    ),
    Group(
        "Change",
        {
            "check": Verb("files", "check", "Check job files; needs no server"),
            "plan": Verb("changes", "plan", "Show what applying them would change"),
            "apply": Verb("changes", "apply", "Apply job files, all or nothing"),
            "pause": Verb("jobs", "pause", "Stop planning a job"),
            "resume": Verb("jobs", "resume", "Plan it again"),
            "secret": Verb("secret", "secret", "Set, list and remove secrets"),
            "token": Verb("token", "token", "Create, list and revoke tokens"),
        },
    ),
    Group(
        "Run",
        {
            "run": Verb("run", "run", "Run a job now, or at a time"),
            "cancel": Verb("run", "cancel", "End a run"),
            "retry": Verb("run", "retry", "Run again what a run was for"),
        },
    ),
    Group(
        "Look",
        {
            "ls": Verb("jobs", "ls", "List jobs"),
            "runs": Verb("runs", "runs", "List runs"),
            "next": Verb("jobs", "next_", "What runs next"),
            "show": Verb("show", "show", "Show a job, a run or a worker"),
            "logs": Verb("logs", "logs", "Show or follow what a run wrote"),
            "why": Verb("why", "why", "Why it did or did not run"),
            "workers": Verb("workers", "workers", "List workers; revoke one"),
            "alerts": Verb("alerts", "alerts", "List messages and conditions; send a test"),
            "explain": Verb("explain", "explain", "Explain a cron expression or a code"),
        },
    ),
    Group("Shell", {"completion": Verb("completion", "completion", "Completion for bash, zsh or fish")}),
)
VERBS: Final = {name: verb for group in GROUPS for name, verb in group.verbs.items()}
# Verbs of two words, where the second has a module of its own because it must start quickly.
PAIRS: Final = {("explain", "cron"): Verb("cron", "cron", "Explain a schedule")}
# What people type who know other programs, which looks like something else or like nothing.
MEANT: Final = {
    "status": "ls",
    "list": "ls",
    "jobs": "ls",
    "ps": "runs",
    "history": "runs",
    "start": "run",
    "trigger": "run",
    "stop": "cancel",
    "kill": "cancel",
    "rerun": "retry",
    "describe": "show",
    "inspect": "show",
    "validate": "check",
    "diff": "plan",
    "deploy": "apply",
    "create": "new",
    "delete": "apply --prune",
    "disable": "pause",
    "enable": "resume",
    "login": "open",
}
_EXAMPLES: Final = """\
  rota up                                       start here, and open the printed link
  rota new web/fetch                            write a job file
  rota check jobs.yaml && rota apply jobs.yaml  check it, apply it
  rota run web/fetch --wait                     run it now and wait for the end
  rota next                                     what runs next
  rota why web/fetch --at 03:00                 why it did or did not run"""


def main() -> NoReturn:
    """The entry point of the command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code and raises nothing."""
    try:
        code = _dispatch(list(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has enough of it. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if len(arguments) > 1 and arguments[0] == "help" and arguments[1] in VERBS:
            return _guarded(arguments[1], ["--help"])
        sys.stdout.write(overview())
        return 0 if arguments else USAGE
    if arguments[0] in ("-V", "--version", "version"):
        sys.stdout.write(f"rota {importlib.import_module('rota').__version__}\n")
        return 0
    if arguments[0] not in VERBS:
        return _unknown(arguments[0])
    return _guarded(arguments[0], arguments[1:])


def _unknown(word: str) -> int:
    """Not a verb: say the nearest one."""
    shown = "".join(char if char.isprintable() else "·" for char in word[:60])
    close = difflib.get_close_matches(word, [*VERBS, *MEANT], n=1, cutoff=0.6)
    nearest = f'did you mean "rota {MEANT.get(close[0], close[0])}"?' if close else "rota --help shows all"
    sys.stderr.write(f'error: there is no verb "{shown}"\n  = {nearest}\n')
    return USAGE


def _guarded(name: str, arguments: list[str]) -> int:
    """Run a verb; what goes wrong becomes words and a code."""
    verb, pair = VERBS[name], (name, *arguments[:1])
    if pair in PAIRS:
        verb, name, arguments = PAIRS[pair], " ".join(pair), arguments[1:]
    failures = importlib.import_module("rota.cli.failures")
    try:
        command: Callable[..., Any] = getattr(importlib.import_module(f"rota.cli.{verb.module}"), verb.function)
        return int(failures.call(name, command, arguments) or 0)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 — the edge of the program: no traceback unless it is asked for
        if "--debug" in arguments:
            sys.stderr.write(traceback.format_exc())
        return int(failures.complain(error))


def overview() -> str:
    """What `rota --help` says: examples first, then all verbs."""
    lines = ["rota: cron that scales out, and tells you", "", _EXAMPLES]
    for group in GROUPS:
        lines += ["", group.title]
        lines += [f"  {name:<11} {verb.help}" for name, verb in group.verbs.items()]
    lines += ["", "rota VERB --help shows a verb's options. Exit codes: docs/reference/cli.md", ""]
    return "\n".join(lines)
