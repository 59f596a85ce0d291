"""Small files that only their owner may read (tokens, keys), written so that a power cut leaves the old or the new."""

import os
import secrets
import stat
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, never readable by others in between, and make it last."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def others_can_read(path: Path) -> bool:
    """Whether anybody but the owner may read or change the file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _sync_folder(folder: Path) -> None:
    """Make the new name last: a file is only found after a power cut when its folder was written too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
