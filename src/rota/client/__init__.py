"""The client: the API by name. `rota.client.client` has `Client` (asynchronous) and `BlockingClient`.

Nothing is imported here: who only needs the errors or the discovery does not pay for an HTTP library.
"""
