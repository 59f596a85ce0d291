"""`move`: carries everything from one store into another."""

from typing import Annotated, Any, Final

from cyclopts import Parameter

from rota.cli.common import Show
from rota.cli.hiding import hide_passwords
from rota.cli.terminal import Screen
from rota.settings.database import DatabaseUrl, database_url
from rota.wiring.moving import Moved, move_store

FROM_VARIABLE: Final = "ROTA_MOVE_FROM"  # where an address goes that shows a password
TO_VARIABLE: Final = "ROTA_MOVE_TO"


def move(
    source: Annotated[str, Parameter(help="Where everything is: sqlite:///.rota/rota.db")],
    destination: Annotated[str, Parameter(help="Where it goes, empty or new: postgresql://USER@HOST/NAME")],
    /,
    *,
    show: Show = Show(),
) -> int:
    """Carry everything from one store into another, while no server is at work. The first stays as it is.

    rota move sqlite:///.rota/rota.db postgresql://rota@db/rota
    """
    addresses = hide_passwords({FROM_VARIABLE: source, TO_VARIABLE: destination})
    screen = show.screen()
    one, two = database_url(addresses[FROM_VARIABLE]), database_url(addresses[TO_VARIABLE])
    moved = move_store(one, two, lambda kind, count: screen.talk(f"  {kind.value:<11} {count:>12,}", "dim"))
    if show.is_data:
        show.emit(screen, _document(two, moved))
        return 0
    told = [f"{count:,} {kind.value}" for kind, count in moved.counts.items() if count]
    screen.line(f"moved to {two.shown}: {', '.join(told)}")
    _tell_what_next(screen, two, moved)
    return 0


def _document(destination: DatabaseUrl, moved: Moved) -> dict[str, Any]:
    """What was done, for programs."""
    return {
        "destination": destination.shown,
        "moved": {kind.value: count for kind, count in moved.counts.items()},
        "secret_key_file": str(moved.key_file) if moved.key_file else None,
    }


def _tell_what_next(screen: Screen, destination: DatabaseUrl, moved: Moved) -> None:
    """What has to be done by hand: the key is in no store, and workers and servers are told where to go."""
    if moved.key_file is not None:
        screen.talk(f"The secrets need the key they were made with. Give it to every server: {moved.key_file}")
        screen.talk(f'  secret_key_file = "{moved.key_file}" in its settings, or its content in ROTA_SECRET_KEY')
    elif any(kind.value == "secrets" and count for kind, count in moved.counts.items()):
        screen.talk("The secrets need the key they were made with: give every server the same one as before")
    screen.next_step(f"ROTA_DATABASE={_typed(destination)} rota server   (all tokens stay valid)")
    screen.next_step("rota token create --join, then rota worker --server URL on each machine that runs jobs")


def _typed(destination: DatabaseUrl) -> str:
    """The address as one would type it, without its password."""
    return f"sqlite:///{destination.path}" if destination.scheme == "sqlite" else destination.shown
