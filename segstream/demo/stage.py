"""The demo's stage: servers of its own, a warehouse, and a worker process; all taken down at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox import servers
from sandbox.home import Home
from schemas import topics
from schemas.settings import Settings
from segstream import kafka
from segstream.outcome import No

READY: Final = 90.0
IN_A_HURRY: Final = {
    "SEGSTREAM_TRAINER_MIN_GAP": "3600",
    "SEGSTREAM_TRAINER_WAIVED_GATES": "moved_share,smallest_segment_share",
    "SEGSTREAM_SHADOW_ONE_IN": "1",
    "SEGSTREAM_SHADOW_RATE": "500",
    "SEGSTREAM_SHADOW_SAMPLE": "300",
    "SEGSTREAM_SHADOW_SECONDS": "3",
    "SEGSTREAM_SHADOW_TIMEOUT": "20",
    "SEGSTREAM_SHADOW_MAX_MOVED": "0.9",
    "SEGSTREAM_ROLLBACK_WITHIN": "4",
}
"""A demo has minutes, and its shift is meant: few customers are enough, and many of them may move."""


@dataclass(slots=True)
class Stage:
    """Settings of the demo's installation, and its worker."""

    settings: Settings
    environment: dict[str, str]
    home: Home
    worker: subprocess.Popen[bytes] | None = None
    api: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where the worker writes its log."""
        return self.home.root / "worker.log"

    def start_worker(self) -> None:
        """Start a worker as a process. Raises No where it does not become ready."""
        with self.log.open("wb") as out:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "segstream", "worker"],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY
        while not self.condition().get("ready"):
            if self.worker.poll() is not None or time.monotonic() > deadline:
                raise No(f"the worker did not become ready; its log: {self.log}")
            time.sleep(0.1)

    def start_api(self) -> str:
        """Start the API and the dashboard as a process; its address. Raises No where it does not answer."""
        port = _free(self.settings.api_port)
        log = self.home.root / "api.log"
        with log.open("wb") as out:
            self.api = subprocess.Popen(
                [sys.executable, "-m", "segstream", "serve"],
                env=os.environ
                | self.environment
                | {"SEGSTREAM_API_HOST": "127.0.0.1", "SEGSTREAM_API_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    return address
            except OSError as error:
                if self.api.poll() is not None or time.monotonic() > deadline:
                    raise No(f"the API does not answer; its log: {log}") from error
            time.sleep(0.1)

    def condition(self) -> dict[str, Any]:
        """What the worker says of itself; empty where it cannot be asked."""
        assert self.worker is not None
        try:
            port = json.loads((self.home.root / f"worker-{self.worker.pid}.json").read_text())["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, ValueError):
            return {}

    def stop(self) -> None:
        """End the API and the worker in good order."""
        for process in (self.api, self.worker):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(45)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def stage(settings: Settings) -> Iterator[Stage]:
    """An empty installation for the time of a block: servers of its own, or the ones the environment names if these are empty."""
    home = Home(settings.home.resolve() / "demo")
    servers.stop(home)
    shutil.rmtree(home.root, ignore_errors=True)
    home.root.mkdir(parents=True)
    made: Stage | None = None
    try:
        environment = servers.start(home, os.environ) | {"SEGSTREAM_HOME": str(home.root), **IN_A_HURRY}
        values = {name.removeprefix("SEGSTREAM_").lower(): value for name, value in environment.items()}
        made = Stage(Settings(**values), environment, home)  # type: ignore[arg-type]
        _empty(made.settings)
        yield made
    finally:
        if made is not None:
            made.stop()
        servers.stop(home)


def _free(wanted: int) -> int:
    """The wanted port, or a free one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise No("no port is free on 127.0.0.1")


def _empty(settings: Settings) -> None:
    there = set(kafka.partition_counts(settings))
    used = [
        topic.name for topic in topics.INPUTS if topic.name in there and next(kafka.read(settings, topic.name), None)
    ]
    if used:
        raise No(
            f"the topics {', '.join(used)} at {settings.kafka} already hold events; the demo needs empty servers "
            "(unset SEGSTREAM_KAFKA and SEGSTREAM_REDIS to let it start its own)"
        )
