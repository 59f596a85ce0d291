"""Calling a verb, and saying what went wrong: what happened, where, why, what to do; then the exit code."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from rota.cli import exits
from rota.cli.terminal import plain
from rota.core.errors import RotaError


def call(name: str, command: Callable[..., Any] | App, arguments: Sequence[str]) -> int | None:
    """Parse the arguments of a verb and run it."""
    if isinstance(command, App):
        app = command
    else:
        app = make_app(f"rota {name}")
        app.default(command)
    result = app(list(arguments), exit_on_error=False, print_error=False)
    return result if isinstance(result, int) else None


def make_app(name: str, summary: str = "") -> App:
    """A parser that shows help as plain text and leaves errors to us."""
    app = App(
        name=name,
        help=summary or None,
        help_format="plaintext",
        help_flags=["--help", "-h"],
        version_flags=[],
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(show_default=False),
    )
    app["--help"].show = False
    return app


def complain(error: Exception) -> int:
    """Say what went wrong on stderr; returns the exit code."""
    if isinstance(error, CycloptsError):
        _say("error", _usage(error), "--help shows what can be given")
        return exits.USAGE
    if isinstance(error, RotaError):
        _rota_error(error)
        return exits.exit_code(error)
    _say("internal error", f"{type(error).__name__}: {error}", "run it again with --debug to see where")
    return exits.UNEXPECTED


def _rota_error(error: RotaError) -> None:
    """An error of ours, with what the server said of it."""
    code = error.facts.get("code") or error.code
    _say(f"error[{code}]" if code != "ERROR" else "error", error.detail, error.hint or "")
    for problem in error.facts.get("problems", [])[:50]:
        where = problem.get("path") or problem.get("job") or ""
        _say(f"  {problem.get('code', '')}", f"{where}: {problem.get('message', '')}", problem.get("label", ""))
    if error.facts.get("status", 0) >= 500 and error.facts.get("request_id"):
        sys.stderr.write(f"  = request {error.facts['request_id']}\n")


def _usage(error: CycloptsError) -> str:
    """What was wrong with the arguments, on one line."""
    if isinstance(error, UnusedCliTokensError):
        return f"not understood: {' '.join(error.unused_tokens or ())[:200]}"
    return " ".join(str(error).split())


def _say(label: str, detail: str, hint: str) -> None:
    first, *rest = detail.split("\n") or [""]
    sys.stderr.write(f"{label}: {plain(first)}\n")
    for line in rest:
        sys.stderr.write(f"  {plain(line)}\n")
    if hint:
        sys.stderr.write(f"  = {plain(hint)}\n")
    sys.stderr.flush()
