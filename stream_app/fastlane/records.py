"""Records as aiokafka's parser gives them: key, value, offset, timestamp; without a second object around each."""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import fetcher


class PlainRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Fetched records of a partition. aiokafka wraps each in a dataclass of eleven fields, of which we read four."""

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def install() -> None:
    """Let every consumer of this process hand out plain records."""
    fetcher.PartitionRecords = PlainRecords
