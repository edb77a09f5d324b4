"""The broker killed under load: the short form of what `make faults` does at length."""

from __future__ import annotations

import itertools
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
    finally:
        crew.dismiss()
    shop.assert_exact(one)
    shop.assert_projected()
