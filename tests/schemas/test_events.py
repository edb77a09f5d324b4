"""Any bytes give an event or a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import drift
from schemas.audit import Audited
from schemas.changes import (
    DriftAlert,
    ModelEvent,
    SegmentChanged,
    decode_alert,
    decode_change,
    decode_model_event,
    encode,
)
from schemas.events import Identified, InvalidEvent, OrderCompleted, OrderRefunded, SignedUp, UserDeleted, decode

ROOT = Path(__file__).parents[2] / "schemas"
EXAMPLES = sorted((ROOT / "examples").glob("*/*.json"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NASTIES = [
    b"", b"null", b"[]", b"{}", b"[" * 200_000, b"{" * 1000, b"\xff\xfe", b'{"type":"track"}', b"9" * 5000,
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"2026-01-01T00:00:00Z"}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"0000-01-01T00:00:00Z","properties":{"order_id":1}}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"9999-12-31T23:59:59-23:00","properties":{"order_id":1}}',
    b'{"type":"track","event":"Order Completed","userId":"\\ud800","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1}}',
    b'{"type":"track","event":"Order Completed","userId":"a\\u0000","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1}}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1,"total":"NaN"}}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1,"total":1e400}}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1,"total":"'
    + b"9" * 400 + b'"}}',
    b'{"type":"track","event":"Order Completed","userId":"a","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1,"products":[{"quantity":0.5}]}}',
    b"x" * 1_000_001,
]  # fmt: skip


def fuzzed(value: bytes) -> None:
    try:
        decode(None, value)
    except InvalidEvent as error:
        assert str(error)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_invalid(data: bytes) -> None:
    fuzzed(data)


@given(json_values)
def test_any_json_is_an_event_or_invalid(document: Any) -> None:
    fuzzed(json.dumps(document).encode())


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["track", "identify"]), "timestamp": st.just("2026-01-01T00:00:00Z")},
        optional={
            "event": st.sampled_from(["Order Completed", "Order Refunded", "Order Cancelled", "Signed Up"]),
            "userId": st.text(max_size=3) | st.integers(),
            "messageId": json_values,
            "traits": json_values,
            "properties": st.dictionaries(
                st.sampled_from(["order_id", "total", "products", "refund_id", "age", "gender"]), json_values
            ),
        },
    )
)
def test_anything_of_the_right_shape_is_an_event_or_invalid(document: Any) -> None:
    fuzzed(json.dumps(document).encode())


@pytest.mark.parametrize("nasty", NASTIES, ids=range(len(NASTIES)))
def test_the_known_nasties_are_refused_with_a_reason(nasty: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"."):
        decode(None, nasty)


def test_a_key_that_is_not_the_user_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="key"):
        decode(b"8", b'{"type":"identify","userId":7,"timestamp":"2026-01-01T00:00:00Z"}')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_follows_its_schema_and_is_read(path: Path) -> None:
    document = json.loads(path.read_text())
    name = path.stem.split(".")[0]
    jsonschema.validate(
        document, json.loads((ROOT / "json" / f"{name}.json").read_text()), cls=jsonschema.Draft202012Validator
    )
    body = json.dumps(document).encode()
    expected: dict[str, Any] = {
        "order-completed": OrderCompleted,
        "order-refunded": OrderRefunded,
        "signed-up": SignedUp,
        "identify": Identified,
        "user-deleted": UserDeleted,
    }
    if path.parent.name == "segment-changes":
        assert json.loads(encode(decode_change(body))) == document
    elif path.parent.name == "drift-alerts":
        assert json.loads(encode(decode_alert(body))) == document
    elif path.parent.name == "model-events":
        assert json.loads(encode(decode_model_event(body))) == {"run_id": "", "details": {}} | document
    elif path.parent.name == "drift-blocks":
        assert json.loads(drift.encode(drift.decode(body))) == document
    elif path.parent.name in ("orders", "signups") and name in expected:
        assert isinstance(decode(None, body), expected[name])


def test_the_schemas_of_what_we_send_name_every_field() -> None:
    for name, struct in (
        ("segment-changed", SegmentChanged),
        ("drift-alert", DriftAlert),
        ("model-event", ModelEvent),
        ("audited", Audited),
    ):
        schema = json.loads((ROOT / "json" / f"{name}.json").read_text())
        assert sorted(schema["properties"]) == sorted(struct.__struct_fields__)
        assert schema["additionalProperties"] is True, "a consumer must accept fields that later versions add"


def test_real_clients_messages_are_taken_as_they_are() -> None:
    body = {
        "type": "track", "event": "Order Completed", "userId": 7, "timestamp": "2026-01-01T00:00:00+02:00", "library": {"x": 1},
        "properties": {"order_id": 12, "revenue": "9.99", "coupon": None, "products": [{"brand": 501, "price": "4.99", "quantity": 2.0, "sku": 1}]},
    }  # fmt: skip
    event = decode(b"7", json.dumps(body).encode())
    assert isinstance(event, OrderCompleted)
    assert (event.user_id, event.order_id, event.total) == ("7", "12", 999)
    assert (event.brands, event.categories) == (("501",), (None,))
    del body["properties"]["revenue"]  # type: ignore[attr-defined]
    summed = decode(b"7", json.dumps(body).encode())
    assert isinstance(summed, OrderCompleted)
    assert summed.total == 998
