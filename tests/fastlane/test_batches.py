"""What was not stored is told, with what to do where that is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError

from stream_app.fastlane.batches import Record, WrongClock, send


class _Full:
    """A batch that takes nothing."""

    def append(self, **_: Any) -> None:
        return None

    def record_count(self) -> int:
        return 0


class _Refusing:
    """A producer whose broker refuses everything for one reason."""

    def __init__(self, reason: KafkaError) -> None:
        self._reason = reason

    def create_batch(self) -> _Full:
        return _Full()

    async def send(self, *_: Any, **__: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(self._reason)
        return future


def _send(reason: KafkaError) -> None:
    asyncio.run(send(_Refusing(reason), {"changes": {0: [Record(b"1", b"x")]}}))  # type: ignore[arg-type]


def test_a_worker_whose_clock_kafka_does_not_believe_says_so() -> None:
    with pytest.raises(WrongClock, match=r"refuses records for changes of 2.*set the clock"):
        _send(InvalidTimestampError())


def test_every_other_refusal_is_passed_on_as_it_is() -> None:
    with pytest.raises(MessageSizeTooLargeError):
        _send(MessageSizeTooLargeError())
