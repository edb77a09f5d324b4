"""A process that sends a shop's messages at a steady rate and writes down when it handed each to the Kafka client.

`python -m bench.load TOPIC CUSTOMERS ROUNDS FIRST COUNT RATE PARTITIONS FILE`, the server in SEGSTREAM_KAFKA. CUSTOMERS 0: every
message is the first order of someone new. FILE gets one float64 per message:
monotonic seconds, which all processes of a machine share.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer

from bench.generator import Log, Message, Shop, new_customer


def producer(kafka: str, linger_ms: float) -> Producer:
    """An idempotent producer: records of a partition arrive in the order in which they were handed over."""
    return Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            "log_level": 2,
        }
    )


def send(client: Producer, topic: str, log: Log, messages: Iterable[Message], rate: float = 0.0) -> array[float]:
    """Send messages to the partitions that the log says, `rate` a second (0: as fast as it goes); when each was handed over.

    Raises KafkaException where one was not stored.
    """
    failed: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    handed = array("d")
    clock = time.monotonic
    begun = clock()
    for number, message in enumerate(messages):
        while rate and (ahead := begun + number / rate - clock()) > 0:
            client.poll(0)
            time.sleep(ahead)  # polling for the rest would take a tenth of a core from what is measured
        partition, _ = log.append(message.key)
        handed.append(clock())
        while True:
            try:
                client.produce(topic, message.value, message.key, partition, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.05)
        if number % 256 == 0:
            client.poll(0)
    if client.flush(120) or failed:
        raise KafkaException(failed[0] if failed else "messages were not acknowledged within 120 s")
    return handed


def main() -> None:
    """See the module."""
    topic, customers, rounds, first, count, rate, partitions, file = sys.argv[1:]
    if int(customers):
        messages = list(Shop(int(customers), rounds=int(rounds)).messages(int(count), int(first)))
    else:
        messages = [new_customer(number) for number in range(int(first), int(first) + int(count))]
    client = producer(os.environ["SEGSTREAM_KAFKA"], 0 if float(rate) <= 2000 else 1)
    client.list_topics(topic, timeout=10)
    handed = send(client, topic, Log(int(partitions)), messages, float(rate))
    Path(file).write_bytes(handed.tobytes())


if __name__ == "__main__":
    main()
