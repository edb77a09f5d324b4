"""`segstream trainer watch` in a shop whose customers change: from the alert to everyone on another model, though it is killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from batch_trainer.loop import alerts as understood
from sandbox import warehouse
from sandbox.events import message
from sandbox.shop import Happening, Shop
from schemas import topics
from schemas.changes import DriftAlert, ModelEvent, decode_alert, encode
from segstream import kafka, model_events
from tests.installation import Installation
from tests.schemas.models import SIGNER
from tests.segstream.test_parity import agrees, segstream
from tests.segstream.test_trainer_loop import assert_one_story_each
from tests.waiting import wait_for

QUICK = {
    "SEGSTREAM_TRAINER_MAX_AGE": "0",
    "SEGSTREAM_TRAINER_WAIVED_GATES": "moved_share,smallest_segment_share",
    "SEGSTREAM_SHADOW_ONE_IN": "1",
    "SEGSTREAM_SHADOW_RATE": "100000",
    "SEGSTREAM_SHADOW_SAMPLE": "300",
    "SEGSTREAM_SHADOW_SECONDS": "0",
    "SEGSTREAM_SHADOW_MAX_MOVED": "1",
    "SEGSTREAM_SHADOW_WORSE_DISTANCE": "10",
    "SEGSTREAM_ROLLBACK_WITHIN": "2",
}
"""The gap between trainings stays a day: a second one would have to be a mistake."""


class Street:
    """The shop's live customers: what they do reaches Kafka, and at a given moment the warehouse."""

    def __init__(self, shop: Installation, made: Shop, path: Path) -> None:
        self.shop, self.made, self.path = shop, made, path
        self.waiting: list[Happening] = []

    def live(self, count: int) -> None:
        happened = [self.made.live(time.time_ns() // 1000) for _ in range(count)]
        self.shop.produce([message(one) for one in happened], rate=2_000)
        self.waiting += happened

    def load(self) -> None:
        warehouse.append(self.path, self.waiting)
        self.waiting.clear()


def alerts(shop: Installation) -> list[DriftAlert]:
    return [decode_alert(record.value()) for record in kafka.read(shop.settings, topics.DRIFT_ALERTS.name)]


def steps(shop: Installation) -> list[ModelEvent]:
    """The steps of the loop as a consumer sees them who drops what it has seen."""
    return list({event.event_id: event for event in model_events.read(shop.settings) if event.run_id}.values())


def watching(shop: Installation, where: list[str], log: Path) -> subprocess.Popen[bytes]:
    env = os.environ | shop.environment | QUICK
    env |= {"SEGSTREAM_SIGNING_KEY": SIGNER.to_text(), "SEGSTREAM_TRUSTED_KEYS": SIGNER.public}
    with log.open("ab") as out:
        command = [sys.executable, "-m", "segstream", "trainer", "watch", *where]
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def test_a_change_of_the_customers_leads_to_another_model_though_the_trainer_is_killed_twice(
    shop: Installation, tmp_path: Path
) -> None:
    made = Shop(7, 1_500, 200, time.time_ns() // 1000)
    path, log = tmp_path / "shop.duckdb", tmp_path / "trainer.log"
    warehouse.create(path, made.catalogue)
    warehouse.append(path, made.history)
    where = ["--source", "thelook", "--warehouse", f"duckdb:///{path}"]
    segstream(shop, "topics", "create")
    code, trained = segstream(shop, "train", *where, "--publish")
    assert code == 0
    first = trained["model_id"]
    worker = shop.worker(SEGSTREAM_TRUSTED_KEYS=SIGNER.public, **QUICK).wait_ready()
    assert segstream(shop, "replay", *where)[0] == 0
    shop.caught_up()
    street = Street(shop, made, path)
    street.live(1_500)
    shop.caught_up()

    made.shift()

    def speaks() -> bool:
        street.live(500)
        shop.caught_up()
        told = [understood.decode(encode(alert)) for alert in alerts(shop)]
        return bool(understood.reasons(understood.still_open(filter(None, told)), first))

    # The first may be of one feature alone, which people should look at and no training answers.
    wait_for(speaks, "an alert tells that the customers have changed", 120)
    opened = next(alert for alert in alerts(shop) if alert.status == "opened")
    assert opened.model_id == first
    assert shop.registry.active() == first
    street.load()

    trainer = watching(shop, where, log)
    try:

        def told(action: str) -> bool:
            assert trainer.poll() is None, log.read_text()[-3000:]
            return action in [event.action for event in steps(shop)]

        def begun_again() -> subprocess.Popen[bytes]:
            trainer.kill()
            trainer.wait(10)
            assert shop.registry.active() == first, "nothing is half active"
            redis.Redis.from_url(shop.redis).delete(
                f"{shop.settings.prefix}trainer:lock"
            )  # or it runs out in half a minute
            return watching(shop, where, log)

        wait_for(lambda: told("training-started"), "it trains because of the alert", 120)
        trainer = begun_again()
        wait_for(lambda: told("candidate-published"), "what was begun is trained", 240)
        trainer = begun_again()

        def activated() -> bool:
            street.live(100)
            return told("activated")

        wait_for(activated, "the candidate is tried on live customers and activated", 120)
        wait_for(lambda: told("confirmed"), "it stays", 60)
    finally:
        trainer.terminate()
        try:
            assert trainer.wait(30) == 0
        except subprocess.TimeoutExpired:
            trainer.kill()
            pytest.fail(f"the trainer does not end: {log.read_text()[-3000:]}")

    loop = steps(shop)
    assert [event.action for event in loop] == [
        "training-started", "candidate-published", "shadow-compared", "activated", "confirmed",
    ]  # fmt: skip
    assert len({event.run_id for event in loop}) == 1, "one alert leads to one run"
    second = loop[-1].model_id
    assert shop.registry.active() == second != first
    assert shop.registry.candidate() is None
    wait_for(lambda: worker.ready().get("migrated_to") == second, "every customer is moved", 60)

    def over() -> bool:
        street.live(200)
        return opened.alert_id in {alert.alert_id for alert in alerts(shop) if alert.status == "resolved"}

    wait_for(over, "the alert is resolved", 60)
    ids = [alert.event_id for alert in alerts(shop)]
    assert len(ids) == len(set(ids)), "every step of an alert is told once"

    shop.caught_up()
    street.load()
    assert agrees(shop, where)["model_id"] == second
    state = shop.state()
    assert {customer.model_id for customer in state.values()} == {second}
    changes = shop.changes()
    assert_one_story_each(changes, state)
    assert {change.cause for change in changes} == {"bootstrap", "behaviour", "model"}
