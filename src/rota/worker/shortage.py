"""What an attempt needs of its machine and cannot get for now: room on a disk, open files, memory, processes.

It says nothing about the job. An attempt that meets it goes back unstarted, and the worker asks for none of its kind
for a while: a machine that fails whatever it is given, at once, would otherwise have room for all the work there is.
"""

import errno
import os
from typing import Final

SHORT_SECONDS: Final = 5.0  # before attempts of the kind are tried again

_SHORTAGES: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EAGAIN,  # no more processes for this user
    }
)


def is_shortage(number: int | None) -> bool:
    """Whether the system's error of this number means that the machine is short of something."""
    return number in _SHORTAGES


def descriptor_shortage() -> int | None:
    """The system's error if this process can open nothing more; for libraries that do not say why they found nothing.

    What they lacked may be there again, and then it is as if it had always been.
    """
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        return error.errno if is_shortage(error.errno) else None
    return None
