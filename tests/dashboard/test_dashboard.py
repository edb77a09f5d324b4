"""The pages in a real browser: alive, usable by keyboard and screen reader, from phone to wide, light and dark."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from sandbox.kafka import broker
from sandbox.redis import Redis
from schemas.registry import Registry
from schemas.settings import Settings
from segstream import kafka
from tests.dashboard.browser import chromium
from tests.schemas.models import model as small
from tests.schemas.models import sealed
from tests.segment_api.conftest import customer, listening, put
from tests.segment_api.test_changes import change, lives, send
from tests.segment_api.test_similar import rows
from tests.waiting import wait_for

PATIENCE = 30_000
PAGES = (
    "/",
    "/map",
    "/segments",
    "/segments/s1",
    "/customers",
    "/customers/u1",
    "/try",
    "/models",
    "/drift",
    "/system",
    "/docs",
)


class Site:
    """A running installation with some customers and changes."""

    def __init__(self, address: str, settings: Settings) -> None:
        self.address, self.settings = address, settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("dashboard")
    streams, store = broker(home / "kafka"), Redis(home / "redis")
    try:
        streams.start()
        store.start()
        settings = Settings(kafka=streams.bootstrap, redis=store.url, home=home / "home", model_poll=0.2, partitions=3)
        registry = Registry(redis.Redis.from_url(store.url))
        for at, shift in ((1, 0.3), (2, 0.0)):
            model_id, data = sealed(shift)
            registry.publish(model_id, data, at=time.time_ns() // 1000 + at, by="test")
        kafka.create(settings)
        people = rows(small(), 300)
        for number, row in enumerate(people):
            put(settings, customer(f"u{number}", segment=row.segment, features=dict(row.features), model_id=small().id))
        send(settings, lives(200, time.time_ns() // 1000 - 300_000_000)[0])
        with listening(settings) as client:
            wait_for(lambda: client.get("/v1/changes").json()["caught_up"], "the journal follows")
            wait_for(lambda: client.get("/v1/users/u1/similar").status_code == 200, "everyone is read")
            client.get("/static/vega.js")
            yield Site(str(client.base_url).rstrip("/"), settings)
    finally:
        streams.stop()
        store.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def opened(browser: Browser, site: Site, path: str, width: int = 1440, scheme: str = "light") -> tuple[Page, list[str]]:
    """A page, and what its console complains of."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, complaints = context.new_page(), list[str]()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(site.address + path)
    return page, complaints


def drawn(page: Page) -> None:
    """Wait until every chart is there."""
    for plot in page.locator("[data-chart] .plot").all():
        expect(plot.locator("canvas")).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_every_width_and_breaks_no_rule(browser: Browser, site: Site, path: str) -> None:
    for width, scheme in ((1440, "light"), (768, "dark"), (390, "light"), (320, "dark")):
        page, complaints = opened(browser, site, path, width, scheme)
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        assert complaints == [], (path, width)
        page.context.close()


def test_a_change_shows_without_reloading(browser: Browser, site: Site) -> None:
    page, complaints = opened(browser, site, "/")
    expect(page.locator("#live-text")).to_have_text("Live", timeout=PATIENCE)
    page.evaluate("window.stayed = true")
    send(site.settings, [change("just-moved", 1, None, "s2", time.time_ns() // 1000)])
    expect(page.locator("#latest")).to_contain_text("just-moved", timeout=PATIENCE)
    assert page.evaluate("window.stayed") is True
    assert complaints == []
    page.context.close()


def test_the_sliders_answer_while_they_move(browser: Browser, site: Site) -> None:
    page, _ = opened(browser, site, "/try")
    page.get_by_label("Orders", exact=True).fill("2")
    expect(page).to_have_url(re.compile(r"[?&]orders=2(&|$)"), timeout=PATIENCE)
    before = page.locator("#why").inner_text()
    page.get_by_label("Orders", exact=True).press("End")
    page.wait_for_function("text => document.querySelector('#why').innerText !== text", arg=before, timeout=PATIENCE)
    page.context.close()


def test_a_click_on_the_map_opens_a_customer(browser: Browser, site: Site) -> None:
    page, _ = opened(browser, site, "/map")
    drawn(page)
    page.locator("#map canvas").click(position={"x": 500, "y": 200})
    page.wait_for_url("**/customers/*", timeout=PATIENCE)
    expect(page.locator("h1")).to_contain_text("Customer")
    page.context.close()


def test_a_model_is_activated_after_a_question_by_keyboard_alone(browser: Browser, site: Site) -> None:
    other = small(shift=0.3).id
    page, _ = opened(browser, site, "/models")
    page.get_by_role("button", name="Activate").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text(other)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Activate").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Reason").fill("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("by keyboard", timeout=PATIENCE)
    registry = Registry(redis.Redis.from_url(site.settings.redis))
    assert registry.active() == other
    registry.activate(small().id, at=time.time_ns() // 1000, by="test")
    page.context.close()


def test_the_keyboard_reaches_the_content_first(browser: Browser, site: Site) -> None:
    page, _ = opened(browser, site, "/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.context.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, from npm at the time of the test."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not here: axe-core cannot be fetched")
    where = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        ["npm", "install", "--no-save", "--silent", "--prefix", str(where), "axe-core@4"],
        capture_output=True,
        text=True,
        check=False,
    )
    script = where / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.exists():
        pytest.skip(f"axe-core could not be fetched from npm: {done.stderr[-200:]}")
    return Path(script).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_2_2_aa(browser: Browser, site: Site, axe: str, scheme: str) -> None:
    found = []
    for path in PAGES:
        page, _ = opened(browser, site, path, 1440, scheme)
        drawn(page)
        page.evaluate(axe)  # through the debugger, which the page's policy does not bind
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        result = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
        found += [(path, v["id"], [n["html"][:120] for n in v["nodes"][:2]]) for v in result["violations"]]
        page.context.close()
    assert found == []
