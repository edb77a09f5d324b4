"""A process beside the worker that decides many customers anew, or renders them for Redis: the worker's interpreter has the events to do, and a
second core stands idle.

The two talk over a socket: length and msgpack, first the task, then slices of records, each with its answer, in order. The helper lives as long
as there is something to do; it ends when its socket is closed, thus with its worker however that ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import BinaryIO, Final, Literal, TypeVar

import msgspec

from schemas.artifact import Artifact
from schemas.customer import UnreadableState
from schemas.model import Model
from stream_app.anew import Moment, Outcome, Reason, Row, decide_anew
from stream_app.picture import Rendered, render

Decide = Callable[[Moment, Sequence[Row]], Awaitable[list[Outcome | None]]]
"""What becomes of these customers. Raises HelperEnded, UnreadableState."""
Render = Callable[[Moment, Sequence[Row]], Awaitable[Rendered]]
"""How Redis is to show these customers. Raises HelperEnded, UnreadableState."""
What = Reason | Literal["render"]
Found = TypeVar("Found")

NICE: Final = 19
"""The helper takes the processor that the events leave: a full machine gives it a hundredth to start with, then less, but at once takes it back
for whoever is on an event's way."""
BUFFER: Final = 4 * 2**20
"""Bytes of answers that may wait before they are read."""
ENDS_WITHIN: Final = 5.0
"""Seconds for the helper to end by itself."""

_LENGTH: Final = struct.Struct("!I")


class HelperEnded(RuntimeError):
    """The process beside the worker is gone: start another."""


class _Task(msgspec.Struct, frozen=True, array_like=True):
    what: What
    model_id: str
    artifact: bytes


class _Slice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    moment: Moment
    rows: Sequence[Row]


_encode: Final = msgspec.msgpack.Encoder().encode
_slice: Final = msgspec.msgpack.Decoder(_Slice).decode
# An answer is what was found or, as text, why a record could not be read.
_outcomes: Final = msgspec.msgpack.Decoder(list[Outcome | None] | str).decode
_rendered: Final = msgspec.msgpack.Decoder(Rendered | str).decode


def helper(reason: Reason, model: Model) -> AbstractAsyncContextManager[Decide]:
    """A helper for one round. Slices may be given to it before earlier ones are answered."""
    return _process(reason, model, _outcomes)


def renderer(model: Model) -> AbstractAsyncContextManager[Render]:
    """A helper for those who wait to be written to Redis. Slices may be given to it before earlier ones are answered."""
    return _process("render", model, _rendered)


@asynccontextmanager
async def _process(
    what: What, model: Model, decode: Callable[[bytes], Found | str]
) -> AsyncIterator[Callable[[Moment, Sequence[Row]], Awaitable[Found]]]:
    ours, theirs = socket.socketpair()
    with theirs:
        # By vfork, whatever the size of this process; it knows no secret, and its log is ours.
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("SEGSTREAM_")},
        )
    reader, writer = await asyncio.open_connection(sock=ours, limit=BUFFER)
    in_turn = asyncio.Lock()

    async def ask(moment: Moment, rows: Sequence[Row]) -> Found:
        _write(writer, _Slice(moment, rows))
        async with in_turn:  # which is fair: answers come in the order of the slices
            try:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                answer = await reader.readexactly(length)
            except (asyncio.IncompleteReadError, OSError) as error:
                raise HelperEnded("the process beside the worker has ended") from error
        found = decode(answer)
        if isinstance(found, str):
            raise UnreadableState(found)
        return found

    try:
        _write(writer, _Task(what, model.id, msgspec.json.encode(model.artifact)))
        yield ask
    finally:
        writer.close()
        await asyncio.to_thread(_reap, process)


def _write(writer: asyncio.StreamWriter, document: object) -> None:
    data = _encode(document)
    writer.write(_LENGTH.pack(len(data)) + data)


def _reap(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDS_WITHIN)
        return
    process.kill()
    process.wait()


def serve(stream: BinaryIO) -> None:
    """Answer until there are no more questions."""
    task = msgspec.msgpack.decode(_read(stream), type=_Task)
    model = Model(msgspec.json.decode(task.artifact, type=Artifact), task.model_id)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while data := _read(stream):
        asked = _slice(data)
        try:
            answer = _encode(_done(task, model, asked))
        except UnreadableState as error:
            answer = _encode(str(error))
        stream.write(_LENGTH.pack(len(answer)))
        stream.write(answer)
        stream.flush()


def _done(task: _Task, model: Model, asked: _Slice) -> list[Outcome | None] | Rendered:
    if task.what == "render":
        return render(asked.rows, model, asked.moment.decided_at)
    return decide_anew(asked.rows, model, task.what, asked.moment)


def _read(stream: BinaryIO) -> bytes:
    """The next document; empty where the worker has no more, or is gone."""
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""


def main() -> None:
    """The process: its socket is its standard input."""
    for asked in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # of a terminal, or of all processes of a service: it ends with its worker
        signal.signal(asked, signal.SIG_IGN)
    os.nice(NICE)
    with socket.socket(fileno=os.dup(0)) as connection, connection.makefile("rwb") as stream, suppress(ConnectionError):
        serve(stream)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
