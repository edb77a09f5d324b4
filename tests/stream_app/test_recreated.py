"""A source topic that was deleted and created anew is told from one that is repeated."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from schemas import topics
from segstream import kafka
from segstream.outcome import No
from tests.installation import Installation, orders
from tests.waiting import wait_for


def test_a_source_topic_created_anew_below_what_was_applied_ends_the_worker_and_says_what_to_do(
    shop: Installation,
) -> None:
    shop.prepare()
    first = shop.worker().wait_ready()
    shop.produce(orders(800, 20))
    shop.caught_up()
    admin = AdminClient({"bootstrap.servers": shop.kafka})
    assert first.stop() == 0
    admin.delete_topics([topics.ORDERS.name])[topics.ORDERS.name].result(30)
    wait_for(lambda: topics.ORDERS.name not in kafka.partition_counts(shop.settings), "the topic is gone")
    kafka.create(shop.settings)
    shop.produce(orders(40, 20, first=800))
    second = shop.worker()
    wait_for(lambda: second.process.poll() is not None, "the worker ends")
    assert second.process.returncode == 70
    said = second.log.read_text()
    assert "deleted and created anew" in said
    assert "segstream replay" in said


def test_the_lag_of_a_group_that_has_read_further_than_a_topic_reaches_is_refused(shop: Installation) -> None:
    shop.prepare()
    shop.produce(orders(10, 3))
    shop.commit({(topics.ORDERS.name, 0): 1000})
    with pytest.raises(No, match="deleted and created anew"):
        kafka.lag(shop.settings)
