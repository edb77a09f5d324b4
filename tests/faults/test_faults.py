"""The short form of `make faults`: one fault of the list under a small load, on real servers, from the beginning to the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.kafka import missing_tools
from tests.faults.__main__ import ALL, run
from tests.faults.report import document, table
from tests.faults.stand import Stand
from tests.installation import Installation, orders

FAULTS = {fault.name: fault for fault in ALL}


@pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")
def test_a_worker_killed_amid_poison_costs_time_and_nothing_else(tmp_path: Path) -> None:
    stand = Stand()
    try:
        found = run(replace(FAULTS["poisoned"], rate=300, seconds=9, customers=200), stand, tmp_path / "logs")
    finally:
        stand.close()
    assert found.exact, f"{found.problem} {found.differences}"
    assert found.events >= 2700
    assert (tmp_path / "logs" / "worker-1.log").exists(), "what the workers said is kept"
    assert all(verdict["holds"] for verdict in document([found], {}, busy=False)["verdicts"])
    assert "| poisoned | 1 | 1 |" in table([found], {"disk-full": "no mount"})
    assert "Not run here: disk-full: no mount" in table([found], {"disk-full": "no mount"})


def test_every_fault_has_a_name_of_its_own_and_a_text() -> None:
    assert len(FAULTS) == len(ALL)
    assert all(fault.text for fault in ALL)


def test_what_kafka_has_without_having_told_where_is_found_in_its_log(shop: Installation) -> None:
    shop.prepare()
    shop.produce([*orders(40, 5), *orders(40, 5)])
    told = sorted(shop.produced)
    for topic, partition, _, key, value in told[::7]:
        shop.acknowledged((topic, partition, None, key, value))
    shop.produced = [row for number, row in enumerate(told) if number % 7]
    shop.place()
    assert sorted(shop.produced) == told
    shop.acknowledged((*told[0][:2], None, b"1", b"never sent"))
    with pytest.raises(AssertionError, match="lacks 1 records that Kafka acknowledged"):
        shop.place()
