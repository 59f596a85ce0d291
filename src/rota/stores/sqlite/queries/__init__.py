"""Named SQL statements, read from the `.sql` files beside this one.

A statement begins with a line `-- name: some_name` and reaches to the next such line.
"""

import re
from importlib import resources
from types import MappingProxyType
from typing import Final

_HEAD: Final = re.compile(r"^-- name: *([a-z0-9_]+) *$", re.MULTILINE)


def load(file: str) -> MappingProxyType[str, str]:
    """The statements of `file` by name."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    parts = _HEAD.split(text)
    return MappingProxyType({name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)})
