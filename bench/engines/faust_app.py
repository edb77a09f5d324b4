"""The idiomatic Faust app: an agent, a table, `topic.send`, one event at a time, Faust's own settings but for the job's commit interval."""

from __future__ import annotations

import sys
from typing import Any

import faust

from bench import job

settings = job.Settings.here()
model = settings.load_model()

app = faust.App(
    settings.group,
    broker=f"kafka://{settings.kafka}",
    store="memory://",
    topic_partitions=job.PARTITIONS,
    datadir=str(settings.directory),
    web_enabled=False,
    autodiscover=False,
    consumer_auto_offset_reset="earliest",
    consumer_group_instance_id=settings.instance,
    broker_session_timeout=float(job.SESSION_SECONDS),
    broker_heartbeat_interval=1.5,
    broker_commit_interval=job.COMMIT_SECONDS,
)
orders = app.topic(settings.source, key_type=bytes, value_type=bytes, value_serializer="raw")
changes = app.topic(job.CHANGES, key_type=bytes, value_type=bytes, value_serializer="raw")
state = app.topic(job.STATE, key_type=bytes, value_type=bytes, value_serializer="raw")
customers = app.Table("customers", partitions=job.PARTITIONS, key_type=bytes, value_type=bytes)


@app.agent(orders)
async def segment(stream: Any) -> None:
    """Fold, score, tell."""
    async for event in stream.events():
        stored = customers.get(event.key)
        customer = job.from_bytes(stored) if stored else None
        at, decided_at = job.now()
        message = event.message
        done = job.apply(customer, event.key, event.value, message.partition, message.offset, model, decided_at)
        if done is None:
            continue
        for change in done[1]:
            key, value, headers = job.encoded(change, at)
            await changes.send(key=key, value=value, headers=headers)
            await state.send(key=key, value=value, headers=headers)
        customers[event.key] = job.to_bytes(done[0])


if __name__ == "__main__":
    sys.argv = [sys.argv[0]]
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
