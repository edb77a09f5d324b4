"""A service that acts on changes of segment: whoever enters a segment by her own behaviour is welcomed there, once.

    pip install confluent-kafka
    SEGSTREAM_KAFKA=127.0.0.1:9092 python consume_changes.py --segment s3

What makes it safe to kill at any moment:

- The offset is committed after the work, so that nothing is lost: what was under way comes again.
- What comes again carries the same `change_id`, which is stored in the same transaction as the work, so that nothing is done twice.
- Only causes that say something about the customer count. `bootstrap` is history that was replayed, `model` a new model: neither
  is a reason to write to anybody. `erasure` means: forget her, here too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3

from confluent_kafka import Consumer, KafkaError, KafkaException

CAUSES = {"behaviour", "time", "correction"}


def open_store(path: str) -> sqlite3.Connection:
    """Where the work is done; here a table of welcomes that another program sends."""
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE IF NOT EXISTS seen (change_id TEXT PRIMARY KEY)")
    store.execute("CREATE TABLE IF NOT EXISTS welcomes (user_id TEXT, segment TEXT, sequence INTEGER)")
    return store


def handle(store: sqlite3.Connection, change: dict, segment: str) -> bool:
    """Do the work for one change; whether there was any. Called again with the same change, it does nothing."""
    if change["cause"] == "erasure":
        with store:
            store.execute("DELETE FROM welcomes WHERE user_id = ?", (change["user_id"],))
        return False
    if change["cause"] not in CAUSES or change["to_segment"] != segment:
        return False
    with store:  # both rows or none
        new = store.execute("INSERT OR IGNORE INTO seen VALUES (?)", (change["change_id"],)).rowcount
        if new:
            row = change["user_id"], change["to_segment"], change["sequence"]
            store.execute("INSERT INTO welcomes VALUES (?, ?, ?)", row)
    return bool(new)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--segment", required=True, help="the id of the segment, e.g. s3")
    options.add_argument("--group", default="welcome", help="the consumer group: one name per service")
    options.add_argument("--database", default="welcome.db")
    options.add_argument("--once", action="store_true", help="end when everything was read")
    asked = options.parse_args()

    store = open_store(asked.database)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("SEGSTREAM_KAFKA", "127.0.0.1:9092"),
            "group.id": asked.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # a new group reads what Kafka holds; "latest" to begin with today
            "enable.partition.eof": True,
        }
    )
    running = True

    def stop(*_: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    consumer.subscribe(["segment-changes"])
    ended: set[int] = set()
    done = 0
    while running and not (asked.once and consumer.assignment() and len(ended) == len(consumer.assignment())):
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
                continue
            raise KafkaException(message.error())
        ended.discard(message.partition())
        done += handle(store, json.loads(message.value()), asked.segment)
        consumer.commit(message, asynchronous=False)  # a busy service commits every hundred messages
    consumer.close()
    print(f"{done} new welcomes", flush=True)


if __name__ == "__main__":
    main()
