"""The worker put together: Faust app, table, agent, outbox, model, projection, drift and sweep."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

import structlog
from faust.types import TP

from schemas import changes as outgoing
from schemas import connections, topics
from schemas.changes import ModelEvent
from schemas.drift import Baseline, Block
from schemas.drift import encode as encode_drift
from schemas.erasure import is_signed
from schemas.model import Model
from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.times import rfc3339
from schemas.watch import LAST_GOOD, ModelWatch
from stream_app import assembly, checkup, pulse, recovery
from stream_app.address import Address
from stream_app.ageing import Ageing
from stream_app.customers import AT_HAND, Customers
from stream_app.drift.blocks import OLD, Collector
from stream_app.expiry import Expiry
from stream_app.fastlane import connecting, fetching, versions
from stream_app.fastlane.batches import Record
from stream_app.fastlane.lease import Lease, LeaseLost
from stream_app.fastlane.table import PartitionStore
from stream_app.fastlane.transport import ChunkConsumer, ChunkMessage, ChunkSchema, ChunkTransport
from stream_app.health import Progress, standing
from stream_app.helper import helper, renderer
from stream_app.logends import RECREATED
from stream_app.metrics import Metrics
from stream_app.outbox import Group, Outbox, Piece
from stream_app.pace import QUIET
from stream_app.projection import Projection
from stream_app.recovery import Restored
from stream_app.rounds import Rounds
from stream_app.segmenter import Position
from stream_app.shadow import Shadow
from stream_app.sweep import Sweep
from stream_app.vitals import Reporter
from stream_app.watchdog import Watchdog
from stream_app.work import Work, fold

DRAIN_DEADLINE: Final = 20.0
"""Seconds that work in flight may take to be acknowledged when partitions are revoked; beyond it the process ends."""

GARBAGE: Final = (20_000, 20, 50)
"""Thresholds of the garbage collector: a chunk makes thousands of objects and leaves none behind."""

_log: Final = structlog.get_logger(__name__)
_SLOTS: Final = {topic.name: slot for slot, topic in enumerate(topics.INPUTS)}


class Hole(RuntimeError):
    """Records were skipped between two chunks: stop before anything behind them is acknowledged."""


class Recreated(RuntimeError):
    """A source topic is not the one that customers remember."""


class Worker:
    """One process of the stream: owns the state of some partitions and every task around it."""

    def __init__(self, settings: Settings, keys: Keyring, partitions: int, clock: Callable[[], int]) -> None:
        versions.check()
        connecting.install()
        fetching.install()
        self.settings = settings
        self._started = time.monotonic()
        self.clock = clock
        self.metrics = Metrics()
        self.address = Address(settings.home)
        self.model: Model | None = None
        self._expected: dict[TP, tuple[int, int]] = {}
        self.progress: dict[TP, Progress] = {}
        """How far the source partitions kept here are."""
        self._tasks: list[asyncio.Task[None]] = []
        self._looked = asyncio.Event()
        self.lease = Lease(settings.app_id)
        self.lease.on_lost = self._lost
        self.app = assembly.application(settings, partitions)
        transport: ChunkTransport = self.app.transport  # type: ignore[assignment]
        transport.own = lambda: self.store.own()
        transport.release = self._release
        transport.drain = self._drain
        self.table = assembly.users(self.app, settings, partitions)
        self._customers: dict[int, Customers] = {}
        self.outbox = Outbox(self._client, settings.app_id, clock, self.customers, self._on_stored, self.die)
        self.blocks = Collector()
        self.rounds = Rounds(self.outbox, self.customers, lambda: self.store.owned, helper)
        self.sweep = Sweep(self.rounds, self.metrics, clock, self.today, lambda: self.model)
        self.ageing = Ageing(self.rounds, clock, self.today, lambda: self.model)
        self._trusts = partial(is_signed, keys=keys)
        self.expiry = Expiry(self.outbox, clock, self.customers, lambda: self.store.owned)
        beside = connections.redis_async(settings)
        self.shadow = Shadow(
            beside,
            settings.prefix,
            self.metrics,
            one_in=settings.shadow_one_in,
            rate=settings.shadow_rate,
            seconds=time.monotonic,
        )
        self.reporter = Reporter(beside, settings.prefix, clock, lambda: checkup.vitals(self))
        self.projection = Projection(
            connections.redis_async(settings),
            settings.prefix,
            self.metrics,
            interval=settings.projection_interval,
            clock=clock,
            customers=self.customers,
            model=lambda: self.model,
            is_busy=lambda: self.outbox.is_busy,
            events_come=lambda: self.outbox.quiet < QUIET,
            is_deciding=lambda: self.rounds.go_on,
            renderer=renderer,
        )
        self.watch = ModelWatch(
            connections.redis_client(settings),
            settings.prefix,
            keys,
            poll=settings.model_poll,
            on_model=lambda model: self._in_loop(self._install, model),
            on_refused=lambda model_id, reason: self._in_loop(self._refused, model_id, reason),
            on_looked=lambda: self._in_loop(self._looked.set),
            last_good=settings.home / LAST_GOOD,
            on_candidate=lambda model, entry: self._in_loop(self.shadow.install, model, entry),
        )
        self.watchdog = Watchdog(
            settings,
            lambda: standing(self.app.consumer, self.store, self.progress),  # type: ignore[arg-type]
        )
        source = self.app.topic(
            *(topic.name for topic in topics.INPUTS), schema=ChunkSchema(), key_type=bytes, value_type=bytes
        )
        self.app.agent(source, name="segment")(self._agent)
        self.app.task(self._start)

    @property
    def store(self) -> PartitionStore:
        """The users, by partition."""
        return self.table.data  # type: ignore[return-value]

    def today(self) -> int:
        """The day that recency is counted to."""
        return self.settings.day(self.clock())

    def customers(self, partition: int) -> Customers | None:
        """The customers of a partition, None where it isn't kept here."""
        return self._customers.get(partition)

    @property
    def known(self) -> int:
        """How many customers are kept here."""
        return sum(map(len, self._customers.values()))

    def _client(self) -> Any:
        return self.app.producer.client  # type: ignore[attr-defined]

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.store.on_owned = self._owned
        if self.store.owned:
            self._owned(self.store.owned)
        self.outbox.start()
        self.watch.start()
        self.watchdog.start(self._loop)
        for run in (
            self.sweep.run(),
            self.ageing.run(),
            self.expiry.run(),
            self.projection.run(),
            self.shadow.run(),
            self.reporter.run(lambda: checkup.is_unready(self)),
            self._close_blocks(),
            pulse.run(self.metrics.loop_held),
        ):
            self._guarded(run)
        self._guarded(self._settle_in())

    async def _settle_in(self) -> None:
        gc.set_threshold(*GARBAGE)
        gc.enable()  # `segstream worker` starts without it
        await recovery.watch(self.restored, self.metrics.seconds_to_ready, self._started)
        gc.freeze()  # what is here now stays: the collector need not look at it again
        # Nobody waits for the drift check, whose libraries take as long to load as a tenth of the start.
        agent = await asyncio.to_thread(import_module, "stream_app.drift.agent")
        await agent.DriftAgent(self.settings, self._client, self.metrics, self.clock).run()

    def restored(self) -> Restored:
        """How far the customers are restored from the changelog."""
        return Restored(self.store.recovered, self.table.remaining(), bool(self.store.owned))

    def _guarded(self, run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(run)
        task.add_done_callback(
            lambda done: None if done.cancelled() or done.exception() is None else self.die(done.exception())
        )
        self._tasks.append(task)

    def _in_loop(self, call: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(call, *args)

    def _owned(self, owned: frozenset[int]) -> None:
        share = AT_HAND // max(1, len(owned))
        self._customers = {p: Customers(self.store.partitions[p], share) for p in owned}
        self.metrics.partitions.set(len(owned))
        self.projection.own(owned, self.store.overtaken)
        self.sweep.wake()
        self.ageing.again()
        _log.info("partitions ready", partitions=sorted(owned), customers=self.known)

    def _release(self) -> None:
        self.store.release()
        self.progress.clear()
        self.blocks.release()

    async def _drain(self) -> None:
        await self._send_blocks(self.clock())
        try:
            await asyncio.wait_for(self.outbox.drain(), DRAIN_DEADLINE)
        except TimeoutError:
            self.die(TimeoutError(f"work in flight was not acknowledged within {DRAIN_DEADLINE:.0f} s of a rebalance"))

    def _install(self, model: Model) -> None:
        if self.model is not None:
            self.metrics.model.remove(self.model.id, self.model.artifact.recipe)
        self.model = model
        self.metrics.model.labels(model.id, model.artifact.recipe).set(1)
        self.blocks.install(model)
        self.sweep.wake()
        _log.info("model in use", model_id=model.id, recipe=model.artifact.recipe, segments=len(model.segments))

    def _refused(self, model_id: str, reason: str) -> None:
        self.metrics.refused.inc()
        now = self.clock()
        event = ModelEvent(
            action="refused", model_id=model_id, at=rfc3339(now), by=f"worker {self.settings.app_id}", reason=reason
        )
        headers = outgoing.headers(event, f"refused:{model_id}", model_id, now)
        record = Record(model_id.encode(), outgoing.encode(event), headers)
        extra = ((topics.MODEL_EVENTS.name, 0, record),)
        piece = Piece(Work(partition=0), acknowledge=lambda: None, extra=extra, size=0)
        self._guarded(self.outbox.submit(piece))

    async def _agent(self, stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                await self._on_chunk(event)
        except asyncio.CancelledError as error:
            if not self.app.should_stop:  # customers may be ahead of what was sent: only a restart is safe
                self.die(error)
            raise
        except Exception as error:  # Faust would acknowledge the chunk and start the agent anew
            self.die(error)

    async def _on_chunk(self, event: Any) -> None:
        message: ChunkMessage = event.message
        consumer: ChunkConsumer = self.app.consumer  # type: ignore[assignment]
        tp, partition = message.tp, message.partition
        if not consumer.is_current(message) or partition not in self.store.owned or self.lease.is_lost:
            event.ack()  # not done: the consumer reads it again
            return
        if not self._looked.is_set():  # the first events should not go undecided because the model came a moment later
            await self._looked.wait()
            if not consumer.is_current(message):
                event.ack()
                return
        self._check_continuity(consumer, message)
        source = Position(_SLOTS[tp.topic], tp.topic, partition, -1)
        now = self.clock()
        work = fold(
            message.value,
            source,
            self._customers[partition],
            self.model,
            rfc3339(now),
            self._trusts,
            today=self.today(),
        )
        if work.fence >= consumer.highwater(tp):
            raise Recreated(
                f"{tp.topic}-{partition} ends at {consumer.highwater(tp)}, offset {work.fence} was applied: {RECREATED}"
            )
        self.shadow.observe(message.value, self._customers[partition], self.model)
        blocks: Sequence[Block | Baseline] = ()
        if work.live or work.dead_letters:
            blocks = self.blocks.take(
                tp.topic,
                partition,
                message.begin,
                message.offset,
                events=work.live + len(work.dead_letters),
                invalid=len(work.dead_letters),
                flips=sum(change.cause == "behaviour" and change.from_segment is not None for change in work.changes),
                looks=work.looks,
                now=now,
            )

        def acknowledge() -> None:
            message.done = True
            event.ack()
            self.progress.setdefault(tp, Progress(0)).acknowledged = message.offset + 1

        await self.outbox.submit(Piece(work, acknowledge, _records(blocks), size=work.events))

    async def _close_blocks(self) -> None:
        """Where events are few, what is known of them is sent all the same."""
        while True:
            await asyncio.sleep(OLD / 1_000_000)
            await self._send_blocks(self.clock() - OLD)

    async def _send_blocks(self, before: int) -> None:
        if records := _records(self.blocks.due(before)):
            await self.outbox.submit(Piece(Work(partition=0), acknowledge=lambda: None, extra=records, size=0))

    def _check_continuity(self, consumer: ChunkConsumer, message: ChunkMessage) -> None:
        tp = message.tp
        epoch, expected = self._expected.get(tp, (-1, -1))
        if epoch != message.epoch:
            expected = consumer.sought[tp]
        if message.begin != expected:
            raise Hole(
                f"{tp.topic}-{tp.partition}: work ended at offset {expected}, the next chunk begins at {message.begin}"
            )
        self._expected[tp] = (message.epoch, message.offset + 1)

    def _on_stored(self, group: Group) -> None:
        for partition, closed in group.closed.items():
            self.projection.touch(partition, closed.records, later=closed.anew)
        now_ms = self.clock() // 1000
        letters: Counter[str] = Counter()
        for piece in group.pieces:
            work = piece.work
            self.metrics.stored(work, now_ms)
            self.reporter.tally.add(work)
            letters.update(letter.error for letter in work.dead_letters)
        if erased := sum(piece.work.erased for piece in group.pieces):
            _log.info("customers erased", customers=erased)
        if letters:  # the reasons may quote what a customer sent: they are with the letters, not in the log
            first = next(letter for piece in group.pieces for letter in piece.work.dead_letters)
            _log.warning("dead letters", errors=dict(letters), first=str(first.source))

    def die(self, error: BaseException | None) -> None:
        """End the process before anything is acknowledged that was not done; a supervisor starts it again."""
        _log.critical("worker ends", error=repr(error), exc_info=error)
        self.address.remove()
        os._exit(70)

    def _lost(self, error: LeaseLost) -> None:
        """Nothing in hand: the rebalance that follows does the rest."""
        if self.outbox.is_in_flight:
            self.die(error)


def _records(blocks: Sequence[Block | Baseline]) -> tuple[tuple[str, int, Record], ...]:
    return tuple((topics.DRIFT_BLOCKS.name, 0, Record(None, encode_drift(block))) for block in blocks)
