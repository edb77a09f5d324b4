"""The users table of the chunk lane: one store per partition, filled from the changelog in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from faust.stores import memory
from faust.tables import TableManager
from faust.tables.table import Table
from faust.types import TP

from stream_app.stores import NOTHING, Store


class PartitionStore(memory.Store):
    """Partition -> store of its customers' records. Each store knows the changelog offset it stands at."""

    open_store: Callable[[int], Store]
    """Opens the store of a partition. Set by the worker."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.partitions: dict[int, Store] = {}
        self._recovered: frozenset[int] = frozenset()
        self.owned: frozenset[int] = frozenset()
        """Partitions whose state is complete here and which this worker may change."""
        self.on_owned: Callable[[frozenset[int]], None] = lambda gained: None
        """Called with the partitions owned when work on them may begin; `overtaken` then tells what others did meanwhile."""
        self.overtaken: dict[int, dict[bytes, None]] = {}
        """Of the partitions that were owned before: the keys of records that others have written since, while this worker was away."""
        self._held: frozenset[int] = frozenset()
        """What was owned last."""
        self.recovered = 0
        """Records read from the changelog since the process started."""

    def _clear(self) -> None:
        self._forget(self.partitions)

    def _partition(self, partition: int) -> Store:
        store = self.partitions.get(partition)
        if store is None:
            store = self.partitions[partition] = self.open_store(partition)
        return store

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Take over recovered records; the last one of a key counts, a record without value deletes."""
        for event in batch:
            message = event.message
            rows = {record.key: record.value for record in message.value}
            self._partition(message.partition).put(rows, message.offset)
            if message.partition in self._held:
                self.overtaken.setdefault(message.partition, {}).update(dict.fromkeys(rows))
            self.recovered += len(message.value)

    def persisted_offset(self, tp: TP) -> int | None:
        """The changelog offset up to which this process holds the partition."""
        offset = self._partition(tp.partition).offset
        return None if offset == NOTHING else offset

    def own(self) -> None:
        """What was recovered last is ours."""
        self.owned = self._recovered
        self.on_owned(self.owned)
        self._held = self.owned
        self.overtaken.clear()

    def release(self) -> None:
        """Nothing is ours while the group rebalances; what is kept is completed by the next recovery."""
        self.owned = frozenset()

    def _forget(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self.partitions.pop(partition).close()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Forget partitions that are kept elsewhere now.

        Nothing is owned by it: Faust calls this also at the end of a recovery that another rebalance has overtaken, and then with the
        partitions of the new assignment, which are not restored yet.
        """
        active = frozenset(tp.partition for tp in active_tps)
        kept = active | {tp.partition for tp in standby_tps}
        self._forget(self.partitions.keys() - kept)
        for partition in active:
            self._partition(partition)
        self._recovered = active
        if not active:  # no seek will follow
            self.own()


class ChunkTable(Table):
    """A Faust table (group assignment, changelog, recovery, standbys) over a PartitionStore."""

    def _new_store(self) -> PartitionStore:
        return PartitionStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Faust logs an error of recovery and goes on without the records; state that cannot be restored must end the process."""
        try:
            super().apply_changelog_batch(batch)
        except Exception:
            self.log.exception("the users table could not be restored")
            os._exit(70)

    def remaining(self) -> int:
        """Changelog records still to be read before the owned partitions are complete."""
        return int(self.app.tables.recovery.active_remaining_total())  # type: ignore[attr-defined]


class ChunkTables(TableManager):
    """Faust's keeper of tables, without the second for which it waits whether another table comes: ours is there before it starts."""

    async def on_start(self) -> None:
        """Register the table's changelog and start recovery."""
        await self._update_channels()
        await self.recovery.start()
