"""The loop in a shop: an alert leads to a model that live customers were tried on, and everyone is moved to it, whatever is killed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from batch_trainer.loop.state import Run
from batch_trainer.loop.watch import Trained
from schemas import topics
from schemas.changes import DriftAlert, SegmentChanged, encode
from schemas.customer import Customer
from schemas.model import Model
from schemas.shadow import compare
from schemas.times import rfc3339
from segstream import kafka, model_events
from segstream.trainer import OpenAlerts, compose
from stream_app.shadow import look
from tests.installation import Installation, orders
from tests.schemas.models import SIGNER, model, sealed
from tests.waiting import wait_for

CUSTOMERS = 400
SLOWLY = """
import asyncio
from stream_app import outbox, rounds

async def late(self):
    await asyncio.sleep(0.1)
    await turn(self)

rounds.SLICE, turn, outbox.Outbox.turn = 4, outbox.Outbox.turn, late
"""
"""So slowly that it cannot be through before it is killed."""


def alert(about: Model) -> DriftAlert:
    now = rfc3339(time.time_ns() // 1000)
    return DriftAlert(
        alert_id="a-1", level="drift", signal="log_distance", model_id=about.id, direction="up", partition=0, statistic=2.0,
        reference_mean=0.0, reference_std=1.0, n=50, event_time=now, raised_at=now, cooldown_until=now,
        message="Customers lie farther from the centres.", suggested_action="retrain",
    )  # fmt: skip


def assert_one_story_each(changes: list[SegmentChanged], state: dict[str, Customer]) -> None:
    """Repetitions left out, each customer's changes follow one from another and end where she is."""
    stories: dict[str, dict[str, SegmentChanged]] = {}
    for change in changes:
        known = stories.setdefault(change.user_id, {}).setdefault(change.change_id, change)
        assert (known.to_segment, known.features) == (change.to_segment, change.features)
    for user_id, by_id in stories.items():
        story = sorted(by_id.values(), key=lambda change: change.sequence)
        assert [change.sequence for change in story] == list(range(1, len(story) + 1)), user_id
        assert [c.from_segment for c in story] == [None, *(c.to_segment for c in story[:-1])], user_id
        assert story[-1].to_segment == state[user_id].segment, user_id


def test_from_an_alert_to_a_model_for_everyone_though_workers_die_on_the_way(shop: Installation) -> None:
    first, second, third = shop.prepare(), model(shift=-1.0), model(shift=0.6)
    quick = {"SEGSTREAM_SHADOW_ONE_IN": "1", "SEGSTREAM_SHADOW_RATE": "1000000"}
    worker = shop.worker(SLOWLY, **quick).wait_ready()
    shop.produce(orders(4 * CUSTOMERS, CUSTOMERS))
    shop.caught_up()
    everyone = len(shop.oracle(first)[0])

    settings = shop.settings.model_copy(
        update={
            "trusted_keys": SIGNER.public,
            "trainer_max_age": 0.0,
            "shadow_sample": everyone,
            "shadow_seconds": 0.0,
            "shadow_max_moved": 1.0,
            "shadow_worse_distance": 10.0,  # these models are made for moving customers, not for fitting them
            "rollback_within": 0.0,
        }
    )
    producer = kafka.producer(settings)
    producer.produce(topics.DRIFT_ALERTS.name, encode(alert(first)), b"log_distance")
    assert producer.flush(10) == 0

    def train(run: Run) -> Trained:
        model_id, data = sealed(shift=-1.0)
        return Trained(model_id=model_id, sealed=data, gates=())

    alerts = OpenAlerts(settings)
    with ThreadPoolExecutor(1) as executor:
        watch = compose(settings, train, alerts, executor)

        def steps(until: str) -> bool:
            watch.tick()
            return until in [event.action for event in model_events.read(settings)]

        wait_for(lambda: steps("candidate-published"), "the candidate is published")
        wait_for(lambda: "candidate in the shadow" in worker.log.read_text(), "the worker has taken it")
        assert shop.registry.active() == first.id
        shop.produce(orders(4 * CUSTOMERS, CUSTOMERS))  # the same again: who is where does not change any more
        shop.caught_up()
        wait_for(lambda: steps("confirmed"), "the candidate is activated")
    alerts.close()

    events = model_events.read(settings)
    assert [event.action for event in events] == [
        "training-started", "candidate-published", "shadow-compared", "activated", "confirmed",
    ]  # fmt: skip
    assert "farther from the centres" in events[0].reason
    seen = [found for c in shop.oracle(first)[0].values() if (found := look(c, first, second)) is not None]
    told = events[2].details["comparison"]
    expected = compare(seen)
    assert (told["customers"], told["moved"]) == (expected.customers, expected.moved)
    assert [tuple(cell.values()) for cell in told["matrix"]] == [
        (p.before, p.after, p.customers) for p in expected.matrix
    ]
    assert shop.registry.active() == second.id

    wait_for(lambda: second.id in {c.model_id for c in shop.state().values()}, "customers are moving")
    shop.publish(shift=0.6)  # a second swap before the first is through
    wait_for(lambda: worker.ready().get("model_id") == third.id, "the third model is taken over")
    worker.kill()
    models = {c.model_id for c in shop.state().values()}
    assert {second.id} < models <= {first.id, second.id, third.id}, "killed in the middle"
    last = shop.worker(**quick).wait_ready()
    wait_for(lambda: last.ready().get("migrated_to") == third.id, "every customer is moved", 60)
    shop.produce(orders(CUSTOMERS, CUSTOMERS, first=9000))
    shop.caught_up()

    state = shop.state()
    assert {c.model_id for c in state.values()} == {third.id}
    wanted = shop.oracle(third)[0]
    assert {u: c.segment for u, c in state.items()} == {u: c.segment for u, c in wanted.items()}
    assert {u: c.profile for u, c in state.items()} == {u: c.profile for u, c in wanted.items()}
    changes = shop.changes()
    assert_one_story_each(changes, state)
    assert {change.cause for change in changes} == {"behaviour", "model"}
    assert last.metric("segstream_migrations_total") <= sum(c.cause == "model" for c in changes)
