"""The store on SQLite: one file (or memory), one writer, nothing to install."""

from rota.stores.sqlite.opening import open_sqlite, schema_of

__all__ = ["open_sqlite", "schema_of"]
