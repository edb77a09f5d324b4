"""What machines do: a clock that jumps, a disk that is full, and workers of two versions side by side."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.customer import FORMAT
from tests.faults.scenarios import PATIENCE, CannotBeRun, Fault, Stage
from tests.waiting import wait_for

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
ROOM: Final = 192
"""Of the small disk, MB."""
LEFT: Final = 2_000_000
"""Bytes that are left free when it is filled up."""


def _clock(stage: Stage) -> Path:
    return stage.directory / "clock"


def _set_clock(stage: Stage, seconds: float) -> None:
    with _clock(stage).open("r+b") as file:
        file.write(struct.pack("=q", round(seconds * 1e9)))


@contextmanager
def _odd_clock(stage: Stage) -> Iterator[None]:
    """The worker at place a sees a wall clock that can be set."""
    compiler = shutil.which("cc")
    if compiler is None or not os.uname().sysname == "Linux":
        raise CannotBeRun("a clock that jumps needs Linux and a C compiler (`cc`)")
    library = stage.directory / "clock.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "clock.c"), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBeRun(f"the clock could not be compiled: {done.stderr[-300:]}")
    _clock(stage).write_bytes(bytes(8))
    stage.crew.environments["a"] = {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(_clock(stage))}
    yield


def _jumping_clock(stage: Stage) -> None:
    for second, seconds in ((4, 600), (8, -600), (12, -90_000), (16, 0)):
        stage.at(second)
        _set_clock(stage, seconds)
    stage.at(19)
    assert not stage.crew.restarts, "a worker has ended because of a clock that Kafka believes"
    _set_clock(stage, 90_000)
    wait_for(lambda: bool(stage.crew.restarts), "the worker whose clock Kafka does not believe ends", PATIENCE)
    _set_clock(stage, 0)


def _clock_was_told(stage: Stage) -> list[str]:
    """Who ended said that it was the clock."""
    ended = [worker for worker in stage.shop.workers if "worker ends" in worker.log.read_text()]
    silent = [worker.log.name for worker in ended if "set the clock of this machine" not in worker.log.read_text()]
    return [f"{name} ended for another reason than its clock" for name in silent]


@contextmanager
def _small_disk(stage: Stage) -> Iterator[None]:
    """The broker's directory is a file system of its own."""
    place = stage.directory / "kafka"
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "segstream-faults", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotBeRun(f"a small disk needs `mount`: {error}") from error
    if done.returncode:
        raise CannotBeRun(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _disk_full(stage: Stage) -> None:
    stage.at(5)
    broker = stage.broker
    assert broker.identity is not None
    ballast = broker.directory / "ballast"
    with ballast.open("wb") as file:
        about = os.statvfs(broker.directory)
        os.posix_fallocate(file.fileno(), 0, about.f_bavail * about.f_frsize - LEFT)
    identity = broker.identity
    wait_for(lambda: identity.process() is None, "the broker ends: it cannot write", PATIENCE)
    away = time.monotonic()
    stage.after(6)
    ballast.unlink()
    broker.start()
    stage.broker_away += time.monotonic() - away
    stage.after(4)


def _older() -> str:
    """The first commit whose workers wrote customers as we do."""
    command = ["git", "log", "--reverse", "--format=%H", f"-SFORMAT: Final = {FORMAT}", "--", "schemas/customer.py"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    found = said.stdout.split()
    if said.returncode or not found:
        raise CannotBeRun(f"workers of an older version come from the history (git): {said.stderr.strip()[-300:]}")
    return found[0]


@contextmanager
def _older_workers(stage: Stage) -> Iterator[None]:
    """Who starts at place a or b is of an older version until that place is taken from the trees."""
    tree = stage.directory / "older"
    tree.mkdir()
    commit = _older()
    archive = subprocess.run(["git", "archive", commit], capture_output=True, check=True, cwd=ROOT).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    stage.crew.trees |= dict.fromkeys(("a", "b"), tree)
    yield


def _upgraded(stage: Stage) -> None:
    stage.at(4)
    stage.crew.leave("a")
    older = stage.crew.trees.pop("a")
    stage.crew.join("a").wait_ready(PATIENCE)
    stage.at(11)
    stage.crew.kill("a")  # what it wrote is read by the older one
    stage.after(8)
    stage.crew.trees["a"] = older
    stage.crew.join("a").wait_ready(PATIENCE)
    stage.crew.kill("b")
    stage.crew.trees.clear()
    stage.crew.join("b").wait_ready(PATIENCE)
    stage.crew.leave("a")
    stage.crew.join("a").wait_ready(PATIENCE)


HOSTS: Final = (
    Fault(
        name="jumping-clock", text="the clock of one of two workers jumps ten minutes ahead and back, a day back; then a day ahead, which Kafka refuses",
        workers=("a", "b"), rate=1000, seconds=24, customers=5000, inflict=_jumping_clock, arrange=_odd_clock, check=_clock_was_told,
    ),
    Fault(
        name="disk-full", text="the disk of the broker's log is full at 5 s; 6 s after the broker has ended there is room again and it is started",
        workers=("a", "b"), rate=1500, seconds=20, customers=5000, inflict=_disk_full, arrange=_small_disk, own=True,
    ),
    Fault(
        name="two-versions", text="two workers of the first version that wrote customers as today are upgraded one by one; one is put back between",
        workers=("a", "b"), rate=500, seconds=20, customers=2000, inflict=_upgraded, arrange=_older_workers,
    ),
)  # fmt: skip
