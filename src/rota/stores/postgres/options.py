"""How a server uses its database."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PostgresOptions:
    """Everything a server may choose about its connections."""

    application_name: str = "rota"  # as the database lists them
    verbs: int = 3  # connections for what the loops and the API do; two in flight hide each other's commits
    views: int = 2  # connections for lists and searches: a slow search takes one for seconds
    days_ahead: int = 7  # days whose partitions are made beforehand; 0: none, all goes to the default partition
    unsafe: bool = False  # open a database that may lose what it has acknowledged (`fsync = off`)
