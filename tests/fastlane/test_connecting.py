"""A connection that breaks while something is sent is told as broken, and the client that it belonged to goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.fastlane import connecting
from stream_app.fastlane.connecting import Connection
from tests.fastlane.lane import Log


@asynccontextmanager
async def closed(kind: type[Any], closings: list[Any]) -> AsyncIterator[Any]:
    """A connection that the event loop has closed, and aiokafka has not noticed."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        one = kind(host, port, on_close=lambda _, reason: closings.append(reason))
        one._reader, one._writer = await asyncio.open_connection(host, port)
        one._versions = {MetadataRequest.API_KEY: (0, 1)}
        one._read_task = asyncio.create_task(asyncio.sleep(3600))
        one._writer.transport.abort()
        while not one._reader.at_eof():
            await asyncio.sleep(0)
        yield one
        one.close()


def test_what_is_sent_on_a_closed_connection_is_told_as_broken() -> None:
    async def law() -> None:
        closings: list[Any] = []
        async with closed(Connection, closings) as one:
            with pytest.raises(KafkaConnectionError, match="broken"):
                one.send(MetadataRequest([]))
            assert closings == [conn.CloseReason.CONNECTION_BROKEN]
        async with closed(Connection, closings) as one:
            with pytest.raises(KafkaConnectionError, match="broken"):
                one._send_sasl_token(b"secret")

    uvloop.run(law())


def test_aiokafka_does_not_know_what_uvloop_says() -> None:
    """When this fails, `fastlane/connecting.py` is no longer needed."""

    async def law() -> None:
        async with closed(Connection.__base__, []) as one:
            with pytest.raises(RuntimeError, match="closed"):
                one.send(MetadataRequest([]))

    uvloop.run(law())


def test_any_other_fault_is_not_taken_for_a_broken_connection() -> None:
    class Faulty:
        def write(self, data: bytes) -> None:
            raise RuntimeError("a fault of ours")

        def is_closing(self) -> bool:
            return False

        def close(self) -> None:
            """Nothing."""

    async def law() -> None:
        one = Connection("127.0.0.1", 1)
        one._reader, one._writer = asyncio.StreamReader(), Faulty()
        one._versions = {MetadataRequest.API_KEY: (0, 1)}
        one._read_task = asyncio.create_task(asyncio.sleep(3600))
        with pytest.raises(RuntimeError, match="a fault of ours"):
            one.send(MetadataRequest([]))
        one.close()

    uvloop.run(law())


def test_a_client_whose_connection_breaks_as_it_asks_still_learns_about_the_cluster(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conn, "AIOKafkaConnection", conn.AIOKafkaConnection)  # as it was, when the test is over
    connecting.install()
    # A reset reaches whoever reads a moment later than whoever writes: until then the connection is taken for a good one.
    monkeypatch.setattr(Connection.__base__, "_on_read_task_error", classmethod(lambda *_: None))
    monkeypatch.setattr(Connection.__base__, "connected", lambda one: one._writer is not None)

    async def law() -> None:
        client = AIOKafkaClient(bootstrap_servers=log.bootstrap)
        await client.bootstrap()
        try:
            node = client.get_random_node()
            broken = await client._get_conn(node)
            broken._writer.transport.abort()
            while not broken._reader.at_eof():
                await asyncio.sleep(0)
            while not await asyncio.wait_for(client.force_metadata_update(), 30):
                await asyncio.sleep(0.05)
            assert not client._sync_task.done()
            assert await client._get_conn(node) is not broken
        finally:
            await client.close()

    uvloop.run(law())
