"""A server that gives prepared documents by path, for what a real installation does not get into at will."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cli.command import Command

Documents = dict[str, tuple[int, Any]]


def healthy() -> Documents:
    """What a server in order answers."""
    now = datetime.now(UTC).isoformat()
    worker = {"name": "w-1", "state": "up", "labels": {}, "capacity": {"shell": 4}, "reserved": {"shell": 4}}
    worker |= {"last_seen": now, "version": "1.2.3"}
    summary = {"now": now, "failing": 0, "late": 0}
    return {
        "/readyz": (200, {"ok": True, "problems": []}),
        "/api/v1/summary": (200, summary),
        "/api/v1/workers": (200, {"items": [worker]}),
        "/api/v1/servers": (200, {"items": [lone_server()], "shards": 1, "unled": []}),
        "/api/v1/alerts": (200, {"conditions": [], "items": []}),
    }


def lone_server(**more: Any) -> dict[str, Any]:
    """A server in order, with all shards."""
    own = {"name": "s-1", "state": "up", "version": "1.2.3", "shards": [0], "problems": [], "clock_offset": 0.01}
    return own | {"planner_lag": 0.0, "store_slow": 0.02} | more


@contextmanager
def fake_api(rota: Command, documents: Documents) -> Iterator[list[str]]:
    """Serve and let `rota` use it; yields the requests as they come (method and path)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path}")
            missing = (404, {"code": "NOT_FOUND", "detail": f"there is no {path}"})
            status, value = documents.get(path, missing)
            body = json.dumps(value).encode()
            self.send_response(status)
            kind = "application/json" if status < 300 or path == "/readyz" else "application/problem+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 — http.server calls them so

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    rota.env(ROTA_URL=f"http://127.0.0.1:{server.server_address[1]}", ROTA_TOKEN="rota_test")
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
