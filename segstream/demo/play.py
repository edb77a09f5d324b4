"""The demo's plot: history, training, replay, live traffic, a shift, an alert, a new model, and the proof."""

from __future__ import annotations

import time
from typing import Any, Final

from sandbox import warehouse
from sandbox.shop import Shop
from sandbox.traffic import Traffic
from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import context, kafka, training
from segstream.demo.loop import DONE, Loop
from segstream.demo.probe import Probe
from segstream.demo.stage import Stage, stage
from segstream.demo.view import View, picture
from segstream.outcome import err, out
from segstream.replay import replay
from segstream.verify import caught_up, verify

DAYS: Final = 365
SHIFT_AT: Final = 0.4
"""Share of the live time after which the shop's customers change."""
AGED: Final = 0.03
"""They change at the latest when so many live events have come as a share of the history's: hundreds a second make days of a second, so
that customers outgrow what the first model learnt, and an alert about that would be right, but not the one that is shown here."""
RETRAIN_BY: Final = 0.8
"""Share of the live time by which a training is asked for, whether an alert came or not."""
ASKED: Final = "the demo has made its customers behave differently, and no alert has come yet"
PATIENCE: Final = 180.0
"""Seconds beyond the live time that the loop may take to come to its end."""
STEPS: Final = {
    "training-started": "the trainer starts",
    "training-refused": "the trainer's gates refuse the model",
    "training-failed": "the training came to no model",
    "training-abandoned": "the training is given up",
    "candidate-published": "trained; it is tried beside the active model on live customers",
    "shadow-compared": "compared on live customers",
    "activation-refused": "the candidate is refused",
    "activated": "activated; customers move to it (cause=model)",
    "confirmed": "the new model stays",
    "rolled-back": "the old model is back",
}
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
        appended, shifted_at = _live(scene, view, probe, traffic, shop, seconds, url)
        traffic.stop()
        rest, _ = traffic.delivered(appended)
        warehouse.append(scene.home.warehouse, rest)
        view.say("comparing every customer with the warehouse")
        parity = verify(s, SOURCE, url, {}, 120)
        _settle(probe)
    finally:
        traffic.stop()
        probe.stop()
    steps = [event.action for event in probe.steps]
    ok = parity.holds and bool(probe.alerts) and "activated" in steps and not traffic.error
    return {
        "ok": ok,
        "events_in": sent["events"] + traffic.count,
        "changes_out": dict(probe.causes),
        "customers": len(probe.where),
        "segments": probe.sizes(),
        "parity": parity.document(),
        "latency_ms": probe.latency(traffic.produced_at),
        "alerts": [
            {
                "alert_id": a.alert_id,
                "status": a.status,
                "signal": a.signal,
                "direction": a.direction,
                "raised_at": a.raised_at,
                "message": a.message,
            }
            for a in probe.alerts
        ],
        "shifted_at": rfc3339(shifted_at),
        "models": [first["model_id"], parity.model_id],
        "loop": [{"step": e.action, "model_id": e.model_id, "reason": e.reason} for e in probe.steps],
        "dashboard": address,
        "worker_log": str(scene.log),
    }


def _live(
    scene: Stage, view: View, probe: Probe, traffic: Traffic, shop: Shop, seconds: int, url: str
) -> tuple[int, int]:
    """The live part; how many of the traffic's happenings are in the warehouse already, and when the customers changed (microseconds)."""
    loop = Loop(scene, traffic, SOURCE, url)
    teller = _Teller(view, probe)
    traffic.start()
    begun = time.monotonic()
    before, before_at, speed = 0, begun, 0.0
    asked, shifted_at, aged = False, 0, AGED * len(shop.history)
    base = scene.condition().get("model_id", "")
    view.open()
    try:
        while (elapsed := time.monotonic() - begun) < seconds or (
            _is_busy(loop, probe, base) and elapsed < seconds + PATIENCE
        ):
            if not loop.begun and (elapsed > SHIFT_AT * seconds or traffic.count > aged):
                shifted_at = context.now_micros()
                shop.shift()
                view.say("the customers begin to behave differently: dearer, larger, more mixed baskets")
                loop.start()
            if loop.begun and not asked and elapsed > RETRAIN_BY * seconds and not probe.steps:
                asked = True
                loop.ask(ASKED)
            teller.tell()
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
        teller.tell()
    finally:
        view.close()
        loop.stop()
    return loop.appended, shifted_at


def _is_busy(loop: Loop, probe: Probe, base: str) -> bool:
    if not loop.begun or loop.failed:
        return False
    if not (probe.steps and probe.steps[-1].action in DONE):
        return True
    return "activated" in [step.action for step in probe.steps] and bool(_unresolved(probe, base))


def _unresolved(probe: Probe, model_id: str) -> set[str]:
    """The alerts about a model that are still open."""
    about = [alert for alert in probe.alerts if alert.model_id == model_id]
    return {alert.alert_id for alert in about} - {alert.alert_id for alert in about if alert.status == "resolved"}


class _Teller:
    """Says what alerts and the trainer's loop have told, each thing once."""

    def __init__(self, view: View, probe: Probe) -> None:
        self._view = view
        self._probe = probe
        self._alerts = 0
        self._steps = 0

    def tell(self) -> None:
        for alert in self._probe.alerts[self._alerts :]:
            self._alerts += 1
            self._view.say(f"drift alert {alert.status}: {alert.message}")
        for event in self._probe.steps[self._steps :]:
            self._steps += 1
            self._view.say(f"{STEPS.get(event.action, event.action)} {event.model_id}: {event.reason}")


def _train(settings: Settings, url: str) -> dict[str, Any]:
    done = training.train(
        settings, SOURCE, url, "behaviour", {}, k=0, publish=True, force="", directory=None, say=lambda text: None
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
    told = [alert["status"] for alert in done["alerts"]]
    view.say(f"drift alerts: {told.count('opened')} opened, {told.count('resolved')} resolved")
    for alert in {alert["alert_id"]: alert for alert in done["alerts"]}.values():
        if alert["status"] != "resolved":
            view.say(f"still open, because the customers go on changing: {alert['message']}")
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
