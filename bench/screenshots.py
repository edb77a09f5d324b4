"""`make screenshots`: the dashboard's pages into docs/pages, from a demo, by the Chromium that is installed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from sandbox import warehouse
from sandbox.shop import Shop
from sandbox.traffic import Traffic
from schemas.settings import Settings
from segstream import context, kafka, training
from segstream.demo.stage import stage
from segstream.replay import replay
from segstream.verify import caught_up

OUT: Final = Path("docs/pages")
WIDTHS: Final = ((1440, "light"), (390, "dark"))
SETTLE: Final = 15.0


def main() -> int:
    """Exit code 0: the pictures are there."""
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--address", help="of a dashboard that runs already; default: a demo of its own")
    parser.add_argument("--customers", type=int, default=2000)
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        print("no Chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        if options.address:
            take(browser, options.address)
        else:
            with tempfile.TemporaryDirectory(prefix="screenshots-") as home:
                _of_a_demo(browser, Path(home), options.customers)
        browser.close()
    return 0


def _of_a_demo(browser: Browser, home: Path, customers: int) -> None:
    with stage(Settings(home=home)) as scene:
        s, url = scene.settings, f"duckdb:///{scene.home.warehouse}"
        shop = Shop(444, customers, 365, context.now_micros())
        warehouse.create(scene.home.warehouse, shop.catalogue)
        warehouse.append(scene.home.warehouse, shop.history)
        kafka.create(s)
        training.train(
            s, "thelook", url, "behaviour", {}, k=0, publish=True, force="", directory=None, say=lambda text: None
        )
        scene.start_worker()
        address = scene.start_api()
        replay(s, "thelook", url, {})
        caught_up(s, 120)
        traffic = Traffic(s.kafka, shop, 40.0, context.now_micros)
        traffic.start()
        try:
            take(browser, address)
        finally:
            traffic.stop()


def take(browser: Browser, address: str) -> None:
    """Every page at every width."""
    OUT.mkdir(parents=True, exist_ok=True)
    page = browser.new_page()
    page.goto(address)
    page.wait_for_timeout(SETTLE * 1000)  # the trend needs some past to show
    with urllib.request.urlopen(f"{address}/v1/changes?limit=1&cause=behaviour") as answer:
        user = json.loads(answer.read())["changes"][0]["user_id"]
    pages = {
        "overview": "/",
        "map": "/map",
        "segment": "/segments/s1",
        "customer": f"/customers/{user}",
        "try": "/try",
        "models": "/models",
    }
    pages |= {"drift": "/drift", "system": "/system"}
    for width, scheme in WIDTHS:
        shown = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        for name, path in pages.items():
            page = shown.new_page()
            page.goto(address + path)
            for plot in page.locator("[data-chart] .plot canvas").all():
                plot.wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=OUT / f"{name}-{width}-{scheme}.png", full_page=width > 1000)
            page.close()
        shown.close()


if __name__ == "__main__":
    sys.exit(main())
