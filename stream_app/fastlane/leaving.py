"""Leaving the group in bounded time: whatever a member waits for, its successor should not wait for it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import aiokafka
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

WITHIN: Final = 3.0
"""Seconds for each step: a broker that answers at all does it in some milliseconds."""

_log: Final = logging.getLogger(__name__)


async def leave(consumer: aiokafka.AIOKafkaConsumer, within: float = WITHIN) -> None:
    """Stop a consumer whose work is committed.

    aiokafka lets a rebalance under way end before it leaves. That can take as long as the slowest member of the group, or for ever
    where the end of the rebalance calls into an app that is stopping; nothing is won by it, because what comes of it is given up.
    """
    if consumer._coordinator is not None:  # None where no broker was ever reached
        await _end_coordination(consumer, consumer._coordinator, within)
    try:
        await asyncio.wait_for(consumer.stop(), within)
    except TimeoutError:
        _log.warning("the group was left without the broker's answer; it notices when the session is over")


async def _end_coordination(consumer: aiokafka.AIOKafkaConsumer, coordinator: Any, within: float) -> None:
    joining = coordinator._performed_join_prepare
    coordination = coordinator._coordination_task
    coordination.cancel()
    await asyncio.wait({coordination}, timeout=within)
    if joining:
        await _leave_mid_join(consumer, coordinator, within)


async def _leave_mid_join(consumer: Any, coordinator: Any, within: float) -> None:
    """Kafka answers a connection in order: behind a join that waits for others a leave would wait too, so it gets a new one."""
    connection = consumer._client._conns.pop((coordinator.coordinator_id, ConnectionGroup.COORDINATION), None)
    if connection is not None:
        connection.close()
    if coordinator.member_id and coordinator._group_instance_id is None and coordinator.coordinator_id is not None:
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        try:
            await asyncio.wait_for(coordinator._send_req(request), within)
        except (KafkaError, TimeoutError) as error:
            _log.warning("the group could not be told that a member left it in the middle of a rebalance: %r", error)
    coordinator.reset_generation()
