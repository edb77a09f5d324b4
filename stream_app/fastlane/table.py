"""The users table of the chunk lane: one dict per partition, filled from the changelog in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from faust.stores import memory
from faust.tables.table import Table
from faust.types import TP


class PartitionStore(memory.Store):
    """partition -> key -> live object, or raw bytes as recovered; and the changelog offset each partition stands at."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.partitions: dict[int, dict[bytes, Any]] = {}
        self._applied: dict[int, int] = {}
        self.owned: frozenset[int] = frozenset()
        """Partitions whose state is complete here and which this worker may change."""
        self.on_owned: Callable[[frozenset[int]], None] = lambda gained: None
        """Called with the partitions gained when recovery is complete."""

    def _clear(self) -> None:
        self.partitions.clear()
        self._applied.clear()

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Take over recovered records; the last one of a key counts, a record without value deletes."""
        for event in batch:
            message = event.message
            customers = self.partitions.setdefault(message.partition, {})
            for record in message.value:
                if record.value is None:
                    customers.pop(record.key, None)
                else:
                    customers[record.key] = record.value
            self._applied[message.partition] = message.offset

    def advance(self, partition: int, offset: int) -> None:
        """Our own record at `offset` is acknowledged: a later recovery may start behind it."""
        if offset > self._applied.get(partition, -1):
            self._applied[partition] = offset

    def persisted_offset(self, tp: TP) -> int | None:
        """The changelog offset up to which this process holds the partition."""
        return self._applied.get(tp.partition)

    def release(self) -> None:
        """Nothing is ours while the group rebalances; what is kept is completed by the next recovery."""
        self.owned = frozenset()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Forget partitions that are kept elsewhere now."""
        active = frozenset(tp.partition for tp in active_tps)
        kept = active | {tp.partition for tp in standby_tps}
        for partition in [p for p in self.partitions if p not in kept]:
            del self.partitions[partition]
        for partition in [p for p in self._applied if p not in kept]:
            del self._applied[partition]
        for partition in active:
            self.partitions.setdefault(partition, {})
        self.owned = active
        self.on_owned(active)


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
