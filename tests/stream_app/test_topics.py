"""A worker whose topics are not as it needs them ends before it touches anything, and says which and what to do."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from schemas import topics
from segstream import kafka
from segstream.outcome import NO
from tests.installation import Installation
from tests.waiting import wait_for


def _refuses(shop: Installation, *words: str) -> None:
    worker = shop.worker()
    wait_for(lambda: worker.process.poll() is not None, "it ends", 120)
    said = " ".join(worker.log.read_text().split())
    assert worker.process.returncode == NO, said[-2000:]
    for word in words:
        assert word in said
    assert "Traceback" not in said


def test_without_its_topics_a_worker_names_those_that_are_missing(shop: Installation) -> None:
    _refuses(shop, topics.ORDERS.name, topics.USERS.name, "segstream topics create")
    there = [NewTopic(topic.name, 4) for topic in topics.ALL if topic is not topics.CHANGES]
    client = AdminClient({"bootstrap.servers": shop.kafka})  # it must live until the answer is there
    for made in client.create_topics(there).values():
        made.result()
    wait_for(lambda: len(kafka.partition_counts(shop.settings)) >= len(there), "the others are there")
    _refuses(shop, f"topics are missing: {topics.CHANGES.name}.")


def test_topics_of_unequal_partitions_are_refused(shop: Installation) -> None:
    shop.prepare()
    client = AdminClient({"bootstrap.servers": shop.kafka})
    for made in client.create_partitions([NewPartitions(topics.USERS.name, 6)]).values():
        made.result()
    wait_for(lambda: kafka.partition_counts(shop.settings)[topics.USERS.name] == 6, "it has more partitions")
    _refuses(shop, "must have equal partition counts", f"{topics.USERS.name} 6", f"{topics.ORDERS.name} 4")
