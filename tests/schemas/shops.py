"""Hypothesis strategies: small shops' events, as a client would send them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

USER = "u1"
labels = st.sampled_from([None, "Acme", "Blue", "Coral", ""])
times = st.integers(0, 9).map(lambda second: f"2026-01-01T00:00:0{second}Z")
order_ids = st.sampled_from(["o1", "o2", "o3"])
prices = st.integers(0, 5000).map(lambda cents: cents / 100)
products = st.lists(
    st.fixed_dictionaries({"brand": labels, "category": labels, "price": prices, "quantity": st.integers(0, 3)}),
    max_size=3,
)


def event(name: str, timestamp: str, **properties: Any) -> bytes:
    """One Segment-spec message of the one user."""
    return json.dumps(
        {"type": "track", "event": name, "userId": USER, "timestamp": timestamp, "properties": properties}
    ).encode()


completed = st.builds(
    lambda at, order_id, items, total: event("Order Completed", at, order_id=order_id, products=items, total=total),
    times,
    order_ids,
    products,
    st.one_of(st.none(), prices),
)
cancelled = st.builds(lambda at, order_id: event("Order Cancelled", at, order_id=order_id), times, order_ids)
refunded = st.builds(lambda at, order_id: event("Order Refunded", at, order_id=order_id), times, order_ids)
signed_up = st.builds(
    lambda at, age, gender: event("Signed Up", at, age=age, gender=gender),
    times,
    st.one_of(st.none(), st.integers(-5, 160)),
    st.sampled_from([None, "F", "M"]),
)
identified = st.builds(
    lambda at, country: json.dumps(
        {"type": "identify", "userId": USER, "timestamp": at, "traits": {"country": country}}
    ).encode(),
    times,
    st.sampled_from([None, "Germany", "Brasil"]),
)
messages = st.lists(st.one_of(completed, cancelled, refunded, signed_up, identified), max_size=12)
