"""Named SQL statements, read from the `.sql` files of an adapter's `queries`.

A statement begins with a line `-- name: some_name` and reaches to the next such line.
"""

import re
from importlib import resources
from types import MappingProxyType
from typing import Final

_HEAD: Final = re.compile(r"^-- name: *([a-z0-9_]+) *$", re.MULTILINE)


def load_statements(package: str, file: str) -> MappingProxyType[str, str]:
    """The statements of a file of a package, by name."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _HEAD.split(text)
    return MappingProxyType({name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)})
