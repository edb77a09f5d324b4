"""`make screenshots`: the dashboard of an empty and of a full shop, at three widths, light and dark, into build/pages; the main ones into docs/pages.

From a demo of its own, by the Chromium that is installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from playwright.sync_api import Browser, sync_playwright

from sandbox import warehouse
from sandbox.shop import Shop
from sandbox.traffic import Traffic
from schemas import topics
from schemas.settings import Settings
from segstream import context, kafka, training
from segstream.demo.stage import Stage, stage
from segstream.replay import replay
from segstream.verify import caught_up

ALL: Final = Path("build/pages")
MAIN: Final = Path("docs/pages")
WIDTHS: Final = {1440: 900, 768: 1024, 390: 844}
"""Width -> height of the window."""
SCHEMES: Final = ("light", "dark")
SHOWN: Final = (
    "full-overview-1440-light",
    "full-map-1440-dark",
    "full-segment-1440-light",
    "full-customer-1440-light",
    "full-try-1440-light",
    "full-models-1440-light",
    "full-system-1440-dark",
    "full-overview-390-dark",
    "full-customer-390-light",
    "empty-overview-1440-light",
)
"""What the documentation shows."""
SETTLE: Final = 45.0
"""Seconds that the shop lives before: charts over time need some past."""
PAGES: Final = {
    "overview": "/?window=15m",
    "map": "/map",
    "segments": "/segments",
    "customers": "/customers",
    "try": "/try",
    "models": "/models",
    "drift": "/drift",
    "system": "/system",
    "api": "/docs",
}


def main() -> int:
    """Exit code 0: the pictures are there."""
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--address", help="of a dashboard that runs already; default: a demo of its own")
    parser.add_argument("--customers", type=int, default=3000)
    parser.add_argument("--only", default="", help="pages, comma-separated; default: all")
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        print("no Chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 1
    only = set(filter(None, options.only.split(",")))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        if options.address:
            take(browser, options.address, "full", PAGES | _of_somebody(options.address), only)
        else:
            with tempfile.TemporaryDirectory(prefix="screenshots-") as home, stage(Settings(home=Path(home))) as scene:
                address = scene.start_api()
                take(browser, address, "empty", PAGES | {"nobody": "/customers?id=4711"}, only)
                with full(scene, options.customers):
                    take(browser, address, "full", PAGES | _of_somebody(address), only)
                _keep()
        browser.close()
    return 0


@contextmanager
def full(scene: Stage, customers: int) -> Iterator[None]:
    """A shop with a past, which lives for the time of the block: a worker, two models, and letters that cannot be used."""
    s, url = scene.settings, f"duckdb:///{scene.home.warehouse}"
    shop = Shop(444, customers, 365, context.now_micros())
    warehouse.create(scene.home.warehouse, shop.catalogue)
    warehouse.append(scene.home.warehouse, shop.history)
    kafka.create(s)
    for k in (3, 0):
        training.train(
            s, "thelook", url, "behaviour", {}, k=k, publish=True, force="shown beside the other" if k else "",
            directory=None, say=lambda text: None,
        )  # fmt: skip
    scene.start_worker()
    replay(s, "thelook", url, {})
    caught_up(s, 120)
    producer = Producer({"bootstrap.servers": s.kafka, "log_level": 2})
    for n in range(7):
        producer.produce(topics.ORDERS.name, b'{"event": "Order Completed", "properties": {"total": "much"}}', f"{n}")
    producer.flush(20)
    traffic = Traffic(s.kafka, shop, 40.0, context.now_micros)
    traffic.start()
    try:
        time.sleep(SETTLE)
        yield
    finally:
        traffic.stop()


def _of_somebody(address: str) -> dict[str, str]:
    """The pages of one segment, one customer and one comparison."""

    def ask(path: str) -> dict[str, list[dict[str, str]]]:
        with urllib.request.urlopen(f"{address}{path}") as answer:
            return dict(json.loads(answer.read()))

    moved = ask("/v1/changes?limit=50&cause=behaviour")["changes"]
    user = next((c for c in moved if c["from_segment"] not in (None, "prospect")), moved[0])
    one, other = (v["model_id"] for v in ask("/v1/models")["versions"][:2])
    return {
        "segment": f"/segments/{user['to_segment']}?window=15m",
        "customer": f"/customers/{user['user_id']}",
        "diff": f"/models?id={one}&to={other}",
        "nobody": "/customers/nobody-of-this-name",
    }


def take(browser: Browser, address: str, shop: str, pages: Mapping[str, str], only: set[str]) -> None:
    """Every page at every width, light and dark."""
    ALL.mkdir(parents=True, exist_ok=True)
    for width, height in WIDTHS.items():
        for scheme in SCHEMES:
            shown = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            for name, path in pages.items():
                if only and name not in only:
                    continue
                page = shown.new_page()
                page.goto(address + path)
                for plot in page.locator("[data-chart] .plot canvas").all():
                    plot.wait_for()
                page.wait_for_timeout(900)
                page.screenshot(path=ALL / f"{shop}-{name}-{width}-{scheme}.png", full_page=True)
                if (chosen := f"{shop}-{name}-{width}-{scheme}") in SHOWN:
                    page.screenshot(path=ALL / f"{chosen}.main.png")
                page.close()
            shown.close()


def _keep() -> None:
    """The main ones, one window high, into the documentation."""
    MAIN.mkdir(parents=True, exist_ok=True)
    for name in SHOWN:
        if (made := ALL / f"{name}.main.png").exists():
            shutil.move(made, MAIN / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
