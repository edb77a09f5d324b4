"""The Kafka topics of Segstream: their names, what each holds, how long, and how they are partitioned."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_MS = 24 * 3600 * 1000
FORGOTTEN_MS = _DAY_MS
"""After this long a compacted topic holds no replaced record any more: what was erased is really gone."""
AWAY_MS = 7 * _DAY_MS
"""A reader of a compacted topic who was away no longer than this hears of every deletion."""
MAX_RECORD = 8 * 1024 * 1024
"""The largest record of the topics that hold whole customers or whole messages, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic: its name, purpose, whether it is partitioned by customer, and the broker's settings for it."""

    name: str
    purpose: str
    by_customer: bool = True
    """True: as many partitions as the input topics, keyed by user id. False: a single partition."""
    retention_ms: int | None = None
    compacted: bool = False
    max_bytes: int | None = None
    """The largest record; None: the broker's own limit."""

    def config(self) -> dict[str, str]:
        """The broker's topic settings."""
        config = {"cleanup.policy": "compact" if self.compacted else "delete"}
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        if self.max_bytes is not None:
            config["max.message.bytes"] = str(self.max_bytes)
        if self.compacted:
            config |= {"max.compaction.lag.ms": str(FORGOTTEN_MS), "delete.retention.ms": str(AWAY_MS)}
        elif self.retention_ms is not None:
            # Only closed segments are deleted: a quiet topic would keep its last one for a week longer.
            config["segment.ms"] = str(min(_DAY_MS, self.retention_ms))
        return config


ORDERS = Topic(name="orders", purpose="in: orders completed, cancelled and refunded", retention_ms=30 * _DAY_MS)
SIGNUPS = Topic(name="signups", purpose="in: sign-ups and identified traits", retention_ms=30 * _DAY_MS)
CHANGES = Topic(
    name="segment-changes",
    purpose="out: every change of a customer's segment, with its reason",
    retention_ms=30 * _DAY_MS,
)
STATE = Topic(name="segment-state", purpose="out: the latest change per customer, compacted", compacted=True)
USERS = Topic(
    name="segstream-users-changelog",
    purpose="the worker's memory of every customer, compacted",
    compacted=True,
    max_bytes=MAX_RECORD,
)
ORDERS_DLT = Topic(name="orders-dlt", purpose="dead letters of orders", max_bytes=MAX_RECORD, retention_ms=30 * _DAY_MS)
SIGNUPS_DLT = Topic(
    name="signups-dlt", purpose="dead letters of signups", max_bytes=MAX_RECORD, retention_ms=30 * _DAY_MS
)
DRIFT_BLOCKS = Topic(
    name="drift-blocks",
    purpose="per-partition summaries for the drift check",
    by_customer=False,
    retention_ms=7 * _DAY_MS,
)
DRIFT_STATE = Topic(
    name="drift-state",
    purpose="what the drift check remembers, now and then; the last record counts",
    by_customer=False,
    retention_ms=7 * _DAY_MS,
    max_bytes=MAX_RECORD,
)
DRIFT_ALERTS = Topic(
    name="drift-alerts",
    purpose="out: alerts that the customers or a pipeline have changed",
    by_customer=False,
    retention_ms=90 * _DAY_MS,
)
MODEL_EVENTS = Topic(
    name="model-events",
    purpose="out: every step of the models, from a training to its activation or refusal",
    by_customer=False,
    retention_ms=90 * _DAY_MS,
)
DESTINATION_DLT = Topic(
    name="destination-deadletters",
    purpose="what no receiver of a destination took, with its reason",
    retention_ms=30 * _DAY_MS,
)

AUDIT = Topic(
    name="audit",
    purpose="who erased, exported, redrove or activated what, when and why",
    by_customer=False,
    retention_ms=730 * _DAY_MS,
)

INPUTS = (ORDERS, SIGNUPS)
"""The source topics, in the order of the fence's slots."""

ALL = (
    ORDERS,
    SIGNUPS,
    CHANGES,
    STATE,
    USERS,
    ORDERS_DLT,
    SIGNUPS_DLT,
    DRIFT_BLOCKS,
    DRIFT_STATE,
    DRIFT_ALERTS,
    MODEL_EVENTS,
    DESTINATION_DLT,
    AUDIT,
)


def dead_letter_topic(source: str) -> str:
    """The topic that keeps what could not be used from `source`.

    >>> dead_letter_topic("orders")
    'orders-dlt'
    """
    return f"{source}-dlt"
