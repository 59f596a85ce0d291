"""An HTTP target that fails as it is told to, and remembers who asked."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Target:
    """Answers 503 while `failures` last, then 200. `requests` holds (path, headers) of all requests."""

    failures: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> "Target":
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                target.requests.append((self.path, dict(self.headers)))
                failing = target.failures > 0
                target.failures -= failing
                body = b"upstream is down\n" if failing else b"hello from the target\n"
                self.send_response(503 if failing else 200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"
