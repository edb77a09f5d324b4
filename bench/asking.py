"""A process that asks the API at a steady rate, whether it answers in time or not, and writes down how long each answer took.

`python -m bench.asking PORT PATHS RATE WARM FILE`: PATHS holds one path per line, asked in turn; the first WARM are not counted. FILE gets
one float64 per request: milliseconds from the moment it was due until its whole answer had come, so that a request that had to wait for
its turn has waited (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

CONNECTIONS: Final = 32
"""Kept open; a request takes one that is free."""


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request under way."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep the way to write."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the API closed a connection: {exc}"))

    def ask(self, path: str) -> asyncio.Future[None]:
        """Send a request; done when its answer is complete. The future raises RuntimeError where it is not 200."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Collect until the announced length is there."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self._buffer = b""
        if head.startswith(b"HTTP/1.1 200 "):
            self._answer.set_result(None)
        else:
            self._answer.set_exception(RuntimeError(f"{head[:40]!r} {body[:200]!r}"))


async def paced(port: int, paths: Sequence[str], rate: float) -> array[float]:
    """Milliseconds of each request, in the order in which they were due."""
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[Connection] = asyncio.Queue()  # in turn: one that rests for seconds is closed by the server
    for _ in range(min(CONNECTIONS, len(paths))):
        _, made = await loop.create_connection(Connection, "127.0.0.1", port)
        free.put_nowait(made)
    took = array("d", bytes(8 * len(paths)))
    begun = time.monotonic() + 0.1

    async def ask(number: int, due: float) -> None:
        connection = await free.get()
        await connection.ask(paths[number])
        took[number] = (time.monotonic() - due) * 1000
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as tasks:

        def pace() -> None:
            """In a thread: an event loop wakes up to a millisecond beside the time it was asked for, a thread does not."""
            for number in range(len(paths)):
                due = begun + number / rate
                while (ahead := due - time.monotonic()) > 0:
                    time.sleep(ahead)
                loop.call_soon_threadsafe(lambda number=number, due=due: tasks.create_task(ask(number, due)))

        await asyncio.to_thread(pace)
    return took


def main() -> None:
    """See the module."""
    port, paths, rate, warm, file = sys.argv[1:]
    asked = Path(paths).read_text().split()
    try:
        took = uvloop.run(paced(int(port), asked, float(rate)))
    except ExceptionGroup as failed:
        sys.exit(f"{len(failed.exceptions)} questions were not answered; the first: {failed.exceptions[0]}")
    Path(file).write_bytes(took[int(warm) :].tobytes())


if __name__ == "__main__":
    main()
