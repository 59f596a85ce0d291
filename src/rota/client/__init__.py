"""The client: the API by name, asynchronous (`Client`) or from ordinary code (`BlockingClient`)."""

from rota.client.client import BlockingClient, Client
from rota.client.discovery import Target, discover
from rota.client.errors import NoServerKnown, ServerFailed, Unreachable

__all__ = ["BlockingClient", "Client", "NoServerKnown", "ServerFailed", "Target", "Unreachable", "discover"]
