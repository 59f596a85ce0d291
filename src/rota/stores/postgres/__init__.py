"""The store on PostgreSQL: one database for any number of servers."""

from rota.stores.postgres.opening import open_postgres, schema_of
from rota.stores.postgres.options import PostgresOptions

__all__ = ["PostgresOptions", "open_postgres", "schema_of"]
