"""Two trainers at once: each publishes model after model, and only where the one it has seen is still the active one."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Final

import msgspec

from schemas.artifact import model_id
from schemas.registry import RegistryConflict
from schemas.sealed import to_bytes
from tests.faults.scenarios import PATIENCE, Fault, Stage
from tests.schemas.models import SIGNER, artifact
from tests.waiting import wait_for

TRIES: Final = 40
"""Of each trainer."""
EVERY: Final = 0.25
"""Seconds between its tries."""


def _sealed(recipe: str) -> tuple[str, bytes]:
    """A model of another name that decides as all others do."""
    made = msgspec.structs.replace(artifact(), recipe=recipe)
    return model_id(made), to_bytes(made, SIGNER)


def _publish(stage: Stage, trainer: str, start: threading.Barrier) -> None:
    registry = stage.shop.registry
    for number in range(TRIES):
        name, data = _sealed(f"{trainer}-{number}")
        seen = registry.active()
        start.wait(PATIENCE)
        try:
            registry.publish(name, data, at=time.time_ns() // 1000, by=trainer, expected=seen)
        except RegistryConflict:
            continue  # the other one was faster
        finally:
            time.sleep(EVERY)


def _two_trainers(stage: Stage) -> None:
    stage.at(4)
    start = threading.Barrier(2)
    trainers = [threading.Thread(target=_publish, args=(stage, name, start)) for name in ("first", "second")]
    for one in trainers:
        one.start()
    stage.at(7)
    stage.crew.kill("a")
    stage.crew.join("a")
    for one in trainers:
        one.join(PATIENCE)
    active = stage.shop.registry.active()
    wait_for(
        lambda: all(worker.ready().get("model_id") == active for worker in stage.crew.present.values()),
        "every worker has the model that is active",
        PATIENCE,
    )


def _one_line(stage: Stage) -> list[str]:
    """Every publication replaced the one before it, one of the two succeeded each time, and all customers are the last one's."""
    found = []
    registry = stage.shop.registry
    log = registry.history(10 * TRIES)[::-1]
    for before, after in itertools.pairwise(log):
        if after.before != before.model_id:
            found.append(f"{after.model_id} has replaced {after.before}, although {before.model_id} was active")
    if len(log) != TRIES + 1:
        found.append(f"{len(log) - 1} of {TRIES} publications succeeded")
    active = registry.active()
    until = time.monotonic() + PATIENCE
    while left := [key for key, customer in stage.shop.state().items() if customer.model_id != active]:
        if time.monotonic() > until:
            found.append(f"{len(left)} customers were not decided by {active}")
            break
        time.sleep(0.5)
    return found


TRAINERS: Final = (
    Fault(
        name="two-trainers", text="two trainers publish 40 times each at the same moments; kill -9 of one of two workers amid that",
        workers=("a", "b"), rate=500, seconds=16, customers=1000, inflict=_two_trainers, check=_one_line, alike=True,
    ),
)  # fmt: skip
