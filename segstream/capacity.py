"""`segstream plan`: what a shop of some size needs, and what gives way first, from constants that `make bench` has measured."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any, Final

import msgspec

from segstream.outcome import Usage

CORE_USE: Final = 0.5
"""Share of a core that a worker takes in steady state: the other half is for bursts, for catching up and for a new model."""
RECOVERY_SECONDS: Final = 30.0
"""A worker restores its customers within this, or there are more workers."""
PARTITIONS: Final = (4, 8, 12, 24, 48, 96, 192, 384, 768, 1024)
"""The numbers of partitions offered: many divisors, so that workers share them evenly. Two per worker leave room to grow."""
RETENTION_DAYS: Final = 30
"""Of events and changes: `schemas.topics`."""
COMPACTION: Final = 2.0
"""A compacted topic takes this many times its live records, between two runs of the cleaner."""
GIB: Final = 1024**3
_DAY: Final = 86_400


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The constants, and where they come from."""

    command: str
    commit: str
    machine: str
    date: str
    cpu_us_per_event: float
    """Of one worker, everything included, at the size of the catch-up measurement."""
    cpu_us_per_event_million: float
    """The same when it holds a million customers."""
    rss_mib_empty: float
    """A worker without customers."""
    rss_bytes_per_customer: float
    rss_mib_per_rocksdb_partition: float
    """With SEGSTREAM_STORE=rocksdb, whatever the number of customers: buffers and caches of a partition."""
    event_bytes: float
    change_bytes: float
    """One change as stored on each of two topics, headers included."""
    state_bytes: float
    """One customer's record in the changelog."""
    share_of_changes: float
    """Of the events, those that change a segment."""
    redis_bytes_per_customer: float
    restored_per_s: float
    """Changelog records that a starting worker reads per second."""
    rescored_per_s: float
    """Customers that a worker moves to a new model per second, beside live events."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Something that gives way when the shop grows."""

    what: str
    at: str
    """Where it gives way, and where this shop is."""
    load: float
    """This shop as a share of what is possible; above 1 it has given way."""
    do: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed. Memory and disk in GiB, times in seconds."""

    customers: int
    events_per_second: float
    workers: int
    workers_because: str
    partitions: int
    store: str
    memory_per_worker_gib: float
    memory_gib: float
    events_disk_gib: float
    changes_disk_gib: float
    changelog_gib: float
    redis_gib: float
    cpu_cores: float
    """Busy in steady state, over all workers; brokers come on top."""
    recovery_seconds: float
    """A worker's customers from the changelog; with a standby replica only the session timeout counts."""
    new_model_seconds: float
    replay_hours: float
    """The history of the customers (20 events each) through all workers."""
    limits: tuple[Limit, ...]
    """The first to give way comes first."""


def measured() -> Measured:
    """The constants that ship with this version."""
    text = resources.files("segstream").joinpath("measured.json").read_bytes()
    return msgspec.json.decode(text, type=Measured)


def plan(
    customers: int,
    events_per_second: float,
    constants: Measured,
    *,
    memory_per_worker: float = 8.0,
    replication: int = 3,
) -> Plan:
    """The plan for a shop; `memory_per_worker` in GiB is what a worker may take. Raises Usage for sizes that are none."""
    if customers < 1 or events_per_second <= 0 or memory_per_worker <= 0 or replication < 1:
        raise Usage("customers, events per second, memory and replication must be above zero")
    c = constants
    cpu_us = c.cpu_us_per_event_million if customers >= 100_000 else c.cpu_us_per_event
    cores = events_per_second * cpu_us / 1e6
    room = memory_per_worker * GIB - c.rss_mib_empty * 1024**2
    if room <= 0:
        raise Usage(f"a worker without customers takes {c.rss_mib_empty / 1024:.2f} GiB already; give it more memory")
    in_memory = math.ceil(customers * c.rss_bytes_per_customer / room)
    for_load = max(1, math.ceil(cores / CORE_USE))
    for_recovery = max(1, math.ceil(customers / (c.restored_per_s * RECOVERY_SECONDS)))
    # Where memory asks for many more workers than load and recovery do, the customers go to disk.
    store = "rocksdb" if in_memory > 2 * max(for_load, for_recovery) else "memory"
    reasons = {"events per second": for_load, "recovery time": for_recovery}
    if store == "memory":
        reasons["memory"] = in_memory
    workers = max(reasons.values())
    because = max(reasons, key=reasons.__getitem__) if workers > 1 else "one is enough"
    partitions = next((n for n in PARTITIONS if n >= 2 * workers), max(2 * workers, PARTITIONS[-1]))
    held = customers / workers * c.rss_bytes_per_customer / GIB
    if store == "rocksdb":
        held = math.ceil(partitions / workers) * c.rss_mib_per_rocksdb_partition / 1024
    memory = c.rss_mib_empty / 1024 + held
    stored = RETENTION_DAYS * _DAY * events_per_second * replication / GIB
    each = customers / workers
    return Plan(
        customers=customers,
        events_per_second=events_per_second,
        workers=workers,
        workers_because=because,
        partitions=partitions,
        store=store,
        memory_per_worker_gib=memory,
        memory_gib=memory * workers,
        events_disk_gib=stored * c.event_bytes,
        changes_disk_gib=stored * c.share_of_changes * c.change_bytes
        + customers * c.change_bytes * COMPACTION * replication / GIB,
        changelog_gib=customers * c.state_bytes * COMPACTION * replication / GIB,
        redis_gib=customers * c.redis_bytes_per_customer / GIB,
        cpu_cores=cores,
        recovery_seconds=each / c.restored_per_s,
        new_model_seconds=each / c.rescored_per_s,
        replay_hours=20 * customers * cpu_us / 1e6 / workers / 3600,
        limits=_limits(customers, events_per_second, partitions, cores, memory_per_worker, c),
    )


def _limits(
    customers: int, events_per_second: float, partitions: int, cores: float, memory: float, c: Measured
) -> tuple[Limit, ...]:
    in_memory = c.rss_mib_empty / 1024 + customers * c.rss_bytes_per_customer / GIB
    redis = customers * c.redis_bytes_per_customer / GIB
    one_restores = customers / c.restored_per_s
    one_moves = customers / c.rescored_per_s
    incoming = events_per_second * c.event_bytes / 1e6

    def limit(what: str, here: float, most: float, unit: str, do: str) -> Limit:
        return Limit(what=what, at=f"{_short(here)} of {_short(most)} {unit}", load=here / most, do=do)

    found = [
        limit("one worker's core", cores, CORE_USE, "cores", "more workers, one per core; they share the partitions"),
        limit("one worker's memory", in_memory, memory, "GiB", "more workers, or SEGSTREAM_STORE=rocksdb"),
        limit(
            "recovery of one worker",
            one_restores,
            RECOVERY_SECONDS,
            "s",
            "more workers, SEGSTREAM_STANDBY_REPLICAS=1, or SEGSTREAM_STORE=rocksdb",
        ),
        limit("a new model on one worker", one_moves, 600.0, "s", "more workers; the customers are moved meanwhile"),
        limit(
            "partitions",
            partitions,
            1000.0,
            "partitions",
            "several installations (app_id, prefix), each with a share of the customers",
        ),
        limit(
            "one Redis server",
            redis,
            100.0,
            "GiB",
            "several installations, each with its Redis; or keep only active customers there",
        ),
        limit("one broker's disk and network", incoming, 50.0, "MB/s in", "more brokers: partitions spread over them"),
    ]
    return tuple(sorted(found, key=lambda one: -one.load))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def document(made: Plan, constants: Measured) -> dict[str, Any]:
    """The plan and its constants, for scripts."""
    return {**msgspec.to_builtins(made), "measured": msgspec.to_builtins(constants)}


def rows(made: Plan) -> list[tuple[str, str]]:
    """The plan for people: what, and how much."""
    return [
        ("workers", f"{made.workers:,} ({made.workers_because}), one core each"),
        ("partitions", f"{made.partitions:,}"),
        ("customers kept in", "memory" if made.store == "memory" else "RocksDB (SEGSTREAM_STORE=rocksdb)"),
        ("memory of a worker", f"{_short(made.memory_per_worker_gib)} GiB"),
        ("cores busy", f"{_short(made.cpu_cores)}"),
        ("Kafka: events, 30 days", f"{_short(made.events_disk_gib)} GiB"),
        ("Kafka: changes, 30 days, and who is where", f"{_short(made.changes_disk_gib)} GiB"),
        ("Kafka: customers (changelog)", f"{_short(made.changelog_gib)} GiB"),
        ("Redis", f"{_short(made.redis_gib)} GiB"),
        ("recovery of a worker", f"{_short(made.recovery_seconds)} s"),
        ("a new model reaches everyone in", f"{_short(made.new_model_seconds)} s"),
        ("replay of their history (20 events each)", f"{_short(made.replay_hours)} h"),
    ]
