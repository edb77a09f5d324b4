"""Nothing is produced by a worker that the group may have given up: its partitions may have another owner by now.

A worker that was stopped (SIGSTOP, a paused machine) for longer than the session wakes up in the middle of a send, and what it sends
would lie behind what its successor has written. So every produce request, the first try and every other, waits for a heartbeat that the
group has answered within the lease; a group that no longer knows us ends the process if work is in flight or is sent. What is already
in the kernel's buffers when the process is stopped cannot be held back: it arrives within the session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka.consumer import consumer
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.producer import producer
from aiokafka.producer.sender import Sender

SHARE: Final = 0.75
"""Of the session timeout, counted from when an answered heartbeat was sent; the rest is for the request on its way."""
LOOK: Final = 0.02
"""Seconds between looks at a lease that does not hold."""


class LeaseLost(RuntimeError):
    """The group has given our partitions to others; what is still to be sent must not be."""


class Lease:
    """Until when (monotonic seconds) the group surely takes us for the owner of our partitions."""

    def __init__(self, group: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._until: float | None = None
        self._lost = False
        self.on_lost: Callable[[LeaseLost], None] = lambda error: None
        """Called when the group no longer knows us, and when something is to be sent after that."""

    def concerns(self, group: str) -> bool:
        """Whether a group is the one that gives us our customers; the process may be a member of others."""
        return group == self._group

    def renew(self, asked: float, session: float) -> None:
        """The group has answered what was asked at that moment."""
        self._until = max(self._until or asked, asked + SHARE * session)

    def take(self, asked: float, session: float) -> None:
        """The group has given us partitions."""
        self._lost = False
        self.renew(asked, session)

    def lose(self) -> None:
        """The group no longer knows us."""
        if self._until is not None and not self._lost:
            self._lost = True
            self.on_lost(LeaseLost("the group has given this worker up; what it has in hand may be another's by now"))

    @property
    def is_lost(self) -> bool:
        """Whether the group no longer knows us: a rebalance follows, and no work should begin before it."""
        return self._lost

    @property
    def holds(self) -> bool:
        """Whether something may be sent now; before there ever was a group, too."""
        return not self._lost and (self._until is None or self._clock() < self._until)

    async def wait(self) -> None:
        """Wait until something may be sent."""
        while not self.holds:
            if self._lost:
                self.on_lost(LeaseLost("something was to be sent after the group had given this worker up"))
            await asyncio.sleep(LOOK)


class LeasedCoordinator(GroupCoordinator):  # type: ignore[misc]
    """aiokafka's group coordinator, which keeps the lease."""

    lease = Lease()

    async def _do_heartbeat(self) -> bool:
        if not self.lease.concerns(self.group_id):
            return bool(await super()._do_heartbeat())
        asked, member = time.monotonic(), self.member_id
        try:
            known = await super()._do_heartbeat()
        except Exception:  # fenced, or not allowed: aiokafka goes on to tell why
            self.lease.lose()
            raise
        if known:
            self.lease.renew(asked, self._session_timeout_ms / 1000)
        elif member != self.member_id:  # reset: the group answered that it does not know us
            self.lease.lose()
        return bool(known)


class LeasedRebalance(CoordinatorGroupRebalance):  # type: ignore[misc]
    """aiokafka's rebalance, with which a lease begins."""

    async def _send_sync_group_request(self, request: Any) -> Any:
        asked = time.monotonic()
        assignment = await super()._send_sync_group_request(request)
        if assignment is not None and self._coordinator.lease.concerns(self.group_id):
            self._coordinator.lease.take(asked, self._session_timeout_ms / 1000)
        return assignment


class LeasedSender(Sender):  # type: ignore[misc]
    """aiokafka's sender, which sends under the lease."""

    lease = Lease()

    async def _send_produce_req(self, node_id: Any, batches: Any) -> None:
        await self.lease.wait()
        await super()._send_produce_req(node_id, batches)


def install(lease: Lease) -> None:
    """Let every consumer of this process keep the lease and every producer mind it."""
    from aiokafka.consumer import group_coordinator

    LeasedCoordinator.lease = LeasedSender.lease = lease
    consumer.GroupCoordinator = LeasedCoordinator
    group_coordinator.CoordinatorGroupRebalance = LeasedRebalance
    producer.Sender = LeasedSender
