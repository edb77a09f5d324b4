"""HTTP for operators: /health/live (or /health), /health/ready (or /ready) and /metrics."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from destinations.metrics import Metrics, Standing


def readiness(standings: Sequence[Standing], now: float) -> tuple[bool, dict[str, Any]]:
    """Whether every destination does its work, and how each is doing; one whose receiver does not answer is degraded, not unready.

    >>> readiness([Standing(name="ops", state="retrying", last_error="no answer")], 0.0)[1]["degraded"]
    ['ops: no answer']
    """
    reasons = [f"{s.name}: {s.state}" for s in standings if s.state in ("starting", "broken", "stopped")]
    reasons += [
        f"{s.name}: its thread has ended" for s in standings if s.thread is not None and not s.thread.is_alive()
    ]
    degraded = [f"{s.name}: {s.last_error}" for s in standings if s.last_error]
    return not reasons, {
        "ready": not reasons,
        "reasons": reasons,
        "degraded": degraded,
        "destinations": {s.name: s.document(now) for s in standings},
    }


class Endpoint:
    """Listens on a port (0 takes a free one) in threads of its own."""

    def __init__(self, metrics: Metrics, standings: Sequence[Standing], host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version = "segstream"
            sys_version = ""
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                now = time.time()
                if path in ("/health", "/health/live"):
                    self._answer(200, b'{"status": "alive"}')
                elif path in ("/ready", "/health/ready"):
                    ready, document = readiness(standings, now)
                    self._answer(200 if ready else 503, json.dumps(document).encode())
                elif path == "/metrics":
                    for standing in standings:
                        metrics.oldest.labels(standing.name).set(standing.age(now))
                    self._answer(200, generate_latest(metrics.registry), CONTENT_TYPE_LATEST)
                else:
                    self._answer(404, b'{"status": "not found"}')

            def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Who asks for health every second is no news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
