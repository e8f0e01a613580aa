"""`/healthz` and `/metrics` of one process, on the loopback interface, in a thread of its own.

The thread answers while the process's own loop is busy or stuck, which is when one wants to ask.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

LOOPBACK = "127.0.0.1"

Health = Callable[[], Mapping[str, Any]]
"""Gives the state as JSON-ready values; `{"ok": false, …}` is answered with status 503."""


class Endpoint:
    """Serves until `close`."""

    def __init__(self, port: int, health: Health, registry: CollectorRegistry) -> None:
        """Bind now, so that a taken port fails the start.

        Raises:
            OSError: the port is taken.
        """

        class Handler(_Handler):
            pass

        Handler.health = staticmethod(health)
        Handler.registry = registry
        self._server = _Server((LOOPBACK, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of those who did not wait for the answer; they ask again."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    health: Health
    registry: CollectorRegistry
    timeout = 10
    """Seconds for a request to arrive."""

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._healthz()
        elif self.path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.registry))
        else:
            self._answer(404, "text/plain", b"here are /healthz and /metrics\n")

    def _healthz(self) -> None:
        try:
            state = dict(self.health())
        except Exception as error:  # whatever is wrong inside is the answer, not the end of the endpoint
            state = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        body = json.dumps(state, default=str, ensure_ascii=False).encode()
        self._answer(200 if state.get("ok", True) else 503, "application/json", body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""
