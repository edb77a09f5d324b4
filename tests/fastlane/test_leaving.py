"""A member that leaves in the middle of a rebalance neither waits for the others nor lets them wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiokafka
import pytest

from stream_app.fastlane.leaving import leave
from tests.fastlane.lane import Log


class Holding(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Gives its partitions up only when it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if revoked:
            self.asked.set()
            await self.may.wait()

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing to do."""


def consumer(log: Log) -> aiokafka.AIOKafkaConsumer:
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=log.bootstrap,
        group_id=f"{log.name}-group",
        enable_auto_commit=False,
        session_timeout_ms=30_000,
        heartbeat_interval_ms=200,
        rebalance_timeout_ms=60_000,
        request_timeout_ms=60_000,
    )


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("let_go", [True, False], ids=["the-other-goes-on", "the-other-never-lets-go"])
def test_who_leaves_in_mid_join_waits_for_nobody_and_nobody_waits_for_it(log: Log, let_go: bool) -> None:
    topic = log.create("orders", 2)

    async def law() -> None:
        holding = Holding()
        one, two = consumer(log), consumer(log)
        one.subscribe([topic], listener=holding)
        await one.start()
        await until(lambda: len(one.assignment()) == 2, "the first has both partitions")
        two.subscribe([topic])
        joining = asyncio.ensure_future(two.start())
        try:
            await asyncio.wait_for(holding.asked.wait(), 30)
            begun = time.monotonic()
            await leave(two)
            assert time.monotonic() - begun < 7
            if let_go:
                begun = time.monotonic()
                holding.may.set()
                await until(lambda: not one._coordinator._performed_join_prepare, "the first is in the group again")
                assert len(one.assignment()) == 2
                assert time.monotonic() - begun < 15, "half the session timeout: it was told that the second has left"
        finally:
            holding.may.set()
            joining.cancel()
            await asyncio.wait({joining})
            await one.stop()

    asyncio.run(law())
