"""The statements of the PostgreSQL adapter."""

from types import MappingProxyType

from rota.stores.statements import load_statements


def load(file: str) -> MappingProxyType[str, str]:
    """The statements of `file` by name."""
    return load_statements(__name__, file)
