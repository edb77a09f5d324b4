"""How this process fetches: records as aiokafka's parser gives them, and no long wait beside records that are here already."""

from __future__ import annotations

from typing import Any, Final

from aiokafka.consumer import consumer, fetcher

BESIDE: Final = 100
"""Milliseconds that the broker may hold a fetch while fetched records wait here: far less than working on these takes."""


class PlainRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Fetched records of a partition. aiokafka wraps each in a dataclass of eleven fields, of which we read four."""

    def __iter__(self) -> Any:
        """The generator itself: aiokafka steps through a method of its own for every record."""
        return self._records_iterator

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


class BriefFetcher(fetcher.Fetcher):  # type: ignore[misc]
    """Lets the broker wait for new records only while there is nothing else to do.

    While fetched records wait to be worked on, aiokafka fetches the other partitions by themselves. Where that is an idle topic, the broker
    would hold the request until its time is up (Faust: 1.5 s), and meanwhile nothing else can be fetched: a busy topic beside it runs dry.
    """

    @property
    def _fetch_max_wait_ms(self) -> int:
        return min(BESIDE, self._longest) if self._records else self._longest

    @_fetch_max_wait_ms.setter
    def _fetch_max_wait_ms(self, milliseconds: int) -> None:
        self._longest = milliseconds


def install() -> None:
    """Let every consumer of this process fetch so."""
    fetcher.PartitionRecords = PlainRecords
    consumer.Fetcher = BriefFetcher
