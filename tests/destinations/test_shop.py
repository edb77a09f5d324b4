"""A whole shop tells its receivers: every change, in order, whatever the others do; and the consumers of the docs work on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations.configuration import load
from destinations.replay import look
from sandbox.kafka import Kafka
from sandbox.redis import Redis
from schemas import topics
from schemas.changes import SegmentChanged, encode
from segstream import kafka
from tests.destinations.events import SECRET, alert
from tests.destinations.receivers import Process, Receivers
from tests.installation import Installation, emptied, orders
from tests.waiting import wait_for

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("good", "hangs", "flaky", "picky", "moved")


class House:
    """The shop, the changes that its oracle expects, and its receivers."""

    def __init__(self, home: Path, shop: Installation) -> None:
        self.home = home
        self.shop = shop
        one = shop.prepare()
        shop.worker().wait_ready()
        shop.produce(orders(400, 60))
        shop.caught_up()
        self.changes: list[SegmentChanged] = shop.oracle(one)[1]
        alerts = [alert(alert_id="a1"), alert(alert_id="a2", level="warning")]
        shop.produce([(topics.DRIFT_ALERTS.name, b"log_distance", encode(each)) for each in alerts])
        self.receivers = Receivers()

    def file(self, *names: str, batch: int = 7, more: str = 'wants = "segment-changes"') -> Process:
        """A process with a destination for each of these paths."""
        text = ""
        for name in names:
            text += (
                f'[[destination]]\nname = "{name}"\nurl = "http://127.0.0.1:{self.receivers.port}/{name}"\nallow_private = true\n'
                f'secret_env = ["SECRET"]\nstart = "beginning"\nbatch = {batch}\nwait = 0.05\ntimeout = 1.0\nretry_wait = 0.05\n'
                f"retry_wait_max = 0.2\n{more}\n"
            )
        path = self.home / f"{'-'.join(names)}.toml"
        path.write_text(text)
        return Process(self.shop, path, {"SECRET": SECRET})

    def letters(self, name: str) -> dict[str, dict[str, str]]:
        """The dead letters of a destination by the id of the event."""
        found = {}
        for message in kafka.read(self.shop.settings, topics.DESTINATION_DLT.name):
            headers = {key: value.decode() for key, value in message.headers()}
            if headers["destination"] == name:
                found[headers["ce_id"]] = headers
        return found

    def assert_in_order(self, path: str, since: int = 0) -> None:
        """Without repetitions, each customer's changes came in the order of their sequence."""
        seen: set[str] = set()
        sequences = defaultdict(list)
        for event in self.receivers.taken[path][since:]:
            if event["id"] not in seen:
                seen.add(event["id"])
                sequences[event["data"]["user_id"]].append(event["data"]["sequence"])
        assert all(found == sorted(found) for found in sequences.values())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, shared_kafka: Kafka) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house")
    emptied(shared_kafka.bootstrap)
    server = Redis(home / "redis")
    shop = Installation(home / "home", shared_kafka.bootstrap, server.start().url, "segstream-destinations-test")
    try:
        made = House(home, shop)
        yield made
        made.receivers.close()
    finally:
        shop.close()
        server.stop()


def test_every_change_arrives_once_and_in_order_whatever_other_receivers_do(house: House) -> None:
    expected = {change.change_id for change in house.changes}
    assert len(expected) > 60, "or this shows little"
    receivers = house.receivers
    receivers.bad = sorted(expected)[len(expected) // 2]
    process = house.file(*NAMES).start()
    try:
        for name, ids in (("good", expected), ("flaky", expected), ("picky", expected - {receivers.bad})):
            wait_for(lambda name=name, ids=ids: set(receivers.ids(f"/{name}")) == ids, f"{name} has every change")
            assert len(receivers.ids(f"/{name}")) == len(ids), "and none twice"
            house.assert_in_order(f"/{name}")
        wait_for(lambda: house.letters("moved").keys() == expected, "what was redirected is among the dead letters")
        assert house.letters("moved")[receivers.bad]["error"] == "http_3xx"
        wait_for(lambda: receivers.bad in house.letters("picky"), "so is what was not taken")
        assert {id: (h["error"], h["status"]) for id, h in house.letters("picky").items()} == {
            receivers.bad: ("http_4xx", "400")
        }
        assert receivers.requests["/trap"] == 0, "redirects are not followed"
        assert receivers.taken["/hangs"] == []
        wait_for(
            lambda: process.metric("segstream_destination_failed_attempts_total", "hangs") > 0, "it is tried again"
        )
        wait_for(lambda: process.standing("good")["lag"] == 0, "the lag is known")
        assert process.metric("segstream_destination_delivered_total", "good") == len(expected)
        assert process.metric("segstream_destination_oldest_undelivered_seconds", "hangs") > 0
        assert json.loads(process.get("/health/ready"))["ready"] is True, "a receiver's fault is not ours"
        process.kill()
        receivers.released.set()
        process.start()
        wait_for(lambda: set(receivers.ids("/hangs")) == expected, "what nobody had taken is delivered after a crash")
        house.assert_in_order("/hangs")
        wait_for(lambda: process.standing("good").get("state") == "reading", "the others have joined again")
        assert process.stop() == 0
        assert sorted(receivers.ids("/good")) == sorted(expected), "what was done is not done again"
        assert receivers.refused == []
    finally:
        process.kill()
    log = process.log.read_text()
    assert not any(text in log for text in ("planted", SECRET, SECRET[8:], f"127.0.0.1:{receivers.port}/"))


def test_a_destination_is_set_back_and_delivers_the_same_again(house: House) -> None:
    expected = {change.change_id for change in house.changes}
    process, second = house.file("again", batch=20).start(), house.file("again", batch=20)
    taken = house.receivers
    try:
        wait_for(lambda: set(taken.ids("/again")) == expected, "everything has arrived")
        assert process.command("replay", "again", "--from", "2026-01-01T00:00:00Z")[0] == 1, "not while it is running"
        assert process.stop() == 0
        before = len(taken.ids("/again"))
        code, told = process.command("replay", "again", "--from", "2000-01-01", "--dry-run")
        assert (code, told["events"], len(taken.ids("/again"))) == (0, len(expected), before)
        assert look(house.shop.settings, load(process.file)[0], 4_000_000_000_000_000).events == 0
        assert process.command("replay", "again", "--from", "2000-01-01")[0] == 0
        process.start()
        second.start()  # the partitions move while the first delivers
        wait_for(lambda: set(taken.ids("/again")[before:]) == expected, "everything has arrived again")
        house.assert_in_order("/again", before)
        assert process.command("check")[1]["ok"] is True
        assert process.command("test", "again")[1]["taken"] is True
    finally:
        process.kill()
        second.kill()


def test_alerts_reach_slack_and_alertmanager_by_level(house: House) -> None:
    wants = 'wants = "drift-alerts"\nlevels = ["drift"]\n'
    processes = [house.file(form, more=f'{wants}format = "{form}"') for form in ("slack", "alertmanager")]
    try:
        for process in processes:
            process.start()
        wait_for(lambda: bool(house.receivers.taken["/slack"]), "slack is told")
        wait_for(lambda: bool(house.receivers.taken["/alertmanager"]), "alertmanager is told")
        (told,), (alarm,) = house.receivers.taken["/slack"], house.receivers.taken["/alertmanager"]
        assert told["text"].startswith("*drift opened* log_distance: Customers lie farther")
        assert alarm["labels"]["alert_id"] == "a1"
    finally:
        for process in processes:
            process.kill()


def example(house: House, name: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A program of the docs, as a reader would start it."""
    env = {
        "PATH": os.environ["PATH"],
        "SEGSTREAM_KAFKA": house.shop.kafka,
        "SEGSTREAM_REDIS": house.shop.redis,
        **environment,
    }
    command = [sys.executable, str(EXAMPLES / name), *words]
    return subprocess.Popen(command, env=env, cwd=house.home, stdout=subprocess.PIPE, text=True)


def test_the_service_of_the_docs_welcomes_each_customer_once_for_each_time_she_enters(house: House) -> None:
    segment = house.changes[-1].to_segment
    assert segment is not None
    entered = [c for c in house.changes if c.to_segment == segment and c.cause in ("behaviour", "time", "correction")]
    assert entered
    first = example(house, "consume_changes.py", "--segment", segment, "--once").communicate(timeout=60)[0]
    again = example(house, "consume_changes.py", "--segment", segment, "--once", "--group", "other").communicate(
        timeout=60
    )[0]
    assert (first, again) == (f"{len(entered)} new welcomes\n", "0 new welcomes\n")


def test_the_reader_of_the_docs_sees_who_is_where(house: House) -> None:
    state = house.shop.state()
    house.shop.assert_projected()
    found = json.loads(example(house, "read_segments.py", *state, "nobody").communicate(timeout=60)[0])
    assert found["customers"].pop("nobody") is None
    assert {user: row["segment"] for user, row in found["customers"].items()} == {
        u: c.segment for u, c in state.items()
    }
    assert sum(found["sizes"].values()) == len(state)


def test_the_receiver_of_the_docs_takes_what_we_send_and_nothing_else(house: House) -> None:
    import sqlite3
    import urllib.error
    import urllib.request

    receiver = example(house, "receive_webhook.py", "--port", "0", WEBHOOK_SECRETS=f"whsec_{'QUJD' * 8},{SECRET}")
    process = house.file("docs", batch=20)
    try:
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{receiver.stdout.readline().split()[-1]}/"
        process.file.write_text(process.file.read_text().replace(f"http://127.0.0.1:{house.receivers.port}/docs", url))
        process.start()

        def stored() -> set[str]:
            with sqlite3.connect(house.home / "events.db") as database:
                tables = database.execute("SELECT name FROM sqlite_master").fetchall()
                return {row[0] for row in database.execute("SELECT id FROM events")} if tables else set()

        expected = {change.change_id for change in house.changes}
        wait_for(lambda: stored() == expected, "the receiver has stored every change")
        forged = urllib.request.Request(
            url, b"[]", {"webhook-id": "x", "webhook-timestamp": "0", "webhook-signature": "v1,x"}
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(forged, timeout=5)
    finally:
        process.kill()
        receiver.kill()
        receiver.communicate()
