"""A receiver can tell that a request is ours, whole, and of now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.signature import TOLERANCE, BadSecret, generate, key_of, sign, verify

keys = st.binary(min_size=24, max_size=64)
ids = st.text(st.characters(codec="ascii", exclude_characters=" .\x00\r\n", min_codepoint=33), min_size=1, max_size=40)
times = st.integers(0, 2**33)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECEIVER = example("receive_webhook")


def accepted(valid: list[bytes], number: str, at: int, body: bytes, header: str, now: int) -> bool:
    """Our own verification and the one that receivers copy from the docs say the same."""
    given = {"webhook-id": number, "webhook-timestamp": str(at), "webhook-signature": header}
    theirs = RECEIVER.is_genuine(valid, given, body, now)
    assert verify(valid, number, at, body, header, now) == theirs
    return bool(theirs)


def test_the_published_vector_of_the_standard_is_reproduced() -> None:
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    header = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert header == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.lists(keys, min_size=1, max_size=3, unique=True), ids, times, st.binary(max_size=200), st.integers(0, 2))
def test_what_was_signed_is_accepted_with_any_of_the_secrets_while_they_are_exchanged(
    ours: list[bytes], number: str, at: int, body: bytes, which: int
) -> None:
    header = sign(ours, number, at, body)
    theirs = ours[which % len(ours)]
    assert accepted([theirs], number, at, body, header, at)
    assert accepted([b"x" * 24, theirs], number, at, body, header, at + TOLERANCE)


@given(keys, ids, times, st.binary(max_size=60), st.data())
def test_whatever_is_changed_on_the_way_is_refused(
    key: bytes, number: str, at: int, body: bytes, data: st.DataObject
) -> None:
    header = sign([key], number, at, body)
    what = data.draw(st.sampled_from(["body", "id", "time", "key", "signature", "old", "early", "none"]))
    now = at
    match what:
        case "body":
            body = data.draw(st.binary(max_size=60).filter(lambda other: other != body))
        case "id":
            number = data.draw(ids.filter(lambda other: other != number))
        case "time":
            at += data.draw(st.integers(1, TOLERANCE))
        case "key":
            key = data.draw(keys.filter(lambda other: other != key))
        case "signature":
            place = data.draw(st.integers(3, len(header) - 3))
            header = header[:place] + ("A" if header[place] != "A" else "B") + header[place + 1 :]
        case "old":
            now = at + TOLERANCE + 1
        case "early":
            now = at - TOLERANCE - 1
        case "none":
            header = data.draw(st.sampled_from(["", "v1,", "v2," + header[3:], header[3:], "v1," + "=" * 44, "v1,ä"]))
    assert not accepted([key], number, at, body, header, now)


def test_a_new_secret_can_be_used_and_what_is_none_is_refused_without_being_repeated() -> None:
    assert len(key_of(generate())) == 32
    assert generate() != generate()
    for bad in ("", "planted", "whsec_", "whsec_planted!", "whsec_cGxhbnRlZA=="):
        with pytest.raises(BadSecret) as caught:
            key_of(bad)
        assert "planted" not in str(caught.value)
        assert "cGxhbnRlZA" not in str(caught.value)
