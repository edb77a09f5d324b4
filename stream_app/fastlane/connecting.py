"""Connections to brokers that tell when they are broken, on uvloop too.

Whoever writes to a connection that is already closed gets a RuntimeError from uvloop where asyncio's own loop goes on; aiokafka expects an
OSError (https://github.com/aio-libs/aiokafka/issues/1038). A broker that was killed can so end, without a word, the task in which a client
learns about the cluster: whatever asks for that afterwards waits for ever, and the worker with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection; what is sent on a closed one raises KafkaConnectionError, which every caller knows, and the connection is given up."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; what to await for its answer."""
        with self._broken_is_told():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: Any, expect_response: bool = True) -> Any:
        with self._broken_is_told():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _broken_is_told(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if self._writer is None or not self._writer.is_closing():
                raise
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} broken: {error}") from error


def install() -> None:
    """Let every aiokafka client of this process connect so."""
    conn.AIOKafkaConnection = Connection
