"""A process that holds many connections to the stream of changes and writes down how late each change came on each.

`python -m bench.listeners PORT COUNT FILE`: FILE.open is made when all are connected. On SIGTERM, FILE gets pairs of float64: when a change
was decided by the worker (seconds since 1970), and milliseconds until it was here; and FILE.held how many connections were still open.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from array import array
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import uvloop

_DECIDED: Final = re.compile(rb'"decided_at":"([^"]+)"')


@lru_cache(maxsize=4096)
def _seconds(text: bytes) -> float:
    return datetime.fromisoformat(text.decode()).timestamp()


class Listener(asyncio.Protocol):
    """One connection. `opened` is told when the answer begins."""

    def __init__(self, port: int, found: array[float], opened: asyncio.Semaphore) -> None:
        self._found = found
        self._opened = opened
        self._rest = b""
        self._is_answered = False
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.is_open = True
        transport.write(b"GET /v1/changes/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """It was not held."""
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        """Note every change; one that is cut in two by the network is whole with the next piece."""
        now = time.time()
        if not self._is_answered:
            self._is_answered = True
            if not data.startswith(b"HTTP/1.1 200 "):
                self.is_open = False
            self._opened.release()
        text = self._rest + data
        last = 0
        for match in _DECIDED.finditer(text):
            decided = _seconds(match[1])
            self._found.extend((decided, (now - decided) * 1000))
            last = match.end()
        self._rest = text[max(last, len(text) - 64) :]


async def listen(port: int, count: int, file: Path) -> None:
    """Until SIGTERM."""
    loop, found, opened = asyncio.get_running_loop(), array("d"), asyncio.Semaphore(0)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    made = []
    for _ in range(count):
        _, one = await loop.create_connection(lambda: Listener(port, found, opened), "127.0.0.1", port)
        made.append(one)
    for _ in range(count):
        await opened.acquire()
    file.with_suffix(".open").touch()
    await ended.wait()
    file.write_bytes(found.tobytes())
    file.with_suffix(".held").write_text(str(sum(one.is_open for one in made)))


def main() -> None:
    """See the module."""
    port, count, file = sys.argv[1:]
    uvloop.run(listen(int(port), int(count), Path(file)))


if __name__ == "__main__":
    main()
