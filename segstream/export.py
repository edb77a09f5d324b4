"""Everything that is held of one customer, as one document, from Kafka: what Redis and the API show follows from it."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas import topics
from schemas.customer import Customer, from_bytes
from schemas.events import TRAITS
from schemas.features import facts
from schemas.money import to_major
from schemas.orders import CANCELLED, PLACED, RETURNED, Order
from schemas.profile import Profile, Settled
from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import audit, context, kafka


def export(settings: Settings, user_id: str, reason: str, by: str = "") -> dict[str, Any]:
    """The document. Written down in the audit topic first. Raises KafkaUnreachable, and No where topics are missing."""
    kafka.require(settings, *(topic.name for topic in topics.ALL))
    audit.note(settings, "export", audit.customer(settings, user_id), reason, by)
    key = user_id.encode()

    def last(topic: str) -> bytes | None:
        found = None
        for message in kafka.of_key(settings, topic, key):
            found = message.value()
        return found

    def received(topic: str) -> list[dict[str, Any]]:
        return [
            {
                "at": rfc3339(message.timestamp()[1] * 1000),
                "place": f"{topic}:{message.partition()}:{message.offset()}",
                "content": _content(message.value()),
            }
            for message in kafka.of_key(settings, topic, key)
        ]

    data = last(topics.USERS.name)
    told = last(topics.STATE.name)
    changes = [_content(message.value()) for message in kafka.of_key(settings, topics.CHANGES.name, key)]
    return {
        "user_id": user_id,
        "exported_at": rfc3339(context.now_micros()),
        "customer": None if data is None else readable(from_bytes(data)),
        "told_last": None if told is None else _content(told),
        "changes": list({row["change_id"]: row for row in changes}.values()),
        "received": {topic.name: received(topic.name) for topic in topics.INPUTS},
        "not_usable": {topic.name: received(topics.dead_letter_topic(topic.name)) for topic in topics.INPUTS},
        "not_delivered": received(topics.DESTINATION_DLT.name),
        "audit": audit.entries(settings, user_id=user_id),
    }


def readable(customer: Customer) -> dict[str, Any]:
    """A customer's state in words, decimal amounts and times."""
    if customer.is_erased and customer.erased is not None:
        return {"erased_at": rfc3339(customer.erased.at), "ignored_until": rfc3339(customer.erased.until)}
    return {
        "segment": customer.segment,
        "nearest": customer.nearest,
        "margin": customer.margin,
        "decided_by_model": customer.model_id,
        "changes_so_far": customer.sequence,
        "way_back_held_to": customer.left if customer.way_back() else None,
        "profile": _profile(customer.profile),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    counted = msgspec.structs.asdict(facts(profile))
    counted["spend"] = to_major(profile.spend)
    return {
        "signed_up_at": None if profile.signed_up_at is None else rfc3339(profile.signed_up_at),
        "latest_event_at": rfc3339(profile.event_time),
        "traits": {
            TRAITS[number]: {"value": value, "told_at": rfc3339(at)} for number, (at, value) in profile.traits.items()
        },
        "counted": counted,
        "orders": [
            _order(profile, order_id, order)
            for order_id, order in sorted(profile.remembered().items(), key=lambda item: (item[1].at, item[0]))
        ],
        "older_orders": None if profile.settled is None else _settled(profile.settled),
    }


def _order(profile: Profile, order_id: str, order: Order) -> dict[str, Any]:
    names = {PLACED: "placed", CANCELLED: "cancelled", RETURNED: "returned"}
    return {
        "order_id": order_id,
        "at": rfc3339(order.at),
        "total": to_major(order.total),
        "state": [name for flag, name in names.items() if order.flags & flag],
        "lines": [
            {"brand": brand, "category": category, "times": times} for brand, category, times in profile.lines_of(order)
        ],
    }


def _settled(sums: Settled) -> dict[str, Any]:
    return {
        "until": rfc3339(sums.at),
        "placed_orders": sums.placed_orders,
        "orders": sums.orders,
        "items": sums.items,
        "spend": to_major(sums.spend),
        "returned_orders": sums.returned_orders,
        "brands": [{"label": label, "times": times} for label, (times, _) in sums.brands.items()],
        "categories": [{"label": label, "times": times} for label, (times, _) in sums.categories.items()],
    }


def _content(data: bytes | None) -> Any:
    """A message as the JSON that it is, or as text where it is none."""
    try:
        return msgspec.json.decode(data or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (data or b"").decode("utf-8", "replace")
