"""Rota: a distributed job scheduler. Cron that scales out and tells you."""

__version__ = "0.1.0"
