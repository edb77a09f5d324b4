"""The shop's happenings as the messages a real client would send: Segment-spec JSON, keyed by user id."""

from __future__ import annotations

from typing import Any

import msgspec

from sandbox.shop import Cancellation, Happening, Purchase, SignUp
from schemas import topics
from schemas.times import rfc3339


def message(happening: Happening) -> tuple[str, bytes, bytes]:
    """Topic, key and value."""
    topic, name, event_id, properties = _parts(happening)
    body = {
        "type": "track",
        "event": name,
        "messageId": event_id,
        "userId": str(happening.user_id),
        "timestamp": rfc3339(happening.at),
        "properties": properties,
    }
    return topic, str(happening.user_id).encode(), msgspec.json.encode(body)


def _parts(happening: Happening) -> tuple[str, str, str, dict[str, Any]]:
    if isinstance(happening, SignUp):
        t = happening.traits
        traits = {"age": t.age, "gender": t.gender, "country": t.country, "traffic_source": t.traffic_source}
        return topics.SIGNUPS.name, "Signed Up", f"signup-{happening.user_id}", traits
    order_id = str(happening.order_id)
    if isinstance(happening, Purchase):
        products = [
            {
                "product_id": str(line.product.id),
                "brand": line.product.brand,
                "category": line.product.category,
                "price": line.price / 100,
                "quantity": 1,
            }
            for line in happening.lines
        ]
        order = {"order_id": order_id, "total": happening.total / 100, "currency": "USD", "products": products}
        return topics.ORDERS.name, "Order Completed", f"order-{order_id}", order
    if isinstance(happening, Cancellation):
        return topics.ORDERS.name, "Order Cancelled", f"cancel-{order_id}", {"order_id": order_id}
    refund = {"order_id": order_id, "refund_id": order_id, "total": happening.amount / 100}
    return topics.ORDERS.name, "Order Refunded", f"refund-{order_id}", refund
