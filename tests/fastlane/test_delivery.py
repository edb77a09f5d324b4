"""What is in the log is delivered: all of it, once, in order."""

from __future__ import annotations

import pytest
from faust.types import TP

from stream_app.fastlane.transport import MAX_CHUNK, MAX_CHUNK_BYTES
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log, count, rows
from tests.waiting import wait_for


def test_every_partition_of_several_topics_comes_in_order_without_a_hole(log: Log, member: Members) -> None:
    topics = [log.create("orders"), log.create("signups")]
    for topic in topics:
        log.produce(topic, (b"%s %d" % (topic.encode(), n) for n in range(9_000)))
    one = member(*topics).start()
    wait_for(lambda: count(one.done) >= 18_000, "everything is delivered")
    assert rows(one.done) == log.read(*topics)
    position: dict[TP, int] = {}
    for chunk in one.done:
        assert chunk.begin == position.get(chunk.tp, 0)
        position[chunk.tp] = chunk.rows[-1].offset + 1
        assert 1 <= len(chunk.rows) <= MAX_CHUNK
    assert max(len(chunk.rows) for chunk in one.done) == MAX_CHUNK, (
        "a full log makes full chunks, or the bound is elsewhere"
    )
    one.stop()
    assert log.committed(one.group, *topics) == position


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compressed_input_is_read(log: Log, member: Members, codec: str) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n * 20 for n in range(3_000)), compression_type=codec)
    one = member(topic).start()
    wait_for(lambda: count(one.done) >= 3_000, "everything is delivered")
    assert rows(one.done) == log.read(topic)


def test_a_chunk_is_bounded_in_bytes_whatever_it_decompresses_to(log: Log, member: Members) -> None:
    topic = log.create("orders", 1, max_message_bytes="8388608")
    sizes = [MAX_CHUNK_BYTES // 10] * 60 + [3 * MAX_CHUNK_BYTES] + [10] * 700
    log.produce(
        topic, (b"x" * size for size in sizes), 1, compression_type="zstd", message_max_bytes=8388608, linger_ms=50
    )
    one = member(topic, partitions=1).start()
    wait_for(lambda: count(one.done) >= len(sizes), "everything is delivered")
    assert rows(one.done) == log.read(topic, partitions=1)
    for chunk in one.done:
        size = sum(len(row.value or b"") for row in chunk.rows)
        assert size <= MAX_CHUNK_BYTES or len(chunk.rows) == 1
    assert any(len(chunk.rows) == 10 for chunk in one.done), "some chunk must end by its bytes, or this shows nothing"
