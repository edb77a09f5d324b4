"""The Faust app and its one table, set up as the chunk lane needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import faust
import faust.auth

from schemas import connections, topics
from schemas.settings import Settings
from stream_app.fastlane.table import ChunkTable, ChunkTables
from stream_app.fastlane.transport import ChunkSchema, ChunkTransport
from stream_app.stores import opener

HELD: Final = 4
"""Chunks of the changelog that a restoring worker holds before they go into the store. Faust's own number, a thousand, is one of messages: of chunks
it is more than a gigabyte. One has a meaning of its own for Faust."""


class NoInstanceId(ValueError):
    """A store on disk must belong to a worker that has a name."""


def application(settings: Settings, partitions: int) -> faust.App:
    """The app: one consumer group, chunks for messages, no web, and no topic that it would create itself."""
    s = settings
    s.home.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        s.app_id,
        broker=[f"kafka://{server.strip()}" for server in s.kafka.split(",")],
        broker_credentials=credentials(s),
        autodiscover=False,
        store="memory://",
        datadir=str(s.home / "worker"),
        web_enabled=False,
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        broker_commit_interval=s.commit_interval,
        broker_session_timeout=s.session_timeout,
        broker_heartbeat_interval=max(0.3, s.session_timeout / 5),
        broker_rebalance_timeout=max(30.0, s.session_timeout),
        broker_request_timeout=90.0,
        # Progress is judged by our own health check: an idle worker must not leave the group.
        broker_max_poll_interval=86_400.0,
        broker_max_poll_records=1000,  # so many are taken over in one turn of the event loop
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=s.instance_id or None,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_batch_size=s.producer_max_batch_size,
        producer_max_request_size=topics.MAX_RECORD,
        # A broker that is away is waited for; a connection that is dead while the broker is not, the watchdog sees.
        producer_request_timeout=3600.0,
        table_standby_replicas=s.standby_replicas,
        TableManager=ChunkTables,
    )
    app._transport = ChunkTransport(app.conf.broker_consumer, app)
    app.conf.Table = ChunkTable
    return app


def credentials(settings: Settings) -> faust.auth.Credentials | None:
    """Who we are to Kafka, as Faust and aiokafka take it; None where anyone may come. Raises connections.Unusable."""
    match settings.kafka_security:
        case "sasl_ssl":
            return faust.SASLCredentials(
                username=settings.kafka_username,
                password=settings.kafka_password.get_secret_value(),
                ssl_context=connections.kafka_tls(settings),
                mechanism=connections.MECHANISM,
            )
        case "ssl":
            return faust.SSLCredentials(connections.kafka_tls(settings))
        case "plaintext":
            return None


def users(app: faust.App, settings: Settings, partitions: int) -> ChunkTable:
    """The customers by partition, restored from their changelog. Raises NoInstanceId."""
    # Given to the table at once: Faust registers a table for recovery by the name its changelog has when it is made.
    changelog = app.topic(
        topics.USERS.name,
        schema=ChunkSchema(),
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        compacting=True,
        deleting=False,
        acks=False,
        internal=True,
        allow_empty=True,
    )
    table: ChunkTable = app.Table(
        "users",
        partitions=partitions,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=changelog,
        # A standby takes chunks over as they come; it would not follow if it waited for many of them.
        standby_buffer_size=1,
        recovery_buffer_size=HELD,
    )
    table.data.open_store = opener(settings.store, _directory(settings))  # type: ignore[attr-defined]
    return table


def _directory(settings: Settings) -> Path:
    """Where a store on disk lies: a directory of this worker's own, found again after a restart."""
    if settings.store == "rocksdb" and not settings.instance_id:
        raise NoInstanceId(
            "SEGSTREAM_STORE=rocksdb needs SEGSTREAM_INSTANCE_ID: a name for each worker that stays over restarts"
        )
    return settings.home / "state" / settings.app_id / settings.instance_id
