"""API tokens: `token create | list | revoke`."""

import importlib
import os
from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Group, Parameter

from rota.cli import times
from rota.cli.common import Flag, Show
from rota.cli.connection import Server
from rota.cli.failures import make_app
from rota.cli.hiding import hide_password
from rota.cli.terminal import Cell, plain
from rota.core.errors import Invalid
from rota.settings.database import DatabaseUrl, find_database
from rota.settings.readers import labels
from rota.settings.values import host_zone

VARIABLE_OF_TOKENS: Final = "ROTA_TOKEN_DATABASE"  # where --database goes that shows a password

_FIRST: Final = "rota token create --database URL --scope admin (rota up makes its own anew when it starts)"

token = make_app("rota token", "Tokens for programs that use the API, and for workers that join.")


@Parameter(name="*", group=Group("Store", sort_key=10))
@dataclass(frozen=True, kw_only=True)
class Store:
    """A database that is opened without a server, for the first token of all."""

    database: str | None = None
    """postgresql://… or sqlite:///PATH: straight in the store, which is prepared if it is empty."""

    def asked_for(self) -> DatabaseUrl | None:
        """The store that is meant, if one is."""
        hide_password(self.database, VARIABLE_OF_TOKENS)
        return find_database(self.database or os.environ.get(VARIABLE_OF_TOKENS), {})


@Parameter(name="*", group=Group("Workers", sort_key=7))
@dataclass(frozen=True, kw_only=True)
class Joining:
    """A token that lets workers join."""

    join: Flag = False
    """Make a token with which workers get tokens of their own."""
    uses: int | None = None
    """How many workers may join with it (default 1)."""
    label: Annotated[list[str] | None, Parameter(negative="")] = None
    """A label those workers have, and no others, as zone=eu; repeatable."""

    def scopes(self, scope: list[str] | None) -> list[str]:
        """The scopes that are meant."""
        if self.join and scope:
            raise Invalid("a join token has no other scope", hint="leave out --scope")
        if not self.join and (self.uses is not None or self.label):
            raise Invalid("--uses and --label are those of a join token", hint="rota token create --join")
        return ["join"] if self.join else scope or ["read"]

    @property
    def labels(self) -> dict[str, str] | None:
        """The labels by name; None where none are given."""
        return labels(self.label) if self.label else None


@token.command
def create(
    *,
    scope: Annotated[
        list[str] | None, Parameter(negative="", help="read (default), write, admin or metrics; repeatable.")
    ] = None,
    name: Annotated[str, Parameter(help="What it is for.")] = "cli",
    expires: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="When it ends: 90d, 2027-01-01 (default: never; with --join 1h)."),
    ] = None,
    joining: Joining = Joining(),
    store: Store = Store(),
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Make a token. stdout gets only its text, which is never shown again.

    rota token create --name ci --scope write --expires 90d · rota token create --join --uses 10
    """
    screen = show.screen()
    end = times.future(expires, show.times(screen).now, times.zone(host_zone())) if expires else None
    scopes, given = joining.scopes(scope), joining.labels
    url = store.asked_for()
    if url is not None:
        made = _straight(url, name, scopes, expires=end, uses=joining.uses, labels=given)
    else:
        with server.connect() as rota:
            made = rota.run(rota.api.system.create_token(name, scopes, end, uses=joining.uses, labels=given))
    if show.is_data:
        show.emit(screen, made)
        return 0
    screen.line(made["token"])
    screen.talk(f"token {made['id']} ({', '.join(made['scopes'])}) is shown this once", "dim")
    if joining.join:
        screen.next_step(f"ROTA_JOIN_TOKEN=… rota worker --server URL; it ends {made['expires']}")
    else:
        screen.next_step(f"rota token revoke {made['id']} ends it")
    return 0


def _straight(url: DatabaseUrl, name: str, scopes: list[str], **more: Any) -> dict[str, Any]:
    """Make it in the store itself: the first token of all has no server to ask."""
    # Imported here: what opens a store is much, and no other use of this verb needs it.
    made = importlib.import_module("rota.wiring.tokens").create_token(url, name, scopes, **more)
    expires = made.record.expires
    return {
        "id": made.record.id,
        "name": made.record.name,
        "scopes": list(made.record.scopes),
        "expires": expires.isoformat() if expires else None,
        "token": made.text,
    }


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
            _for_what(one),
            moments.away(one["created"]),
            moments.away(one["last_used"]) or "never",
            Cell("revoked", "dim") if one["revoked"] else moments.away(one["expires"]) or "never",
        ]
        for one in page["items"]
    ]
    screen.table(["TOKEN", "NAME", "SCOPES", "CREATED", "USED", "ENDS"], rows)
    return 0


def _for_what(one: dict[str, Any]) -> str:
    """The scopes of a token; of a worker's its name, of a join token how often it can still be used."""
    scopes = ",".join(one["scopes"])
    if one["worker"]:
        return f"{scopes} {one['worker']}"
    return f"{scopes} ×{one['uses']}" if one["uses"] is not None else scopes


@token.command
def revoke(
    token_id: Annotated[str, Parameter(help="Its id, as rota token list shows it.")],
    /,
    *,
    force: Annotated[Flag, Parameter(help="Also when it is the one this command uses.")] = False,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """End a token at once."""
    with server.connect() as rota:
        is_own = rota.run(rota.api.system.read("/me"))["token_id"] == token_id
        if is_own and not force:
            raise Invalid(
                f"token {plain(token_id)} is the one this command uses; nothing was revoked",
                hint="rota token create --scope admin makes one to use instead; --force ends it all the same",
            )
        ended = rota.run(rota.api.system.revoke_token(token_id))
    screen = show.screen()
    if show.is_data:
        show.emit(screen, ended)
    else:
        screen.line(f"token {plain(ended['id'])} ({plain(ended['name'])}) is revoked")
    if is_own:
        screen.talk("! it was the token in use: the next command needs another", "warn")
        screen.next_step("with no other admin token, on the server's machine: " + _FIRST)
    return 0
