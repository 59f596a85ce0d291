"""Secrets: `secret set | list | rm`. Values come from stdin or a prompt, so that no shell history keeps them."""

import getpass
import sys
from typing import Annotated

from cyclopts import Parameter

from rota.cli.common import Show
from rota.cli.connection import Server
from rota.cli.failures import make_app
from rota.cli.terminal import Cell, plain
from rota.core.errors import Invalid

Name = Annotated[str, Parameter(help="Its name, as in secrets: { ENV_NAME: NAME } of a job.")]

secret = make_app("rota secret", "Secrets that jobs are given; a value is never readable again.")


@secret.command(name="set")
def set_(name: Name, /, *, server: Server = Server(), show: Show = Show()) -> int:
    """Set or replace a secret; the value is read from stdin, or asked for.

    printf %s "$TOKEN" | rota secret set API_TOKEN
    """
    value = _value(name)
    with server.connect() as rota:
        rota.run(rota.api.system.set_secret(name, value))
    screen = show.screen()
    screen.talk(f"✓ secret {plain(name)} is set", "good")
    screen.next_step(f"secrets: {{ {plain(name)}: {plain(name)} }} in a job gives it to the job")
    return 0


@secret.command(name="list")
def list_(*, server: Server = Server(), show: Show = Show()) -> int:
    """List the names of all secrets."""
    with server.connect() as rota:
        page = rota.run(rota.api.system.read("/secrets"))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    moments = show.times(screen)
    rows = [
        [one["name"], moments.away(one["updated"]), "" if one["readable"] else Cell("made with another key", "bad")]
        for one in page["items"]
    ]
    screen.table(["SECRET", "SET", "NOTE"], rows)
    return 0


@secret.command
def rm(name: Name, /, *, server: Server = Server(), show: Show = Show()) -> int:
    """Remove a secret. Jobs that name it wait until it is set again."""
    with server.connect() as rota:
        rota.run(rota.api.system.remove_secret(name))
    show.screen().talk(f"✓ secret {plain(name)} is removed", "good")
    return 0


def _value(name: str) -> str:
    """The value, without the newline that ends it."""
    if sys.stdin.isatty():
        return getpass.getpass(f"value of {name} (not shown): ")
    try:
        value = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise Invalid("the value on stdin is not UTF-8 text", hint="encode it, for example with base64") from error
    if not value:
        raise Invalid("stdin gave no value", hint=f'printf %s "$VALUE" | rota secret set {name}')
    return value
