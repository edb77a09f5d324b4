"""A receiver of Segstream's webhooks, with nothing but the standard library.

    WEBHOOK_SECRETS=whsec_... python receive_webhook.py --port 9000

What a receiver must do, in any language:

- Verify the signature over the very bytes that came, in constant time, before reading them; with any of the valid secrets, so that
  one can be exchanged for another without a gap (`WEBHOOK_SECRETS=whsec_new,whsec_old`).
- Refuse a request whose time is more than five minutes off: a recorded one cannot be played again.
- Remember the ids of events in the same transaction as the work, and do nothing for one that is known: after a crash on either side it comes again.
- Forget who is to be forgotten: a change with the cause `erasure` comes whatever was asked for.
- Answer 2xx only when the events are stored, soon; do slow work afterwards. 5xx, 408 and 429 are asked again, other answers are not.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 8 * 1024 * 1024
TOLERANCE = 300  # seconds


def keys(secrets: str) -> list[bytes]:
    """The bytes of comma-separated `whsec_` secrets."""
    return [
        base64.b64decode(one.strip().removeprefix("whsec_"), validate=True) for one in secrets.split(",") if one.strip()
    ]


def is_genuine(valid: list[bytes], headers: dict[str, str], body: bytes, now: float) -> bool:
    """Whether a request comes from one who has a secret, and is not an old one played again. Header names in lower case."""
    number, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if (
        not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12)
        or abs(now - int(timestamp)) > TOLERANCE
    ):
        return False
    signed = f"{number}.{timestamp}.".encode() + body
    good = False
    for key in valid:
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        for part in headers.get("webhook-signature", "").split(" "):
            version, _, signature = part.partition(",")
            good |= version == "v1" and hmac.compare_digest(signature.encode(), expected)
    return good


def store(path: str, events: list[dict]) -> int:
    """Keep the events that are new, all or none; how many were."""
    with sqlite3.connect(path, timeout=30) as database:
        database.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, subject TEXT, type TEXT, data TEXT)")
        rows = [(event["id"], event.get("subject"), event["type"], json.dumps(event["data"])) for event in events]
        new = database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", rows).rowcount
        erased = [(event["subject"],) for event in events if event["data"].get("cause") == "erasure"]
        database.executemany("DELETE FROM events WHERE subject = ?", erased)
        return new


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    valid: list[bytes]
    database: str

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(413 if length.isdigit() else 411)
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_genuine(self.valid, headers, body, time.time()):
            return self.answer(401)
        store(self.database, json.loads(body))
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are about customers: none of it in a log."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, default=9000)
    options.add_argument("--database", default="events.db")
    asked = options.parse_args()
    Receiver.valid = keys(os.environ["WEBHOOK_SECRETS"])
    Receiver.database = asked.database
    server = ThreadingHTTPServer(("127.0.0.1", asked.port), Receiver)
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
