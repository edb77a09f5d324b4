"""`segstream trainer watch`, put together: the loop of the trainer with this installation's Redis, Kafka and warehouse."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from batch_trainer.gates import Gate, named
from batch_trainer.loop import alerts as understood
from batch_trainer.loop.alerts import Alert
from batch_trainer.loop.ledger import Ledger
from batch_trainer.loop.state import Policy, Run
from batch_trainer.loop.watch import Ports, Trained, Untold, Watch
from schemas import topics
from schemas.changes import ModelEvent
from schemas.settings import Settings
from segstream import context, kafka, model_events
from segstream.outcome import No, Usage

POLL: Final = 1.0
"""Seconds between looks."""
_FIRST: Final = -2
"""Kafka's offset for the beginning."""

_log: Final = logging.getLogger(__name__)


class TrainingFailed(RuntimeError):
    """The training's process came to no model; the message is what it said."""


class OpenAlerts:
    """The drift alerts that are open: the topic read from its start, and followed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Consumer | None = None
        self._open: tuple[Alert, ...] = ()

    def __call__(self) -> tuple[Alert, ...]:
        """What is open now, as far as Kafka answers; what is read is always read to the present end, so that no alert looks
        open whose end has been told."""
        try:
            self._open = understood.still_open([*self._open, *self._news()])
        except KafkaException as error:
            _log.warning("drift alerts cannot be read now", extra={"error": str(error)})
        return self._open

    def _news(self) -> list[Alert]:
        place = TopicPartition(topics.DRIFT_ALERTS.name, 0, _FIRST)
        if self._client is None:
            self._client = kafka.consumer(self._settings, f"{self._settings.app_id}-trainer")
            self._client.assign([place])
        begin, end = self._client.get_watermark_offsets(place, timeout=kafka.TIMEOUT)
        found: list[Alert] = []
        read = max(begin, self._client.position([place])[0].offset)
        while read < end:
            messages = self._client.consume(500, timeout=kafka.TIMEOUT)
            if not messages:
                break
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                read = message.offset() + 1
                alert = understood.decode(message.value() or b"")
                if alert is not None:
                    found.append(alert)
        return found

    def close(self) -> None:
        """Leave Kafka."""
        if self._client is not None:
            self._client.close()


class Process:
    """Trainings as processes of their own: one that runs out of memory or hangs in a driver takes nobody with it."""

    def __init__(self, settings: Settings, arguments: list[str]) -> None:
        self._settings = settings
        self._arguments = arguments
        self._running: subprocess.Popen[str] | None = None

    def __call__(self, run: Run) -> Trained:
        """Train for a run. Raises TrainingFailed."""
        directory = self._settings.home / "reports" / run.run_id
        directory.mkdir(parents=True, exist_ok=True)
        # Of this process: one that was killed may have left a training behind that goes on writing.
        sealed = directory / f"model-{os.getpid()}.sealed"
        command = [sys.executable, "-m", "segstream", "train", *self._arguments]
        self._running = subprocess.Popen(
            [*command, "--out", str(directory), "--sealed", str(sealed), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said, _ = self._running.communicate()
        code = self._running.returncode
        try:
            document: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise TrainingFailed(f"`segstream train` ended with {code} and said nothing that can be read") from error
        if "error" in document:
            raise TrainingFailed(document["error"]["message"])
        return trained(document, sealed)

    def close(self) -> None:
        """End a training that is under way: its result would be nobody's."""
        if self._running is not None and self._running.poll() is None:
            self._running.kill()


def trained(document: dict[str, Any], sealed: Path) -> Trained:
    """The document of `segstream train` and the file it wrote, as the loop takes them."""
    return Trained(
        model_id=document["model_id"],
        sealed=sealed.read_bytes(),
        gates=msgspec.convert(document["gates"], tuple[Gate, ...]),
        report=document["report"],
    )


def ledger(settings: Settings) -> Ledger:
    """The loop's memory, as this process has it."""
    return Ledger(context.redis_client(settings), settings.prefix, f"{socket.gethostname()}:{os.getpid()}")


def compose(
    settings: Settings, train: Callable[[Run], Trained], alerts: Callable[[], tuple[Alert, ...]], executor: Executor
) -> Watch:
    """The loop of this installation."""

    def announce(event: ModelEvent) -> None:
        try:
            model_events.tell(settings, event, within=5.0)
        except (kafka.KafkaUnreachable, KafkaException, No) as error:
            raise Untold(str(error)) from error

    ports = Ports(
        client=context.redis_client(settings),
        prefix=settings.prefix,
        keys=context.keyring(settings),
        clock=context.now_micros,
        alerts=alerts,
        announce=announce,
        train=train,
        executor=executor,
    )
    return Watch(ports, ledger(settings), Policy.of(settings))


def watch(settings: Settings, source: str, warehouse: str, recipe: str, params: dict[str, str], k: int) -> None:
    """Run the loop until SIGTERM or SIGINT; then give the lock back. Raises Usage where the warehouse is no place that lasts."""
    if warehouse == "duckdb://":
        raise Usage("--warehouse duckdb:// is empty whenever it is opened; name the warehouse that is loaded")
    _log_as(settings)
    try:
        waived = named(settings.trainer_waived_gates)
    except ValueError as error:
        raise Usage(f"SEGSTREAM_TRAINER_WAIVED_GATES: {error}") from error
    kafka.require(settings, topics.DRIFT_ALERTS.name, topics.MODEL_EVENTS.name)
    context.signer(settings)
    arguments = ["--source", source, "--warehouse", warehouse, "--recipe", recipe, "--k", str(k)]
    arguments += ["--waive", ",".join(sorted(waived))]
    for name, value in params.items():
        arguments += ["--param", f"{name}={value}"]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    alerts, train = OpenAlerts(settings), Process(settings, arguments)
    with ThreadPoolExecutor(1, "training") as executor:
        try:
            compose(settings, train, alerts, executor).run(stop, POLL)
        finally:
            train.close()
    alerts.close()


def _log_as(settings: Settings) -> None:
    from stream_app import logs

    logs.configure(settings.log_format, settings.log_level)
    structlog.get_logger(__name__).info("the trainer watches")
