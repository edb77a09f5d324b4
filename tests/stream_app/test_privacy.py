"""What customers are and send is in no log line, no metric and no health document."""

from __future__ import annotations

import json

from schemas import topics
from tests.installation import Installation
from tests.waiting import wait_for

PLANTED = "vera.planted@example.org"


def bodies() -> list[bytes]:
    """Events in which everything that a client can fill is planted, good ones and all kinds of bad ones."""
    body = {
        "type": "track",
        "event": "Order Completed",
        "userId": PLANTED,
        "anonymousId": PLANTED,
        "timestamp": "2026-01-01T00:00:00Z",
        "context": {"traits": {"email": PLANTED}, "ip": PLANTED},
        "properties": {
            "order_id": PLANTED,
            "total": 5,
            "products": [{"brand": PLANTED, "category": PLANTED, "price": 5}],
        },
    }
    bad = [
        {"userId": f"another {PLANTED}"},
        {"type": PLANTED},
        {"event": PLANTED},
        {"timestamp": PLANTED},
        {"properties": {"order_id": PLANTED, "total": PLANTED}},
        {"properties": PLANTED},
        {"properties": {"order_id": {"of": PLANTED}}},
    ]
    return [json.dumps(body | change).encode() for change in [{}, *bad]] + [
        PLANTED.encode(),
        b'{"userId": "' + PLANTED.encode(),
    ]


def test_nothing_that_a_customer_is_or_sends_is_in_logs_metrics_or_health(shop: Installation) -> None:
    shop.prepare()
    worker = shop.worker(SEGSTREAM_LOG_LEVEL="debug").wait_ready()
    sent = bodies()
    shop.produce((topics.ORDERS.name, PLANTED.encode(), body) for body in sent)
    shop.produce((topics.SIGNUPS.name, PLANTED.encode(), body) for body in sent)
    shop.caught_up(180)
    wait_for(lambda: shop.projected(PLANTED) is not None, "the good one is projected")
    letters = shop.dead_letters()
    assert len(letters) >= len(sent), "the bad ones must be refused, or this shows nothing"
    seen = worker.get("/metrics")[1] + worker.get("/ready")[1]
    assert worker.stop() == 0
    seen += worker.log.read_text()
    assert "dead letters" in seen
    assert PLANTED not in seen
    assert "planted" not in seen.lower()
