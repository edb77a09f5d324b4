"""The worker on real servers, held against a plain computation of the same input."""

from __future__ import annotations

import json
import threading

import pytest
import redis

from sandbox.redis import Redis
from schemas import topics
from segstream import kafka
from tests.installation import Installation, WorkerProcess, order, orders
from tests.schemas.models import model
from tests.waiting import wait_for


def processed(worker: WorkerProcess, count: int) -> None:
    def look() -> bool:
        assert worker.process.poll() is None, worker.tail()
        return bool(worker.ready()) and worker.metric("segstream_events_total") >= count

    wait_for(look, f"{count} events are processed", 60, every=0.1)


def test_killed_twice_under_load_nothing_is_lost_or_counted_twice(shop: Installation) -> None:
    one = shop.prepare()
    load = threading.Thread(target=shop.produce, args=(orders(40_000, 3000), 5000))
    first = shop.worker()
    load.start()
    processed(first, 10_000)
    first.kill()
    second = shop.worker()
    second.wait_ready()
    processed(second, 8_000)
    second.kill()
    shop.worker().wait_ready()
    load.join()
    shop.caught_up()
    shop.assert_exact(one)
    shop.assert_projected()


def test_customers_on_disk_survive_a_kill_and_a_restart_reads_only_what_they_lack(shop: Installation) -> None:
    one = shop.prepare()
    disk = {"SEGSTREAM_STORE": "rocksdb", "SEGSTREAM_INSTANCE_ID": "a"}
    first = shop.worker(**disk)
    shop.produce(orders(12_000, 2000))
    processed(first, 12_000)
    shop.caught_up()
    load = threading.Thread(target=shop.produce, args=(orders(6_000, 2000, first=12_000), 3000))
    load.start()
    processed(first, 14_000)
    first.kill()
    load.join()
    second = shop.worker(**disk).wait_ready()
    shop.caught_up()
    shop.assert_exact(one)
    everything = sum(1 for _ in kafka.read(shop.settings, topics.USERS.name))
    assert second.metric("segstream_restored_records") < everything / 2


def test_a_standby_takes_over_without_reading_the_changelog_again(shop: Installation) -> None:
    one = shop.prepare()
    pair = [shop.worker(SEGSTREAM_STANDBY_REPLICAS="1").wait_ready() for _ in range(2)]
    wait_for(lambda: all(len(w.ready().get("partitions", [])) == 2 for w in pair), "the partitions are shared", 60)
    shop.produce(orders(12_000, 2000))
    shop.caught_up()
    wait_for(lambda: pair[1].metric("segstream_restored_records") > 0, "the standby follows")
    followed = pair[1].metric("segstream_restored_records")
    pair[0].kill()
    wait_for(lambda: len(pair[1].ready().get("partitions", [])) == 4, "the standby has taken over", 60)
    assert pair[1].metric("segstream_restored_records") < 1.1 * followed + 500
    shop.produce(orders(2_000, 2000, first=12_000))
    shop.caught_up()
    shop.assert_exact(one)


def test_workers_that_join_and_leave_under_load_change_nothing(shop: Installation) -> None:
    one = shop.prepare()
    load = threading.Thread(target=shop.produce, args=(orders(40_000, 3000), 2500))
    first = shop.worker()
    load.start()
    processed(first, 5_000)
    second = shop.worker().wait_ready()
    wait_for(lambda: len(second.ready().get("partitions", [])) == 2, "the partitions are shared", 60)
    assert first.stop() == 0, first.tail()
    wait_for(lambda: len(second.ready().get("partitions", [])) == 4, "the other has taken over", 60)
    third = shop.worker().wait_ready()
    wait_for(lambda: len(third.ready().get("partitions", [])) == 2, "the partitions are shared again", 60)
    second.kill()
    load.join()
    shop.caught_up()
    shop.assert_exact(one)


def test_a_stopped_worker_leaves_nothing_to_repeat(shop: Installation) -> None:
    one = shop.prepare()
    first = shop.worker().wait_ready()
    shop.produce(orders(5_000, 500))
    processed(first, 1)
    assert first.stop() == 0, first.tail()
    second = shop.worker().wait_ready()
    shop.caught_up()
    assert second.metric("segstream_events_repeated_total") == 0
    shop.assert_exact(one)


def test_poison_is_dead_lettered_and_everything_else_goes_on(shop: Installation) -> None:
    one = shop.prepare()
    poison = [
        (topics.ORDERS.name, b"1", b"not json"),
        (topics.ORDERS.name, b"1", b""),
        (topics.ORDERS.name, b"1", b"[" * 100_000),
        (topics.ORDERS.name, b"1", json.dumps({"type": "track", "event": "Order Completed", "userId": "1"}).encode()),
        (topics.ORDERS.name, b"2", order(1, 1)[2]),
        (topics.SIGNUPS.name, b"1", b"\xff\xfe"),
    ]
    good = orders(300, 20)
    shop.produce(good[:150] + poison + good[150:])
    shop.worker().wait_ready()
    shop.caught_up()
    letters = shop.dead_letters()
    assert len(letters) == len(poison)
    assert {letter["error"] for letter in letters} == {"InvalidEvent"}
    assert all(letter["message"] for letter in letters)
    places = {(row[0], str(row[1]), str(row[2])) for row in shop.produced if (row[0], row[3], row[4]) in poison}
    assert {(x["source_topic"], x["source_partition"], x["source_offset"]) for x in letters} == places
    shop.assert_exact(one)


def test_a_published_model_is_used_by_every_worker_and_for_every_customer(shop: Installation) -> None:
    shop.prepare()
    workers = [shop.worker(), shop.worker()]
    shop.produce(orders(4_000, 400))
    for worker in workers:
        worker.wait_ready()
    shop.caught_up()
    before = {user_id: c.segment for user_id, c in shop.state().items()}
    second = shop.publish(shift=-1.0)
    wait_for(lambda: all(w.ready().get("model_id") == second.id for w in workers), "both use the new model")
    wait_for(lambda: all(w.ready().get("migrated_to") == second.id for w in workers), "every customer is moved")
    state = shop.state()
    assert {c.model_id for c in state.values()} == {second.id}
    expected, _ = shop.oracle(second)
    assert {u: c.segment for u, c in state.items()} == {u: c.segment for u, c in expected.items()}
    moved = {u for u, c in state.items() if c.segment != before[u]}
    assert moved, "the second model must move someone, or this test shows nothing"
    assert {c.user_id for c in shop.changes() if c.cause == "model" and c.model_id == second.id} == moved


@pytest.mark.parametrize("bad", ["unsigned", "truncated", "missing"])
def test_an_artifact_that_cannot_be_trusted_leaves_the_old_model_in_place(shop: Installation, bad: str) -> None:
    from schemas.sealed import to_bytes
    from tests.schemas.models import SIGNER, artifact

    one = shop.prepare()
    worker = shop.worker().wait_ready()
    data = to_bytes(artifact(shift=-1.0), SIGNER)
    stored = {"unsigned": data.split(b"\n", 1)[1], "truncated": data[:-200], "missing": b"x"}[bad]
    shop.registry.publish("m-000000000bad", stored, at=1, by="test")
    if bad == "missing":
        redis.Redis.from_url(shop.redis).delete("segstream:model:m-000000000bad")
    wait_for(lambda: bool(worker.ready().get("degraded")), "the refusal shows in health")
    assert "the old one is kept" in worker.ready()["degraded"][0]
    shop.produce(orders(500, 50))
    shop.caught_up()
    shop.assert_exact(one)


def test_redis_away_delays_only_the_projection(shop: Installation, own_redis: Redis) -> None:
    one = shop.prepare()
    worker = shop.worker().wait_ready()
    rate = 600
    load = threading.Thread(target=shop.produce, args=(orders(20 * rate, 800), rate))
    load.start()
    processed(worker, 2 * rate)
    own_redis.stop()
    at = worker.metric("segstream_events_total")
    processed(worker, int(at) + 12 * rate)
    assert worker.ready()["ready"] is True
    wait_for(lambda: any("redis" in text for text in worker.ready()["degraded"]), "it is told", every=0.1)
    own_redis.start()
    load.join()
    shop.caught_up()
    shop.assert_exact(one)
    shop.assert_projected()


def test_a_redis_that_lost_everything_is_filled_again(shop: Installation) -> None:
    shop.prepare()
    worker = shop.worker().wait_ready()
    shop.produce(orders(2_000, 200))
    shop.caught_up()
    shop.assert_projected()
    redis.Redis.from_url(shop.redis).flushall()
    shop.assert_projected()
    sizes = redis.Redis.from_url(shop.redis).hgetall("segstream:sizes")
    assert sum(map(int, sizes.values())) == 200
    assert worker.ready()["model_id"] == model().id, "the model in memory is kept"


def test_a_worker_that_starts_beside_a_redis_that_lost_everything_goes_on_with_the_model_it_kept(
    shop: Installation,
) -> None:
    one = shop.prepare()
    shop.worker().wait_ready().stop()
    redis.Redis.from_url(shop.redis).flushall()
    worker = shop.worker().wait_ready()
    shop.produce(orders(500, 50))
    shop.caught_up()
    shop.assert_exact(one)
    wait_for(lambda: "models restore" in str(worker.ready().get("degraded")), "what to do shows in health")


def test_history_beside_live_traffic_starts_no_campaign(shop: Installation) -> None:
    shop.prepare()
    shop.worker().wait_ready()
    history = orders(3_000, 300, context={"replay": True})
    live = orders(300, 300, first=10_000)
    shop.produce(history[:1500])
    shop.produce([message for pair in zip(history[1500:1800], live, strict=True) for message in pair])
    shop.produce(history)  # interrupted, and run again
    shop.caught_up()
    once = shop.oracle(model())[0]
    assert {u: c.segment for u, c in shop.state().items()} == {u: c.segment for u, c in once.items()}
    places = {f"{row[0]}:{row[1]}:{row[2]}": b"replay" in row[4] for row in shop.produced}
    for change in shop.changes():
        assert change.cause == ("bootstrap" if places[change.caused_by] else "behaviour")
