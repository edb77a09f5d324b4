"""The Quix Streams app: a dataframe with state, expanded into changes, sent to both topics. Runs in an environment of its own."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State, message_context

from bench import job

settings = job.Settings.here()
model = settings.load_model()

app = Application(
    broker_address=settings.kafka,
    consumer_group=settings.group,
    auto_offset_reset="earliest",
    state_dir=str(settings.directory / "state"),
    commit_interval=job.COMMIT_SECONDS,
    loglevel="WARNING",
    consumer_extra_config={"group.instance.id": settings.instance, "session.timeout.ms": job.SESSION_SECONDS * 1000},
)
orders = app.topic(settings.source, key_deserializer="bytes", value_deserializer="bytes")
changes = app.topic(job.CHANGES, key_serializer="bytes", value_serializer="bytes")
states = app.topic(job.STATE, key_serializer="bytes", value_serializer="bytes")


def segment(value: bytes, key: bytes, timestamp: int, headers: Any, state: State) -> list[tuple[bytes, Any]]:
    """Fold and score one event; its changes with their headers."""
    stored = state.get_bytes("customer")
    customer = job.from_bytes(stored) if stored else None
    at, decided_at = job.now()
    where = message_context()
    done = job.apply(customer, key, value, where.partition, where.offset, model, decided_at)
    if done is None:
        return []
    state.set_bytes("customer", job.to_bytes(done[0]))
    return [job.encoded(change, at)[1:] for change in done[1]]


stream = app.dataframe(orders).apply(segment, stateful=True, metadata=True, expand=True)
stream = stream.set_headers(lambda change, key, timestamp, headers: change[1]).apply(lambda change: change[0])
stream.to_topic(changes)
stream.to_topic(states)

if __name__ == "__main__":
    app.run()
