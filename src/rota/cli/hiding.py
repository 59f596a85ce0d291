"""Keeping a password that was typed into a command out of the list of processes, which everybody there sees."""

import os
import sys
from collections.abc import Mapping

from rota.settings.database import VARIABLE, DatabaseUrl
from rota.settings.readers import Wrong


def hide_password(database: str | None, variable: str = VARIABLE) -> None:
    """Begin this process anew, with the address in its environment, if its command line shows a password.

    The environment is seen by the same user only. Where the command line is not ours (tests call commands inside
    their own process), nothing is done.
    """
    if database is None or not _is_telling(database):
        return
    arguments = without(sys.orig_argv, database)
    if arguments is None:
        return
    os.environ[variable] = database
    os.execv(sys.executable, arguments)  # noqa: S606 — ourselves


def hide_passwords(databases: Mapping[str, str]) -> dict[str, str]:
    """As `hide_password`, for addresses that are arguments by themselves: variable → address as it was typed.

    The list of processes then shows them without their passwords. Returns the whole addresses.
    """
    telling = {variable: text for variable, text in databases.items() if _is_telling(text)}
    hidden = {text: DatabaseUrl(text).shown for text in telling.values()}
    if telling and hidden.keys() <= set(sys.orig_argv):
        os.environ.update(telling)
        os.execv(sys.executable, [hidden.get(one, one) for one in sys.orig_argv])  # noqa: S606 — ourselves
    return {variable: _whole(text, os.environ.get(variable)) for variable, text in databases.items()}


def without(arguments: list[str], database: str) -> list[str] | None:
    """The command line without `--database URL`; None when it is not there as that."""
    for place, one in enumerate(arguments):
        if one == f"--database={database}":
            return arguments[:place] + arguments[place + 1 :]
        if one == "--database" and arguments[place + 1 : place + 2] == [database]:
            return arguments[:place] + arguments[place + 2 :]
    return None


def _is_telling(text: str) -> bool:
    """Whether our command line shows it, and a password with it."""
    if text not in " ".join(sys.orig_argv):
        return False
    try:
        return DatabaseUrl(text).has_password
    except Wrong:
        return False


def _whole(shown: str, hidden: str | None) -> str:
    """The address that is shown so: the hidden one, if it is that."""
    try:
        return hidden if hidden and DatabaseUrl(hidden).shown == shown else shown
    except Wrong:
        return shown
