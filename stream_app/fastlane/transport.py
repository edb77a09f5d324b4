"""The Kafka side of the chunk lane: fetch chunks, hand each out once and in order, acknowledge only what was done."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import aiokafka
import faust
from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from stream_app.fastlane.threadless import Threadless

MAX_CHUNK: Final = 200
"""Records per chunk: with 50 us of work per record the event loop is held for 10 ms."""
MAX_CHUNK_BYTES: Final = 1024 * 1024
"""Bytes of values per chunk (a larger record is a chunk by itself): what is in flight stays bounded, whatever it decompresses to."""
MAX_IN_FLIGHT: Final = 32
"""Chunks handed out and not yet acknowledged."""


def chunks(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut fetched records, in order, into chunks of at most MAX_CHUNK records and MAX_CHUNK_BYTES of values."""
    first = 0
    while first < len(records):
        part = records[first : first + MAX_CHUNK]
        sizes = [len(record.value or b"") for record in part]
        if sum(sizes) > MAX_CHUNK_BYTES:
            part = part[: max(1, bisect_right(list(accumulate(sizes)), MAX_CHUNK_BYTES))]
        yield part
        first += len(part)


class ChunkSchema(faust.Schema):
    """Leaves the list of fetched records as it is: the agent decodes."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """No key: a chunk holds many."""
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """The records as fetched."""
        return message.value


class ChunkMessage(ConsumerMessage):
    """A chunk of one partition, covering the offsets from `begin` to `offset` inclusive.

    `done` is set when its work is acknowledged by Kafka. Faust's streams ack what they skip in a rebalance; `ChunkConsumer.ack`
    refuses whatever is not done, so that a skipped chunk is read again.
    """

    begin: int
    epoch: int
    done = False


class ChunkConsumer(driver.Consumer):
    """Faust's consumer, with `getmany` yielding chunks.

    `_next[tp]` is the offset at which the next chunk of a partition must begin: set by a seek, moved by handing out a chunk. A
    fetch that crosses a seek or a rebalance is not handed out but sought again from there. A partition that is not in `_next`
    was assigned but not yet sought; what was fetched of it is dropped, because the seek is still to come.
    """

    _thread: Threadless

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._next: dict[TP, int] = {}
        self._fetch_epoch = 0
        self.epoch = 0
        """Counts revocations and seeks of the sources: a chunk of an earlier epoch must not be worked on."""
        self.sought: dict[TP, int] = {}
        """Where each source partition was sought to in this epoch."""
        self.expired = 0
        """Records deleted by retention before they were read."""
        self._revoked = False
        """Whether what is assigned was revoked and not yet assigned anew."""
        self._in_flight: set[int] = set()
        self._undone: dict[TP, tuple[int, int]] = {}
        """Epoch and begin of the first chunk that was acked without having been done."""
        self._gaps: dict[TP, tuple[int, int]] = {}
        """The last gap seen in a source partition: where it should have gone on, and the offset that came."""
        self._settled = asyncio.Event()
        """Cleared while a seek is under way: what a fetch returns meanwhile may lie on either side of it."""
        self._settled.set()
        self._room = asyncio.Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> Threadless:
        return Threadless(self, loop=self.loop, beacon=self.beacon)

    def is_current(self, message: ChunkMessage) -> bool:
        """Whether the chunk may be worked on: nothing was revoked or sought since it was fetched."""
        return message.epoch == self.epoch and self.flow_active

    def committed(self) -> dict[TP, int]:
        """What is committed, of the partitions of which that is known."""
        return {tp: offset for tp, offset in dict(self._committed_offset).items() if offset is not None}

    @property
    def member_id(self) -> str:
        """Who we are in the group, empty while we are nobody."""
        return self._thread.member_id

    def ack(self, message: Any) -> bool:
        """Mark a chunk's offsets as committable, if its work and that of all chunks before it is done."""
        self._in_flight.discard(id(message))
        self._room.set()
        if isinstance(message, ChunkMessage) and not self._is_committable(message):
            self._unacked_messages.discard(message)  # Faust keeps there what is still worked on
            return False
        return bool(super().ack(message))

    def _is_committable(self, message: ChunkMessage) -> bool:
        epoch, undone = self._undone.get(message.tp, (-1, -1))
        same = epoch == message.epoch
        if message.done:
            return not same or message.begin < undone
        self._undone[message.tp] = (message.epoch, min(undone, message.begin) if same else message.begin)
        return False

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let go of partitions only when the work in flight is acknowledged and committed."""
        self._revoked = True
        self._next.clear()
        await self._finish()
        await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Forget every position: the seek that follows sets them."""
        self._revoked = False
        self._new_epoch()
        self._next.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        """Finish the work in flight before the last commit."""
        await self._finish()
        await super().on_stop()

    async def _finish(self) -> None:
        self._new_epoch()
        transport: ChunkTransport = self.transport  # type: ignore[assignment]
        transport.release()
        await transport.drain()
        # A commit under way took its offsets before the last acknowledgements, and Faust would take it for the last one.
        await self.maybe_wait_for_commit_to_finish()

    def _new_epoch(self) -> None:
        self.epoch += 1
        self._fetch_epoch += 1
        self._in_flight.clear()
        self._room.set()

    async def perform_seek(self) -> None:
        """Seek every source partition to its committed offset, or to its start where none is committed.

        aiokafka seeks only where an offset above zero is committed; a partition left where it is would go on behind
        whatever was fetched and dropped before. Work begins with it, unless a rebalance came meanwhile: Faust then
        lets the recovery of an earlier generation end as if nothing had happened, but another one will follow.
        """
        self._settled.clear()
        try:
            self._new_epoch()
            epoch = self.epoch
            await super().perform_seek()
            sources = [tp for tp in self.assignment() if self.app.topics.acks_enabled_for(tp.topic)]
            if sources:
                start = self._starts(await self.earliest_offsets(*sources), await self.highwaters(*sources))
                await super().seek_wait(start)
                if self._revoked or self.epoch != epoch:
                    return
                self.sought = start
                self._next.update(start)
                transport: ChunkTransport = self.transport  # type: ignore[assignment]
                transport.own()
            self._new_epoch()
        finally:
            self._settled.set()

    def _starts(self, earliest: Mapping[TP, int | None], ends: Mapping[TP, int]) -> dict[TP, int]:
        start = {}
        for tp, found in earliest.items():
            # What is committed is taken from where Faust keeps an offset of zero apart from none.
            committed, first = self._read_offset.get(tp), found or 0
            if committed is not None and committed > ends[tp]:
                self.log.error(
                    "%s-%d was deleted and created anew: %d is committed, its log ends at %d; read from its beginning",
                    *(tp.topic, tp.partition, committed, ends[tp]),
                )
                committed = self._committed_offset[tp] = None
            if committed is not None:
                self._count_expired(tp, committed, first)
            start[tp] = max(first, committed or 0)
        return start

    def _count_expired(self, tp: TP, begin: int, first: int) -> None:
        if first > begin:
            self.expired += first - begin
            self.log.error(
                "%s-%d: records %d to %d were deleted by retention before they were read",
                *(tp.topic, tp.partition, begin, first - 1),
            )

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek changelog partitions for recovery."""
        self._settled.clear()
        try:
            self._fetch_epoch += 1
            await super().seek_wait(partitions)
            self._next.update(partitions)
            self._fetch_epoch += 1
        finally:
            self._settled.set()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """The next chunks, while no more than MAX_IN_FLIGHT are unacknowledged."""
        if len(self._in_flight) >= MAX_IN_FLIGHT and not self.app.in_recovery:
            self._room.clear()
            # Suspension must end this wait, or a rebalance would wait for us.
            await self.wait_first(self._room.wait(), self.suspend_flow.wait(), timeout=timeout)
            return
        fetch = (self._fetch_epoch, self.app.consumer_generation_id)
        records, _ = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        left = list(records.items())
        while left:
            tp, fetched = left[0]
            gap = self._missing(tp, fetched)
            if gap is not None and self._gaps.get(tp) != gap:
                self._gaps[tp] = gap
                await self._rewind([tp])
                fetched = []
            elif gap is not None:
                try:
                    first = (await self.earliest_offsets(tp))[tp]
                except KafkaError:  # not now: what was fetched is fetched again, and asked for again
                    await self._rewind([tp for tp, _ in left])
                    return
                self._count_expired(tp, gap[0], min(first, gap[1]))
            # A changelog is taken over, not worked on: what was fetched of it is one chunk.
            for part in chunks(fetched) if self.app.topics.acks_enabled_for(tp.topic) else [fetched]:
                current = (self._fetch_epoch, self.app.consumer_generation_id)
                if not self.flow_active or not self._settled.is_set() or current != fetch:
                    await self._rewind([tp for tp, _ in left])
                    return
                if tp not in self._next:
                    break
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))  # as Faust does; lag is judged by it
                yield tp, self._chunk(tp, part)
            left.pop(0)

    def _missing(self, tp: TP, fetched: list[Any]) -> tuple[int, int] | None:
        """Where records seem to be missing before these: a gap is believed when reading again shows the same one.

        Transactions and retention leave such gaps in a log; a fetch that went astray would leave them too.
        """
        begin, first = self._next.get(tp), fetched[0].offset
        if begin is None or first <= begin or not self.app.topics.acks_enabled_for(tp.topic):
            return None
        return begin, first

    def _chunk(self, tp: TP, records: Sequence[Any]) -> ChunkMessage:
        last = records[-1]
        message = ChunkMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            (),
            None,
            records,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.begin = self._next[tp]
        message.epoch = self.epoch
        self._next[tp] = last.offset + 1
        if self.app.topics.acks_enabled_for(tp.topic):
            self._in_flight.add(id(message))
        return message

    async def _rewind(self, tps: Iterable[TP]) -> None:
        """Read again what was fetched and not handed out, once no seek is under way."""
        await self._settled.wait()
        assigned = self.assignment()
        back = {tp: self._next[tp] for tp in tps if tp in self._next and tp in assigned}
        if not back:
            return
        try:
            await super().seek_wait(back)
        except IllegalStateError:  # revoked meanwhile: the seek after the rebalance sets the position
            for tp in back:
                self._next.pop(tp, None)

    async def verify_all_partitions_active(self) -> None:
        """Nothing: the watchdog judges progress. What Faust does here every few seconds only logs, and it ends the consumer where it meets a
        position that aiokafka is still asking for, as after retention has deleted what was to be read next."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """No gaps to keep: chunks of a partition are acknowledged in order."""

    def _new_offset(self, tp: TP) -> int | None:
        # Faust looks for the first gap among acked offsets; only the last offset of each chunk is among them.
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return int(last) + 1


class ChunkProducer(driver.Producer):
    """Faust's producer, idempotent: a retried batch is stored once and in order."""

    def _settings_extra(self) -> Mapping[str, Any]:
        idempotent = self.app.conf.producer_max_batch_size > 1  # the pip-only broker has no producer ids
        return {**super()._settings_extra(), "enable_idempotence": idempotent}

    async def flush(self) -> None:
        """Wait for nothing: what a commit or a rebalance must not overtake was awaited before it was acknowledged.

        Faust waits here for all that is on its way. The rest of it (drift's blocks) is sent under the lease: when the group has given this
        worker up, only the next assignment begins another one, and the rebalance that brings it would wait here for ever.
        """

    @property
    def client(self) -> aiokafka.AIOKafkaProducer:
        """The aiokafka client, once started: whole batches can be sent only with it."""
        return self._ensure_producer()


class ChunkTransport(driver.Transport):
    """Kafka by chunks."""

    Consumer = ChunkConsumer
    Producer = ChunkProducer

    own: Callable[[], None]
    """Called when work on the assigned partitions may begin: their state is restored and their positions are set. Set by the worker."""
    release: Callable[[], None]
    """Called when partitions are about to be given up: begin no new work. Set by the worker."""
    drain: Callable[[], Awaitable[None]]
    """Waits until all work begun is acknowledged. Set by the worker."""
