"""Run faults under load and hold each run against the oracle; writes build/faults.json and build/faults.md."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException

from schemas.customer import UnreadableState
from segstream import verify
from segstream.outcome import No
from tests.faults.crew import Crew
from tests.faults.hosts import HOSTS
from tests.faults.judgement import judge, unprojected
from tests.faults.report import Run, table, write
from tests.faults.scenarios import FAULTS, PATIENCE, CannotBeRun, Fault, Stage, run_load
from tests.faults.stand import Replicated, Servers, Stand, keep_logs
from tests.faults.traffic import TRAFFIC
from tests.faults.trainers import TRAINERS
from tests.faults.troubles import TROUBLES
from tests.faults.watcher import Watcher
from tests.installation import Installation, order

OUT: Final = Path("build")
CATCH_UP: Final = 600.0
"""Seconds after the load in which the workers must have acknowledged everything, however slow the machine."""
PROJECTED: Final = 60.0
"""Seconds after that in which Redis must show it ..."""
CROWD: Final = 2000
"""... and one more for so many customers."""
ALL: Final = (*FAULTS, *TROUBLES, *TRAFFIC, *HOSTS, *TRAINERS)


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


def run(fault: Fault, stand: Stand, out: Path) -> Run:
    """One run. Raises CannotBeRun."""
    begun = time.monotonic()
    with ExitStack() as rest:
        directory = Path(rest.enter_context(tempfile.TemporaryDirectory(dir=stand.root, ignore_cleanup_errors=True)))
        servers = Servers.planned(directory) if fault.own else stand.servers(fault.cluster)
        shop = rest.enter_context(stand.installation(servers, Replicated))
        rest.callback(lambda: keep_logs(shop, out))
        stage = Stage(Crew(shop), servers, directory)
        found: Run | None = None
        try:
            rest.enter_context(fault.arrange(stage))
            if fault.own:
                rest.callback(servers.stop)
                servers.start()
            found = _run(fault, stage, begun)
        finally:
            stage.crew.dismiss()
            if not fault.own and (found is None or not found.exact):
                stand.discard(fault.cluster)
        return found


def _run(fault: Fault, stage: Stage, begun: float) -> Run:
    shop, crew = stage.shop, stage.crew
    problems: list[str] = []
    model = shop.prepare()
    watcher = Watcher(shop.settings).start()
    try:
        for worker in [crew.join(place) for place in fault.workers]:
            worker.wait_ready(PATIENCE)
        messages = fault.mixed(order(random.Random(-n).randrange(fault.customers), n) for n in itertools.count())
        loaded = time.monotonic()
        try:
            run_load(stage, messages, lambda load: shop.produce(load, fault.rate), fault)
            caught_up(shop)
            problems += fault.check(stage)
        except (Exception, pytest.fail.Exception) as error:  # every fault comes to an answer
            problems.append(str(error) if isinstance(error, (AssertionError, No)) else repr(error))
        done = time.monotonic()
        try:
            state = shop.state()
        except UnreadableState as error:
            problems.append(repr(error))
            state = {}
        judged = judge(shop, state, model, fault.alike)
        compared = time.monotonic()
        for difference in unprojected(shop, state, PROJECTED + len(state) / CROWD):
            judged.differs(difference)
        shown = time.monotonic()
        problems += crew.dismiss()
    finally:
        watcher.end()
    return Run(
        fault=fault.name,
        exact=judged.exact and not problems,
        events=len(shop.produced),
        downtime=round(watcher.pause, 2),
        broker_away=round(stage.broker_away, 2),
        duplicates=judged.duplicates,
        lost=judged.lost,
        wrong=judged.wrong,
        restarts=crew.restarts,
        seconds=round(time.monotonic() - begun, 1),
        parts={
            "start": round(loaded - begun, 1),
            "load": round(done - loaded, 1),
            "comparison": round(compared - done, 1),
            "redis": round(shown - compared, 1),
            "end": round(time.monotonic() - shown, 1),
        },
        problem="; ".join(problems),
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
    chosen = [fault for fault in ALL if not asked.faults or fault.name in asked.faults]
    chosen.sort(key=lambda fault: fault.cluster)  # four brokers at once are more than a small machine can bear
    runs: list[Run] = []
    missing: dict[str, str] = {}
    for number in range(asked.runs):
        stand = Stand()
        try:
            with kept_busy(asked.busy):
                for fault in chosen:
                    if fault.cluster:
                        stand.discard(cluster=False)
                    try:
                        runs.append(run(fault, stand, asked.out / "faults" / f"{fault.name}-{number}"))
                    except CannotBeRun as error:
                        missing[fault.name] = str(error)
                        print(f"{fault.name} cannot be run here: {error}", flush=True)
                        continue
                    print(f"{runs[-1]}"[:2000], flush=True)
                    write(runs, missing, asked.busy, asked.out)
        finally:
            stand.close()
    print(table(runs, missing))
    return 0 if all(run.exact for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
