"""API tokens: `token create | list | revoke`."""

from typing import Annotated

from cyclopts import Parameter

from rota.cli import times
from rota.cli.common import Show
from rota.cli.connection import Server
from rota.cli.failures import make_app
from rota.cli.terminal import Cell, plain
from rota.settings.values import host_zone

token = make_app("rota token", "Tokens for programs that use the API.")


@token.command
def create(
    *,
    scope: Annotated[list[str], Parameter(negative="", help="read, write, admin or metrics; repeatable.")] = ["read"],  # noqa: B006 — never changed
    name: Annotated[str, Parameter(help="What it is for.")] = "cli",
    expires: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="When it ends: 90d, 2027-01-01 (default: never).")
    ] = None,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Make a token. stdout gets only its text, which is never shown again.

    rota token create --name ci --scope write --expires 90d
    """
    screen = show.screen()
    end = times.future(expires, show.times(screen).now, times.zone(host_zone())) if expires else None
    with server.connect() as rota:
        made = rota.run(rota.api.system.create_token(name, scope, end))
    if show.is_data:
        show.emit(screen, made)
        return 0
    screen.line(made["token"])
    screen.talk(f"token {made['id']} ({', '.join(made['scopes'])}) is shown this once", "dim")
    screen.next_step(f"rota token revoke {made['id']} ends it")
    return 0


@token.command(name="list")
def list_(*, server: Server = Server(), show: Show = Show()) -> int:
    """List tokens, newest first; their texts are not kept."""
    with server.connect() as rota:
        page = rota.run(rota.api.system.read("/tokens"))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, page)
        return 0
    moments = show.times(screen)
    rows = [
        [
            one["id"],
            one["name"],
            ",".join(one["scopes"]),
            moments.away(one["created"]),
            moments.away(one["last_used"]) or "never",
            Cell("revoked", "dim") if one["revoked"] else moments.away(one["expires"]) or "never",
        ]
        for one in page["items"]
    ]
    screen.table(["TOKEN", "NAME", "SCOPES", "CREATED", "USED", "ENDS"], rows)
    return 0


@token.command
def revoke(
    token_id: Annotated[str, Parameter(help="Its id, as rota token list shows it.")],
    /,
    *,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """End a token at once."""
    with server.connect() as rota:
        ended = rota.run(rota.api.system.revoke_token(token_id))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, ended)
    else:
        screen.line(f"token {plain(ended['id'])} ({plain(ended['name'])}) is revoked")
    return 0
