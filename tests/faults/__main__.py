"""Run faults under load and hold each run against the oracle; writes build/faults.json and build/faults.md."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException

from sandbox.kafka import Kafka
from sandbox.redis import Redis
from schemas.settings import Settings
from segstream import verify
from segstream.outcome import No
from tests.faults.cluster import Cluster
from tests.faults.crew import Crew
from tests.faults.judgement import judge, unprojected
from tests.faults.report import Run, table, write
from tests.faults.scenarios import FAULTS, PATIENCE, Fault, Stage, run_load
from tests.faults.troubles import TROUBLES
from tests.faults.watcher import Watcher
from tests.installation import Installation, order, orders

OUT: Final = Path("build")
CATCH_UP: Final = 900.0
"""Seconds after the load in which the workers must have acknowledged everything, however slow the machine."""


PROJECTED: Final = 60.0
"""Seconds after that in which Redis must show it."""
ALL: Final = (*FAULTS, *TROUBLES)


class Replicated(Installation):
    """An installation whose topics have several copies."""

    copies = 1

    @property
    def settings(self) -> Settings:
        """With the number of copies."""
        return super().settings.model_copy(update={"replication": self.copies})


@contextmanager
def kept_busy(busy: bool) -> Iterator[None]:
    """One core occupied from beside by a process of low priority."""
    if not busy:
        yield
        return
    spinner = subprocess.Popen(["nice", "-n", "10", sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def caught_up(shop: Installation) -> None:
    """Wait for the workers; a broker that was just killed may still refuse to answer."""
    until = time.monotonic() + CATCH_UP
    while True:
        try:
            return verify.caught_up(shop.settings, until - time.monotonic())
        except KafkaException:
            if time.monotonic() > until:
                raise


def run(fault: Fault, directory: Path) -> Run:
    """One run on servers of its own."""
    begun = time.monotonic()
    redis = Redis(directory / "redis")
    broker = None if fault.needs_cluster else Kafka(directory / "kafka")
    cluster = Cluster(directory, fault.brokers) if fault.needs_cluster else None
    servers = broker or cluster
    assert servers is not None
    shop = Replicated(directory / "home", servers.bootstrap, redis.url)
    shop.copies = cluster.copies if cluster is not None else 1
    doors = {place: {"SEGSTREAM_KAFKA": cluster.doors} for place in fault.behind_door} if cluster is not None else {}
    crew = Crew(shop, doors)
    watcher = None
    stage = Stage(crew, broker, redis, cluster)
    problem, judged = "", None
    try:
        servers.start()
        redis.start()
        model = shop.prepare()
        watcher = Watcher(shop.settings).start()
        for worker in [crew.join(place) for place in fault.workers]:
            worker.wait_ready(PATIENCE)
        least = fault.rate * fault.seconds
        more = (order(random.Random(-n).randrange(fault.customers), n) for n in itertools.count(least))
        messages = fault.mixed(itertools.chain(orders(least, fault.customers), more))
        try:
            run_load(stage, messages, lambda load: shop.produce(load, fault.rate), fault)
            caught_up(shop)
        except (AssertionError, No, pytest.fail.Exception) as error:
            problem = str(error)
        judged = judge(shop, model)
        for difference in [*unprojected(shop, PROJECTED), *fault.check(shop)]:
            judged.differs(difference)
    finally:
        crew.dismiss()
        if watcher is not None:
            watcher.end()
        shop.close()
        redis.stop()
        servers.stop()
    return Run(
        fault=fault.name,
        exact=judged.exact and not problem,
        events=len(shop.produced),
        downtime=round(watcher.pause, 2),
        broker_away=round(stage.broker_away, 2),
        duplicates=judged.duplicates,
        lost=judged.lost,
        wrong=judged.wrong,
        restarts=crew.restarts,
        seconds=round(time.monotonic() - begun, 1),
        problem=problem,
        differences=judged.differences,
    )


def main() -> int:
    """Run the faults asked for; 1 when a run was not exact."""
    names = [fault.name for fault in ALL]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(names)}; all where none is named")
    parser.add_argument("--runs", type=int, default=1, help="runs of each")
    parser.add_argument("--busy", action="store_true", help="keep one core busy from beside")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    asked = parser.parse_args()
    unknown = set(asked.faults) - set(names)
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and workers are ended too
    runs: list[Run] = []
    with kept_busy(asked.busy):
        for number in range(asked.runs):
            for fault in ALL:
                if asked.faults and fault.name not in asked.faults:
                    continue
                directory = Path(tempfile.mkdtemp(prefix="segstream-fault-"))
                try:
                    runs.append(run(fault, directory))
                    # what the workers said
                    shutil.copytree(
                        directory / "home", asked.out / "faults" / f"{fault.name}-{number}", dirs_exist_ok=True
                    )
                finally:
                    shutil.rmtree(directory, ignore_errors=True)
                print(f"{runs[-1]}"[:2000], flush=True)
                write(runs, asked.busy, asked.out)
    print(table(runs))
    return 0 if all(run.exact for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
