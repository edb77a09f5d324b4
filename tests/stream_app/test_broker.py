"""The broker killed under load: the short form of what `make faults` does at length."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.kafka import Kafka, missing_tools
from sandbox.redis import Redis
from tests.faults.crew import Crew
from tests.faults.scenarios import Fault, Stage, run_load
from tests.faults.stand import Servers
from tests.installation import Installation, order
from tests.waiting import wait_for


@pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")
def test_a_broker_killed_under_load_costs_time_and_nothing_else(
    shop: Installation, own_kafka: Kafka, own_redis: Redis, tmp_path: Path
) -> None:
    one = shop.prepare()
    crew = Crew(shop)
    try:
        worker = crew.join("a").wait_ready()

        def inflict(stage: Stage) -> None:
            wait_for(lambda: worker.metric("segstream_events_total") > 1_000, "the worker is at work")
            stage.bounce()

        fault = Fault(name="", text="", workers=("a",), rate=1000, seconds=6, customers=300, inflict=inflict)
        messages = (order(number * 7919 % fault.customers, number) for number in itertools.count())
        stage = Stage(crew, Servers(redis=own_redis, broker=own_kafka), tmp_path)
        run_load(stage, messages, lambda load: shop.produce(load, fault.rate), fault)
        shop.caught_up(300)
        shop.assert_projected()  # while there is somebody who writes it
    finally:
        crew.dismiss()
    shop.assert_exact(one)


ASKING = """
import sys
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from schemas import groups, offsets
server = {"bootstrap.servers": sys.argv[1], "log_level": 0}
admin, client = AdminClient(server), Consumer(server | {"group.id": "asking"})
for _ in sys.stdin:
    try:
        print(groups.group(admin, "asking", 1).state, offsets.ends(client, [("orders", 0)], 1), flush=True)
    except KafkaException as error:
        print(error.args[0].name(), flush=True)
"""
"""Asks Kafka what watchdog, API and destinations ask all day, once for every line it is given."""


@pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")
def test_who_asks_after_groups_and_logs_outlives_brokers_that_go_and_come(shop: Installation, own_kafka: Kafka) -> None:
    shop.prepare()
    command = [sys.executable, "-c", ASKING, own_kafka.bootstrap]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None

        def answer() -> str:
            asking.stdin.write("\n")
            asking.stdin.flush()
            return asking.stdout.readline()

        answered = "Dead {('orders', 0): 0}\n"
        for _ in range(3):
            wait_for(lambda: answer() == answered, "Kafka is there, and the one who asks")
            own_kafka.kill()
            refused = [answer() for _ in range(4)]
            assert all(refused)
            assert answered not in refused
            own_kafka.start()
        wait_for(lambda: answer() == answered, "Kafka is there, and the one who asks")
        asking.stdin.close()
        assert asking.wait(30) == 0
