"""Keeping a password that was typed into a command out of the list of processes, which everybody there sees."""

import os
import sys

from rota.settings.database import VARIABLE, DatabaseUrl
from rota.settings.readers import Wrong


def hide_password(database: str | None, variable: str = VARIABLE) -> None:
    """Begin this process anew, with the address in its environment, if its command line shows a password.

    The environment is seen by the same user only. Where the command line is not ours (tests call commands inside
    their own process), nothing is done.
    """
    if database is None or database not in " ".join(sys.orig_argv):
        return
    try:
        if not DatabaseUrl(database).has_password:
            return
    except Wrong:
        return
    arguments = without(sys.orig_argv, database)
    if arguments is None:
        return
    os.environ[variable] = database
    os.execv(sys.executable, arguments)  # noqa: S606 — ourselves


def without(arguments: list[str], database: str) -> list[str] | None:
    """The command line without `--database URL`; None when it is not there as that."""
    for place, one in enumerate(arguments):
        if one == f"--database={database}":
            return arguments[:place] + arguments[place + 1 :]
        if one == "--database" and arguments[place + 1 : place + 2] == [database]:
            return arguments[:place] + arguments[place + 2 :]
    return None
