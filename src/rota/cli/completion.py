"""`completion SHELL`: verbs and their options, for bash, zsh and fish."""

import importlib
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from rota.cli.failures import make_app
from rota.cli.main import VERBS

_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/rota",
    "zsh": "a folder of $fpath, named _rota",
    "fish": "~/.config/fish/completions/rota.fish",
}


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")], /) -> int:
    """Print the completion script of a shell.

    rota completion bash > ~/.local/share/bash-completion/completions/rota
    """
    script = whole_app().generate_completion(shell=shell)
    print(f"# Completion of rota for {shell}; belongs into {_PLACES[shell]}")  # noqa: T201 — the data of this command
    print(script)  # noqa: T201
    return 0


def whole_app() -> App:
    """All verbs as one application; only completion needs them together."""
    app = make_app("rota")
    for name, verb in VERBS.items():
        command: Any = getattr(importlib.import_module(f"rota.cli.{verb.module}"), verb.function)
        if name == "explain":
            command = _explain(command)
        app.command(command, name=name)
    return app


def _explain(codes: Any) -> App:
    """The two verbs `explain CODE` and `explain cron` as one."""
    app = make_app("explain")
    app.default(codes)
    app.command(importlib.import_module("rota.cli.cron").cron)
    return app
