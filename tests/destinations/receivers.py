"""Receivers of every temper on one port, and the process that delivers to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from destinations.signature import key_of, verify
from tests.destinations.events import SECRET
from tests.installation import Installation


class Receivers:
    """Answers by the path; remembers what it took of each, in order."""

    def __init__(self) -> None:
        self.taken: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.requests: dict[str, int] = defaultdict(int)
        self.released = threading.Event()
        """Until it is set, /hangs does not answer."""
        self.bad = ""
        """The id of an event that /picky does not take."""
        self.refused: list[str] = []
        """Paths whose signature was not ours."""
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receivers.answer(self, body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = request.path
        self.requests[path] += 1
        at = int(request.headers["webhook-timestamp"])
        signed = request.headers.get("webhook-signature", "")
        if not verify([key_of(SECRET)], request.headers["webhook-id"], at, body, signed, at):
            self.refused.append(path)
        found = json.loads(body)
        events = found if isinstance(found, list) else [found]
        status, headers = 204, {}
        if path == "/hangs" and not self.released.wait(60):
            return
        if path == "/flaky" and self.requests[path] in (1, 2, 4):
            status = 500
        if path == "/picky" and any(event["id"] == self.bad for event in events):
            status = 400
        if path == "/moved":
            status, headers = 307, {"Location": f"http://127.0.0.1:{self.port}/trap"}
        if status == 204:
            self.taken[path] += events
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        if status != 204:
            request.send_header("Content-Length", "9")
        request.end_headers()
        if status != 204:
            request.wfile.write(b"planted!!")

    def ids(self, path: str) -> list[str]:
        return [event["id"] for event in self.taken[path]]

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Process:
    """`segstream destinations`, of an installation and a file."""

    shop: Installation
    file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.file.with_suffix(".log")

    def _environ(self) -> dict[str, str]:
        more = {"SEGSTREAM_SESSION_TIMEOUT": "6", "SEGSTREAM_DESTINATIONS": str(self.file)}
        return os.environ | self.shop.environment | more | self.environment

    def start(self) -> Process:
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "segstream", "destinations", "run"]
            self.running = subprocess.Popen(command, env=self._environ(), stdout=out, stderr=subprocess.STDOUT)
        return self

    def stop(self) -> int:
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(30)

    def kill(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running.wait(10)

    def get(self, path: str) -> str:
        """What the endpoint says; empty while it cannot be asked."""
        assert self.running is not None
        assert self.running.poll() is None, self.log.read_text()[-3000:]
        try:
            port = json.loads((self.shop.home / f"destinations-{self.running.pid}.json").read_text())["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def standing(self, name: str) -> dict[str, Any]:
        answer = self.get("/health/ready")
        return dict(json.loads(answer)["destinations"][name]) if answer else {}

    def metric(self, name: str, destination: str) -> float:
        lines = [
            line
            for line in self.get("/metrics").splitlines()
            if line.startswith(name) and f'destination="{destination}"' in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def command(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "segstream", "destinations", *words, "--json"],
            env=self._environ(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)
