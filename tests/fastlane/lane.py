"""Small Faust apps on the chunk lane, each in a thread with an event loop of its own, and the log they read from."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import faust
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from faust.types import TP

from stream_app import stacks
from stream_app.fastlane import connecting, fetching
from stream_app.fastlane.batches import Record, send
from stream_app.fastlane.table import ChunkTable, ChunkTables, PartitionStore
from stream_app.fastlane.transport import ChunkConsumer, ChunkMessage, ChunkSchema, ChunkTransport
from stream_app.stores import MemoryStore
from tests.waiting import wait_for

QUIET = {"log_level": 0}
_numbers = itertools.count(1)


class Row(NamedTuple):
    """A record of the log."""

    offset: int
    value: bytes | None


@dataclass
class Log:
    """Topics of one test on a shared broker, and what is in them."""

    bootstrap: str
    directory: Path
    name: str = field(default_factory=lambda: f"t{next(_numbers)}")

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap} | QUIET)

    def create(self, topic: str, partitions: int = 3, **config: str) -> str:
        """Create a topic of this test; its full name."""
        full = f"{self.name}-{topic}"
        names = {key.replace("_", "."): value for key, value in config.items()}
        for done in self.admin.create_topics([NewTopic(full, partitions, 1, config=names)]).values():
            done.result(30)
        wait_for(lambda: full in self.admin.list_topics(timeout=10).topics, f"{full} is shown")
        return full

    def producer(self, **config: Any) -> Producer:
        """A confluent producer of this log."""
        names = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({"bootstrap.servers": self.bootstrap, "acks": "all"} | names | QUIET)

    def produce(self, topic: str, values: Iterable[bytes | None], partitions: int = 3, **config: Any) -> None:
        """Spread values over the partitions and wait for the acknowledgements."""
        client = self.producer(**{"linger_ms": 5} | config)
        for number, value in enumerate(values):
            client.produce(topic, value, str(number).encode(), partition=number % partitions)
            client.poll(0)
        assert client.flush(60) == 0

    def read(self, *topics: str, partitions: int = 3) -> dict[TP, list[Row]]:
        """All that is in the log, by a client that has nothing to do with ours."""
        client = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.name}-reader",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
            }
            | QUIET
        )
        rows: dict[TP, list[Row]] = {}
        try:
            for topic, partition in itertools.product(topics, range(partitions)):
                found = rows[TP(topic, partition)] = []
                low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
                if low == high:
                    continue
                client.assign([TopicPartition(topic, partition, low)])

                def ended(topic: str = topic, partition: int = partition, high: int = high, found: Any = found) -> bool:
                    for message in client.consume(1000, timeout=0.2):
                        assert message.error() is None, message.error()
                        found.append(Row(message.offset(), message.value()))
                    return client.position([TopicPartition(topic, partition)])[0].offset >= high

                wait_for(ended, f"{topic}-{partition} is read")
        finally:
            client.close()
        return rows

    def committed(self, group: str, *topics: str, partitions: int = 3) -> dict[TP, int]:
        """What the group has committed, without what it has not."""
        client = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group} | QUIET)
        try:
            parts = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
            found = client.committed(parts, timeout=30)
        finally:
            client.close()
        return {TP(part.topic, part.partition): part.offset for part in found if part.offset >= 0}

    def commit(self, group: str, offsets: Mapping[TP, int]) -> None:
        """Commit offsets for a group that has no members."""
        client = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group} | QUIET)
        try:
            parts = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
            client.commit(offsets=parts, asynchronous=False)
        finally:
            client.close()

    def delete_before(self, offsets: Mapping[TP, int]) -> None:
        """Delete the start of partitions, as retention does."""
        parts = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        for done in self.admin.delete_records(parts).values():
            done.result(30)


class Done(NamedTuple):
    """A chunk that was worked on."""

    member: str
    tp: TP
    epoch: int
    begin: int
    rows: list[Row]


Work = Callable[["Member", ChunkMessage], Awaitable[bool]]
"""Works on a chunk; whether it is done (False: it is acked without having been done, as Faust does with what it skips)."""


async def at_once(member: Member, message: ChunkMessage) -> bool:
    """The work is done at once."""
    return True


class Member:
    """One member of a consumer group; `done` is shared by the members of a test and holds the chunks in the order of their work."""

    def __init__(
        self,
        log: Log,
        *topics: str,
        done: list[Done] | None = None,
        work: Work = at_once,
        group: str = "",
        partitions: int = 3,
        tables: tuple[str, ...] = (),
        **conf: Any,
    ) -> None:
        self.log = log
        self.topics = topics
        self.group = group or f"{log.name}-group"
        self.name = f"m{next(_numbers)}"
        self.done: list[Done] = [] if done is None else done
        self.work = work
        self.in_work = 0
        self.failure: BaseException | None = None
        self.store: PartitionStore | None = None
        """The table's records by partition, where there is a table."""
        self._partitions = partitions
        self._changelogs = tables
        self._conf = conf
        self._idle: asyncio.Event
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Member:
        """Start it and wait until it is a member whose positions are set."""
        self._thread.start()
        wait_for(lambda: self._alive() and self._started.is_set() and self.is_ready, f"{self.name} is ready", 60)
        return self

    def stop(self) -> Member:
        """Stop in good order: commit what is acknowledged and leave the group."""
        if self._thread.is_alive():
            self.soon(self._asked_to_stop.set)
            self._thread.join(60)
            assert not self._thread.is_alive(), f"{self.name} does not end:\n{self._stacks()}"
        return self

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 60) -> Any:
        """Run something in the member's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def send(self, topic: str, records: dict[int, list[Record]]) -> dict[int, int]:
        """Send records as the worker does; the last offset per partition."""
        last: dict[str, dict[int, int]] = self.call(send(self.app.producer.client, {topic: records}))  # type: ignore[attr-defined]
        return last.get(topic, {})

    def soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call something in the member's event loop."""
        self._loop.call_soon_threadsafe(callback, *args)

    @property
    def consumer(self) -> ChunkConsumer:
        return self.app.consumer  # type: ignore[return-value]

    @property
    def in_flight(self) -> int:
        """Chunks handed out and not acknowledged."""
        return len(self.consumer._in_flight)

    @property
    def assigned(self) -> set[TP]:
        """The source partitions that it works on now."""
        return {tp for tp in self.consumer.assignment() if tp.topic in self.topics}

    @property
    def offsets(self) -> dict[TP, list[int]]:
        """The offsets worked on, by partition, in the order of the work."""
        return offsets(self.done)

    def _stacks(self) -> str:
        return stacks.describe(self._loop)

    def _alive(self) -> bool:
        if self.failure is not None:
            raise self.failure
        return self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether it is a member whose positions are set."""
        return (
            self._started.is_set()
            and not self.app.rebalancing
            and bool(self.consumer._next)
            and self.consumer.flow_active
        )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except BaseException as error:
            self.failure = error
        finally:
            self._loop.close()

    async def _live(self) -> None:
        self._idle = asyncio.Event()
        self._idle.set()
        self._asked_to_stop = asyncio.Event()
        self.app = self._app()
        self.app.finalize()
        await self.app.start()
        self._started.set()
        ends = [asyncio.ensure_future(self._asked_to_stop.wait()), asyncio.ensure_future(self.app.wait_until_stopped())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await self.app.stop()

    def _app(self) -> faust.App:
        connecting.install()
        fetching.install()
        app = faust.App(
            self.group,
            broker=f"kafka://{self.log.bootstrap}",
            autodiscover=False,
            store="memory://",
            web_enabled=False,
            datadir=str(self.log.directory / self.group),
            topic_partitions=self._partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            broker_commit_interval=0.2,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=0.3,
            broker_rebalance_timeout=30.0,
            consumer_auto_offset_reset="earliest",
            producer_max_batch_size=16_384,
            loop=self._loop,
            TableManager=ChunkTables,
            **self._conf,
        )
        transport = ChunkTransport(app.conf.broker_consumer, app)
        transport.own = self._own
        transport.release = self._release
        transport.drain = self._drain
        app._transport = transport
        app.conf.Table = ChunkTable
        for name in self._changelogs:
            changelog = app.topic(
                name,
                schema=ChunkSchema(),
                key_type=bytes,
                value_type=bytes,
                partitions=self._partitions,
                compacting=True,
                deleting=False,
                acks=False,
                internal=True,
                allow_empty=True,
            )
            # Faust registers a table by the name that its changelog has at this moment.
            table = app.Table(
                name, partitions=self._partitions, key_type=bytes, value_type=bytes, changelog_topic=changelog
            )
            self.store = table.data
            self.store.open_store = lambda partition: MemoryStore()
        source = app.topic(*self.topics, schema=ChunkSchema(), key_type=bytes, value_type=bytes)
        app.agent(source, name=f"{self.group}-agent")(self._agent)
        return app

    @property
    def stored(self) -> dict[int, dict[bytes, bytes | None]]:
        """Partition -> key -> record, as the table has them."""
        if self.store is None:
            return {}
        return {
            partition: {key: kept.get(key) for key in kept.keys()}  # noqa: SIM118 (not a dict)
            for partition, kept in list(self.store.partitions.items())
        }

    def _own(self) -> None:
        if self.store is not None:
            self.store.own()

    def _release(self) -> None:
        if self.store is not None:
            self.store.release()

    async def _drain(self) -> None:
        await self._idle.wait()

    async def _agent(self, stream: Any) -> None:
        async for event in stream.noack().events():
            message: ChunkMessage = event.message
            if not self.consumer.is_current(message):
                event.ack()
                continue
            self._idle.clear()
            try:
                message.done = await self.work(self, message)
            except BaseException as error:
                self.failure = error
                raise
            if message.done:
                rows = [Row(record.offset, record.value) for record in message.value]
                self.done.append(Done(self.name, message.tp, message.epoch, message.begin, rows))
            event.ack()
            self._idle.set()


def offsets(done: Iterable[Done]) -> dict[TP, list[int]]:
    """The offsets worked on, by partition, in the order of the work."""
    found: dict[TP, list[int]] = defaultdict(list)
    for chunk in done:
        found[chunk.tp] += [row.offset for row in chunk.rows]
    return dict(found)


def rows(done: Iterable[Done]) -> dict[TP, list[Row]]:
    """The records worked on, by partition, in the order of the work."""
    found: dict[TP, list[Row]] = defaultdict(list)
    for chunk in done:
        found[chunk.tp] += chunk.rows
    return dict(found)


def count(done: Iterable[Done]) -> int:
    """How many records were worked on."""
    return sum(len(chunk.rows) for chunk in done)
