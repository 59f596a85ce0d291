"""What an attempt's process is given: its environment and its folders. Nothing of the worker's own leaks in."""

import functools
import os
import pwd
import re
import shutil

import msgspec

from rota.wire.messages import AttemptOrder
from rota.worker.settings import WorkerSettings
from rota.worker.shortage import descriptor_shortage

DEFAULT_PATH = "/usr/bin:/bin"
SHELL = "/bin/sh"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


class Identity(msgspec.Struct, frozen=True):
    """The user whom a process runs as."""

    name: str
    home: str
    uid: int
    gid: int
    switch: bool  # whether it is another user than the worker's


class UserRefused(Exception):
    """This worker does not run jobs as that user."""


def identity_of(user: str | None, settings: WorkerSettings) -> Identity:
    """Whom the attempt runs as; raise UserRefused with the way to allow it, OSError when it cannot be looked up now."""
    if user is None:
        return _own_identity()
    if user not in settings.allowed_users:
        allowed = f"allowed: {', '.join(settings.allowed_users)}" if settings.allowed_users else "it allows none"
        raise UserRefused(
            f"user: {user} is not allowed on worker {settings.name} ({allowed}); "
            f"add {user} to allowed_users in the worker's settings"
        )
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        _check_database()
        raise UserRefused(f"user: {user} does not exist on the machine of worker {settings.name}") from None
    if entry.pw_uid == os.getuid():
        return Identity(entry.pw_name, entry.pw_dir, entry.pw_uid, entry.pw_gid, switch=False)
    if os.getuid() != 0:
        raise UserRefused(
            f"user: {user} needs a worker that runs as root, and this one runs as uid {os.getuid()}; "
            f"start the worker as root, or start one as {user} and drop `user:`"
        )
    return Identity(entry.pw_name, entry.pw_dir, entry.pw_uid, entry.pw_gid, switch=True)


@functools.cache
def _own_identity() -> Identity:
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        _check_database()
        return Identity(str(uid), os.environ.get("HOME", "/"), uid, os.getgid(), switch=False)
    return Identity(entry.pw_name, entry.pw_dir, uid, entry.pw_gid, switch=False)


def _check_database() -> None:
    """Raise OSError when a user was not found because nothing can be opened to look him up in."""
    number = descriptor_shortage()
    if number is not None:
        raise OSError(number, f"{os.strerror(number)}, so the user database cannot be read")


def is_forbidden(name: str) -> bool:
    """Names that a job may not set: they would change the programs themselves, or Rota's own words."""
    return name.startswith(("LD_", "ROTA_")) or name == "BASH_ENV" or not name or "=" in name


def base_environment(identity: Identity) -> dict[str, str]:
    """What cron would give a process of this user."""
    return {
        "HOME": identity.home,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": SHELL,
        "PATH": DEFAULT_PATH,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }


def attempt_environment(order: AttemptOrder, worker: str, out: str) -> dict[str, str]:
    """The job's own part and Rota's words; Rota's cannot be overridden."""
    environment = {name: value for name, value in order.env.items() if not is_forbidden(name)}
    environment |= {name: value for name, value in order.secrets.items() if not is_forbidden(name)}
    for name, value in order.params.items():
        environment[f"ROTA_PARAM_{_NOT_IN_NAMES.sub('_', name).upper()}"] = value
    environment |= {
        "ROTA_RUN_ID": order.run_id,
        "ROTA_JOB": order.job,
        "ROTA_DUE": order.due.isoformat().replace("+00:00", "Z"),
        "ROTA_ATTEMPT": str(order.attempt),
        "ROTA_FENCE": str(order.fence),
        "ROTA_WORKER": worker,
        "ROTA_OUT": out,
    }
    return environment


def working_folder(cwd: str, identity: Identity) -> str:
    """`cwd:` with `~` meaning the home of the user it runs as."""
    if cwd == "~" or cwd.startswith("~/"):
        return identity.home + cwd[1:]
    return cwd


def as_user(argv: list[str], identity: Identity) -> list[str]:
    """Put `setpriv` in front when the process runs as another user."""
    if not identity.switch:
        return argv
    program = shutil.which("setpriv") or "/usr/bin/setpriv"
    return [program, f"--reuid={identity.uid}", f"--regid={identity.gid}", "--init-groups", "--", *argv]
