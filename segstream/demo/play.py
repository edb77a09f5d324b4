"""The demo's plot: history, training, replay, live traffic, a shift, an alert, a new model, and the proof."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from sandbox import warehouse
from sandbox.shop import Shop
from sandbox.traffic import Traffic
from schemas.settings import Settings
from segstream import context, kafka, training
from segstream.demo.probe import Probe
from segstream.demo.stage import Stage, stage
from segstream.demo.view import View, picture
from segstream.outcome import err, out
from segstream.replay import replay
from segstream.verify import caught_up, verify

DAYS: Final = 365
SHIFT_AT: Final = 0.4
"""Share of the live time after which the shop's customers change."""
RETRAIN_BY: Final = 0.8
"""Share of the live time by which a new model is trained, whether an alert came or not."""
FORCE: Final = "the demo has made its customers behave differently on purpose"
"""Why the second model is published even where many customers change segment with it."""
SOURCE: Final = "thelook"


def play(settings: Settings, *, seconds: int, customers: int, rate: float, seed: int, quiet: bool) -> dict[str, Any]:
    """Run the demo; its figures. `ok` says whether stream and warehouse agree and a drift alert came."""
    view = View(err if quiet else out, live=not quiet)
    begun = time.monotonic()
    view.say("starting Kafka and Redis")
    with stage(settings) as scene:
        done = _play(scene, view, seconds, customers, rate, seed)
    done["seconds"] = round(time.monotonic() - begun, 1)
    if not quiet:
        _tell(view, done)
    return done


def _play(scene: Stage, view: View, seconds: int, customers: int, rate: float, seed: int) -> dict[str, Any]:
    s = scene.settings
    url = f"duckdb:///{scene.home.warehouse}"
    view.say(f"inventing a shop: {customers} customers, {DAYS} days of orders, into DuckDB")
    shop = Shop(seed, customers, DAYS, context.now_micros())
    warehouse.create(scene.home.warehouse, shop.catalogue)
    warehouse.append(scene.home.warehouse, shop.history)
    kafka.create(s)
    view.say("training PCA + KMeans from the warehouse")
    first = _train(s, url)
    view.say(f"published {first['model_id']} with {first['k']} segments: {first['choice']['reason']}")
    scene.start_worker()
    address = scene.start_api()
    view.say(f"dashboard: [bold]{address}[/] (while the demo runs)")
    probe = Probe(s, context.now_micros)
    probe.start()
    traffic = Traffic(s.kafka, shop, rate, context.now_micros)
    appended = 0
    try:
        view.say("replaying the history as events")
        sent = replay(s, SOURCE, url, {})
        caught_up(s, 120)
        view.say(
            f"{sent['events']} events replayed in {sent['seconds']} s; now live, {rate:.0f} events/s for {seconds} s"
        )
        appended = _live(scene, view, probe, traffic, shop, seconds, url)
        traffic.stop()
        rest, _ = traffic.delivered(appended)
        warehouse.append(scene.home.warehouse, rest)
        view.say("comparing every customer with the warehouse")
        parity = verify(s, SOURCE, url, {}, 120)
        _settle(probe)
    finally:
        traffic.stop()
        probe.stop()
    ok = parity.holds and bool(probe.alerts) and not traffic.error
    return {
        "ok": ok,
        "events_in": sent["events"] + traffic.count,
        "changes_out": dict(probe.causes),
        "customers": len(probe.where),
        "segments": probe.sizes(),
        "parity": parity.document(),
        "latency_ms": probe.latency(traffic.produced_at),
        "alerts": [
            {"alert_id": a.alert_id, "signal": a.signal, "direction": a.direction, "message": a.message}
            for a in probe.alerts
        ],
        "models": [first["model_id"], parity.model_id],
        "dashboard": address,
        "worker_log": str(scene.log),
    }


def _live(scene: Stage, view: View, probe: Probe, traffic: Traffic, shop: Shop, seconds: int, url: str) -> int:
    """The live part; how many of the traffic's happenings are in the warehouse already."""
    retraining = _Retraining(scene, traffic, url)
    traffic.start()
    begun = time.monotonic()
    before, before_at, speed = 0, begun, 0.0
    shifted = told = False
    view.open()
    try:
        while (elapsed := time.monotonic() - begun) < seconds or retraining.running:
            if not shifted and elapsed > SHIFT_AT * seconds:
                shifted = True
                shop.shift()
                view.say("the customers begin to behave differently: dearer, larger, more mixed baskets")
            if probe.alerts and not told:
                told = True
                view.say(f"drift alert: {probe.alerts[0].message}")
            if shifted and not retraining.begun and (told or elapsed > RETRAIN_BY * seconds):
                view.say("training again with what has happened since")
                retraining.start()
            if retraining.finished():
                view.say(f"published {retraining.model_id}; customers move to it (cause=model)")
            now = time.monotonic()
            if now - before_at >= 1:
                speed, before, before_at = (traffic.count - before) / (now - before_at), traffic.count, now
            numbers = {
                "events/s": f"{speed:.0f}",
                "latency p50 / p99": " / ".join(f"{ms} ms" for ms in probe.latency(traffic.produced_at).values()),
                "customers": len(probe.where),
                "changes": sum(probe.causes.values()),
                "left": f"{max(0, seconds - elapsed):.0f} s",
            }
            view.update(lambda numbers=numbers: picture(probe, numbers))  # type: ignore[misc]
            time.sleep(0.25)
        if retraining.finished():
            view.say(f"published {retraining.model_id}; customers move to it (cause=model)")
    finally:
        view.close()
        retraining.join()
    return retraining.appended


class _Retraining:
    """Append what happened, train and publish, in the background."""

    def __init__(self, scene: Stage, traffic: Traffic, url: str) -> None:
        self._scene = scene
        self._traffic = traffic
        self._url = url
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._told = False
        self.model_id = ""
        self.appended = 0

    @property
    def begun(self) -> bool:
        return self._thread is not None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="retraining", daemon=True)
        self._thread.start()

    def finished(self) -> bool:
        """True once, when it is done. Raises what went wrong."""
        if not self.begun or self.running or self._told:
            return False
        self._told = True
        if self._error is not None:
            raise self._error
        return True

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            happened, self.appended = self._traffic.delivered()
            warehouse.append(self._scene.home.warehouse, happened)
            self.model_id = _train(self._scene.settings, self._url, FORCE)["model_id"]
        except Exception as error:
            self._error = error


def _train(settings: Settings, url: str, force: str = "") -> dict[str, Any]:
    done = training.train(
        settings, SOURCE, url, "behaviour", {}, k=0, publish=True, force=force, directory=None, say=lambda text: None
    )
    return done.document


def _settle(probe: Probe) -> None:
    """Wait until nothing more arrives at the probe."""
    count = -1
    while count != sum(probe.causes.values()):
        count = sum(probe.causes.values())
        time.sleep(0.5)


def _tell(view: View, done: dict[str, Any]) -> None:
    parity = done["parity"]
    view.say(
        f"{done['events_in']} events in; changes out: "
        + ", ".join(f"{count} {cause}" for cause, count in sorted(done["changes_out"].items()))
    )
    for segment in done["segments"]:
        view.say(f"  {segment['customers']:6d}  {segment['name']} ({segment['id']})")
    if done["latency_ms"]:
        view.say(
            f"event to change, read by a consumer: p50 {done['latency_ms']['p50']} ms, p99 {done['latency_ms']['p99']} ms"
        )
    view.say(f"drift alerts: {len(done['alerts'])}")
    view.say(
        f"parity: {parity['customers']} customers, {parity['feature_mismatches']} feature mismatches, "
        f"{parity['segment_mismatches']} segment mismatches"
    )
    for difference in parity["differences"]:
        view.say(f"  {difference}")
    view.say(
        "[green]The stream agrees with the warehouse.[/]"
        if done["ok"]
        else f"[red]Not as it should be;[/] log: {done['worker_log']}"
    )
