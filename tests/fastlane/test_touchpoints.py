"""The private parts of Faust, aiokafka and mode that the chunk lane touches: that they are there, and mean what it thinks they mean.

No broker: when a new version of a library is tried, these say at once what has changed; the rest of the suite says whether it matters.
"""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import aiokafka
import aiokafka.conn
import faust
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import IllegalStateError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import Sender
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord
from faust.app.base import App
from faust.stores import memory
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.transport import base
from faust.transport import consumer as faust_consumer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service
from mode.threads import ServiceThread

from stream_app.fastlane.fetching import BESIDE, BriefFetcher
from stream_app.fastlane.transport import ChunkConsumer, ChunkMessage, ChunkSchema, ChunkTransport

TP0 = TP("orders", 0)

SIGNATURES: list[tuple[Callable[..., Any], list[str]]] = [
    # what ChunkConsumer overrides: Faust calls these with these arguments
    (driver.Consumer.__init__, ["self", "args", "kwargs"]),
    (driver.Consumer.ack, ["self", "message"]),
    (driver.Consumer.getmany, ["self", "timeout"]),
    (driver.Consumer.on_partitions_revoked, ["self", "revoked"]),
    (driver.Consumer.on_partitions_assigned, ["self", "assigned", "generation_id"]),
    (driver.Consumer.on_stop, ["self"]),
    (driver.Consumer.perform_seek, ["self"]),
    (driver.Consumer.seek_wait, ["self", "partitions"]),
    (driver.Consumer.verify_all_partitions_active, ["self"]),
    (driver.Consumer._add_gap, ["self", "tp", "offset_from", "offset_to"]),
    (driver.Consumer._new_offset, ["self", "tp"]),
    # what it calls
    (driver.Consumer._wait_next_records, ["self", "timeout"]),
    (driver.Consumer.commit, ["self", "topics", "start_new_transaction"]),
    (driver.Consumer.highwaters, ["self", "partitions"]),
    (driver.Consumer._new_consumer_thread, ["self"]),
    (driver.AIOKafkaConsumerThread.on_thread_stop, ["self"]),
    (driver.AIOKafkaConsumerThread.call_thread, ["self", "fun", "args", "kwargs"]),
    (driver.AIOKafkaConsumerThread._serve, ["self"]),
    (driver.AIOKafkaConsumerThread._gather_remaining_tasks, ["self"]),
    (driver.AIOKafkaConsumerThread.on_shutdown, ["self"]),
    (GroupCoordinator.reset_generation, ["self"]),
    (GroupCoordinator._do_heartbeat, ["self"]),
    (CoordinatorGroupRebalance._send_sync_group_request, ["self", "request"]),
    (Sender._send_produce_req, ["self", "node_id", "batches"]),
    (GroupCoordinator._send_req, ["self", "request"]),
    (aiokafka.conn.AIOKafkaConnection.send, ["self", "request", "expect_response"]),
    (aiokafka.conn.AIOKafkaConnection._send_sasl_token, ["self", "payload", "expect_response"]),
    (aiokafka.conn.AIOKafkaConnection.close, ["self", "reason", "exc"]),
    (driver.Consumer.maybe_wait_for_commit_to_finish, ["self"]),
    (driver.Consumer.earliest_offsets, ["self", "partitions"]),
    (driver.Consumer.assignment, ["self"]),
    (driver.Consumer.highwater, ["self", "tp"]),
    (Conductor.acks_enabled_for, ["self", "topic"]),
    (Service.wait_first, ["self", "coros", "timeout"]),
    # the schema, the producer, the table and its store
    (faust.Schema.loads_key, ["self", "app", "message", "loads", "serializer"]),
    (faust.Schema.loads_value, ["self", "app", "message", "loads", "serializer"]),
    (driver.Producer._settings_extra, ["self"]),
    (driver.Producer._ensure_producer, ["self"]),
    (Table._new_store, ["self"]),
    (Table.apply_changelog_batch, ["self", "batch"]),
    (memory.Store.__post_init__, ["self"]),
    (memory.Store._clear, ["self"]),
    (memory.Store.apply_changelog_batch, ["self", "batch", "to_key", "to_value"]),
    (memory.Store.persisted_offset, ["self", "tp"]),
    (memory.Store.on_recovery_completed, ["self", "active_tps", "standby_tps"]),
    # aiokafka's records and batches
    (fetcher.PartitionRecords._consumer_record, ["self", "tp", "record"]),
    (aiokafka.AIOKafkaProducer.create_batch, ["self"]),
    (aiokafka.AIOKafkaProducer.send_batch, ["self", "batch", "topic", "partition"]),
    (BatchBuilder.append, ["self", "timestamp", "key", "value", "headers"]),
    (BatchBuilder.close, ["self"]),
    (BatchBuilder.record_count, ["self"]),
]


@pytest.mark.parametrize(("part", "names"), SIGNATURES, ids=lambda part: getattr(part, "__qualname__", ""))
def test_a_part_takes_the_arguments_that_it_took(part: Callable[..., Any], names: list[str]) -> None:
    assert list(inspect.signature(part).parameters) == names


CALLERS: list[tuple[Callable[..., Any], list[str]]] = [
    # (a part of Faust, what it must use for our override to be reached)
    (faust_consumer.Consumer._drain_messages, ["getmany", "callback", "suspend_flow", "_add_gap", "_read_offset"]),
    (faust_consumer.Consumer._filter_committable_offsets, ["_new_offset", "_should_commit"]),
    (faust_consumer.Consumer._commit_livelock_detector, ["verify_all_partitions_active"]),
    (faust_consumer.Consumer.on_stop, ["commit_and_end_transactions"]),
    (faust_consumer.Consumer.commit, ["maybe_wait_for_commit_to_finish", "_commit_fut"]),
    (ConsumerMessage.on_final_ack, ["ack"]),
    (driver.AIOKafkaConsumerThread._seek_wait, ["seek", "_read_offset", "position"]),
    (driver.AIOKafkaConsumerThread.getmany, ["self.call_thread("]),
    (ServiceThread.__init__, ["thread_loop or asyncio.new_event_loop()"]),
    (ServiceThread.start, ["self.Worker(self)", "self._thread.start()", "await self._thread_running"]),
    (ServiceThread.stop, ["super().stop()", "self._thread.stop()"]),
    (ServiceThread._serve, ["self.crash(exc)", "self._shutdown_thread()", "self._gather_remaining_tasks()"]),
    (Service.stop, ["self._shutdown.wait()", "self.on_shutdown()"]),
    (driver.Producer._new_producer, ["_settings_extra"]),
    (faust_consumer.Consumer.perform_seek, ["_read_offset", "_committed_offset"]),
    (aiokafka.AIOKafkaConsumer.stop, ["_coordinator.close"]),
    (GroupCoordinator.close, ["_coordination_task.done()", "_maybe_leave_group"]),
    (GroupCoordinator.ensure_active_group, ["_performed_join_prepare", "_do_rejoin_group"]),
    (GroupCoordinator._heartbeat_routine, ["self._do_heartbeat()"]),
    (GroupCoordinator._do_rejoin_group, ["CoordinatorGroupRebalance("]),
    (CoordinatorGroupRebalance._on_join_leader, ["self._send_sync_group_request("]),
    (CoordinatorGroupRebalance._on_join_follower, ["self._send_sync_group_request("]),
    (aiokafka.AIOKafkaConsumer.start, ["GroupCoordinator("]),
    (aiokafka.AIOKafkaProducer.__init__, ["Sender("]),
    (Sender._sender_routine, ["self._send_produce_req("]),
    (aiokafka.conn.create_conn, ["AIOKafkaConnection("]),
    (AIOKafkaClient.send, ["self._conns[(node_id, group)]"]),
    (base.Transport.create_consumer, ["Consumer"]),
    (base.Transport.create_producer, ["Producer"]),
    (App.transport.fget, ["_transport"]),  # type: ignore[attr-defined]
    (App._on_partitions_revoked, ["stop_flow", "clear", "_consumer_wait_empty", "_producer_flush"]),
    (App._producer_flush, ["_producer.flush()"]),
    (faust_consumer.Consumer._commit_offsets, ["producer.flush()"]),
    (Recovery.on_recovery_completed, ["perform_seek", "resume_partitions", "on_recovery_completed"]),
    (Recovery._resume_streams, ["perform_seek", "resume_partitions"]),
    (Recovery._seek_offsets, ["seek_wait"]),
    (Recovery._add, ["persisted_offset"]),
    (Recovery._slurp_changelogs, ["apply_changelog_batch", "flush_buffers"]),
    (Table.on_recovery_completed, ["on_recovery_completed"]),
]


@pytest.mark.parametrize(("caller", "used"), CALLERS, ids=lambda part: getattr(part, "__qualname__", ""))
def test_faust_reaches_what_is_overridden(caller: Callable[..., Any], used: list[str]) -> None:
    source = inspect.getsource(inspect.unwrap(getattr(caller, "fun", caller)))
    assert [name for name in used if name not in source] == []


def test_fetched_records_are_made_by_the_part_that_is_replaced() -> None:
    assert "self._consumer_record(tp, record)" in inspect.getsource(fetcher.PartitionRecords._unpack_records)
    assert "PartitionRecords(" in inspect.getsource(fetcher.Fetcher)
    assert "self._records_iterator = self._unpack_records()" in inspect.getsource(fetcher.PartitionRecords.__init__)
    assert "for msg in self._partition_records:" in inspect.getsource(fetcher.FetchResult.getall)


def test_the_broker_is_let_wait_only_while_no_fetched_records_wait_here() -> None:
    assert "self._fetch_max_wait_ms" in inspect.getsource(fetcher.Fetcher._get_actions_per_node)
    assert "Fetcher(" in inspect.getsource(aiokafka_consumer.AIOKafkaConsumer)
    one = object.__new__(BriefFetcher)
    one._fetch_max_wait_ms, one._records = 1500, {}
    assert one._fetch_max_wait_ms == 1500
    one._records = {TP0: "records"}
    assert one._fetch_max_wait_ms == BESIDE
    one._fetch_max_wait_ms = 5
    assert one._fetch_max_wait_ms == 5


def test_faust_starts_tables_as_ours_does_but_rests_before() -> None:
    source = inspect.getsource(TableManager.on_start)
    assert [line.strip() for line in source.splitlines()[2:]] == [
        "await self.sleep(1.0)",
        "if not self.should_stop:",
        "await self._update_channels()",
        "await self.recovery.start()",
    ]


def test_a_parsed_record_has_what_is_read_of_it() -> None:
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1000
    )
    for offset, value in enumerate((b"value", None)):
        builder.append(offset, timestamp=7, key=b"key", value=value, headers=[])
    records = list(DefaultRecordBatch(builder.build()))
    assert [(r.key, r.value, r.offset, r.timestamp, r.timestamp_type) for r in records] == [
        (b"key", b"value", 0, 7, 0),
        (b"key", None, 1, 7, 0),
    ]


def test_the_reasons_for_the_lane_are_still_there() -> None:
    """When one of these fails, Faust has mended a loss: look whether the lane can become simpler."""
    assert "do_ack or value is skipped_value" in inspect.getsource(Stream._py_aiter)
    source = inspect.getsource(Recovery.on_recovery_completed)
    assert source.index("resume_partitions") < source.index("perform_seek")


@pytest.fixture
def consumer() -> ChunkConsumer:
    """A consumer that was never started."""
    app = faust.App("touch", broker="kafka://127.0.0.1:1", web_enabled=False, store="memory://")
    app._transport = ChunkTransport(app.conf.broker_consumer, app)
    app.topics._acking_topics.add(TP0.topic)
    made = app._new_consumer()
    assert isinstance(made, ChunkConsumer)
    return made


def test_neither_a_commit_nor_a_rebalance_waits_for_what_only_the_next_assignment_lets_be_sent(
    consumer: ChunkConsumer,
) -> None:
    class Sending:
        async def flush(self) -> None:
            await asyncio.Event().wait()

    async def flushed() -> None:
        producer = consumer.transport.create_producer()
        producer._producer = Sending()  # type: ignore[attr-defined]
        await asyncio.wait_for(producer.flush(), 5)

    asyncio.run(flushed())


def chunk(begin: int, end: int, epoch: int = 0) -> ChunkMessage:
    message = ChunkMessage(*TP0, end, 0.0, 0, (), None, [], None, 0, 0, TP0, generation_id=1)
    message.begin, message.epoch = begin, epoch
    return message


def test_a_message_is_made_from_these_fields_and_takes_ours() -> None:
    names = list(inspect.signature(ConsumerMessage).parameters)[:12]
    assert names == [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "headers",
        "key",
        "value",
        "checksum",
        "serialized_key_size",
        "serialized_value_size",
        "tp",
    ]
    message = chunk(3, 7)
    assert (message.tp, message.offset, message.begin, message.generation_id) == (TP0, 7, 3, 1)
    assert not message.done
    message.done = True
    assert weakref.ref(message)() is message
    assert hash(message) == hash(message)


def test_the_schema_leaves_the_records_as_they_are() -> None:
    message = chunk(0, 0)
    assert ChunkSchema().loads_key(None, message, loads=None, serializer=None) is None
    assert ChunkSchema().loads_value(None, message, loads=None, serializer=None) is message.value


def test_faust_keeps_what_is_acked_where_the_lane_reads_it(consumer: ChunkConsumer) -> None:
    message = chunk(0, 499)
    consumer.track_message(message)
    message.done = True
    assert consumer.ack(message)
    assert consumer._acked[TP0] == [499]
    assert consumer._acked_index[TP0] == {499}
    assert message not in consumer._unacked_messages
    assert consumer._filter_committable_offsets([TP0]) == {TP0: 500}
    assert not consumer._acked[TP0]
    assert not consumer._acked_index[TP0]


def test_faust_commits_nothing_at_or_below_what_is_committed(consumer: ChunkConsumer) -> None:
    consumer._committed_offset[TP0] = 500
    message = chunk(400, 499)
    message.done = True
    assert consumer.ack(message) is False
    assert consumer._filter_committable_offsets([TP0]) == {}


def test_what_is_not_done_is_neither_acked_nor_waited_for(consumer: ChunkConsumer) -> None:
    message = chunk(0, 499)
    consumer.track_message(message)
    assert consumer.ack(message) is False
    assert message not in consumer._unacked_messages
    assert consumer._filter_committable_offsets([TP0]) == {}


def test_a_skipped_chunk_of_an_earlier_epoch_holds_up_nothing_of_a_later_one(consumer: ChunkConsumer) -> None:
    consumer.ack(chunk(0, 499, epoch=1))
    later = chunk(0, 499, epoch=1)
    later.begin, later.done = 500, True
    assert consumer.ack(later) is False
    again = chunk(0, 499, epoch=2)
    again.done = True
    assert consumer.ack(again) is True
    consumer.ack(chunk(0, 499, epoch=1))
    behind = chunk(500, 999, epoch=2)
    behind.done = True
    assert consumer.ack(behind) is True
    assert consumer._filter_committable_offsets([TP0]) == {TP0: 1000}


def test_waiting_for_one_of_several_ends_with_the_first() -> None:
    async def first() -> None:
        opened = asyncio.Event()
        asyncio.get_running_loop().call_soon(opened.set)
        await asyncio.wait_for(Service().wait_first(opened.wait(), asyncio.Event().wait(), timeout=3600.0), 30)

    asyncio.run(first())


def test_fausts_seek_says_none_where_nothing_or_zero_is_committed(consumer: ChunkConsumer) -> None:
    """Which is why the lane seeks every source partition itself."""
    parts = [TP("orders", partition) for partition in range(3)]

    async def committed() -> dict[TP, int | None]:
        return dict(zip(parts, [None, 0, 7], strict=True))

    consumer.seek_to_committed = committed  # type: ignore[method-assign,assignment]
    asyncio.run(faust_consumer.Consumer.perform_seek(consumer))
    assert [consumer._committed_offset.get(part) for part in parts] == [None, None, 7]


def test_aiokafka_refuses_to_seek_what_is_not_assigned() -> None:
    async def seek() -> None:
        state = SubscriptionState()
        state.subscribe(topics={"orders"})
        state.assign_from_subscribed([aiokafka.TopicPartition("orders", 1)])
        state.seek(aiokafka.TopicPartition("orders", 1), 1)
        with pytest.raises(IllegalStateError):
            state.seek(aiokafka.TopicPartition("orders", 0), 1)

    asyncio.run(seek())


def test_a_record_tells_the_size_of_its_value() -> None:
    record = ConsumerRecord("orders", 0, 5, 1, 0, b"k", b"value", None, 1, 5, ())
    assert (record.offset, record.timestamp, record.timestamp_type, record.serialized_value_size) == (5, 1, 0, 5)


def test_our_settings_win_over_fausts(consumer: ChunkConsumer) -> None:
    producer = consumer.transport.create_producer()
    taken: dict[str, Any] = {}

    class Spied(type(producer)):  # type: ignore[misc]
        _producer_type = staticmethod(lambda **settings: taken.update(settings))

    producer.__class__ = Spied
    producer._new_producer()
    assert taken["enable_idempotence"] is True
    assert taken["acks"] == -1


def test_a_batch_says_when_it_is_full_and_how_much_it_holds() -> None:
    batch = BatchBuilder(
        batch_size=200, compression_type=0, is_transactional=False, key_serializer=None, value_serializer=None
    )
    taken = 0
    while batch.append(timestamp=None, key=b"k", value=b"x" * 50, headers=[("h", b"v")]) is not None:
        taken += 1
    assert 0 < taken == batch.record_count()
    batch.close()
