"""Nothing is given up too soon, nothing is tried for ever, and the order of events is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import httpcore
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.configuration import Target
from destinations.connection import AddressRefused, Answer
from destinations.deadletters import letters
from destinations.delivery import (
    Delivered,
    Delivery,
    Refused,
    Taken,
    TryAgain,
    Undeliverable,
    judge,
    message_id,
    pause,
    seconds_of,
)
from destinations.signature import verify
from tests.destinations.events import destination, events

KEY = b"k" * 24
Receive = Callable[[list[str]], Answer]


class Receiver:
    """Stands in for the client: answers by a function of the ids of a request, and remembers what it took."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.taken: list[str] = []
        self.requests: list[tuple[str, list[str]]] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer:
        number, at = headers["webhook-id"], int(headers["webhook-timestamp"])
        assert verify([KEY], number, at, body, headers["webhook-signature"], at)
        ids = [event["id"] for event in msgspec.json.decode(body)]
        self.requests.append((number, ids))
        answer = self._receive(ids)
        if 200 <= answer.status < 300:
            self.taken += ids
        return answer


def delivered(receiver: Receiver, count: int, **more: object) -> tuple[list[Delivered | Undeliverable], list[float]]:
    """What became of so many events, and the pauses that were made."""
    pauses: list[float] = []
    one = destination(**more)
    delivery = Delivery(
        one,
        Target(url=one.url, keys=(KEY,)),
        receiver,  # type: ignore[arg-type]
        clock=lambda: 1_767_225_600.0 + len(pauses),
        sleep=pauses.append,
    )
    return list(delivery.deliver(events(count))), [seconds for seconds in pauses if seconds]


def script(*steps: int | str | Exception) -> Receive:
    """One step after the other: a status, a `Retry-After` with 429, an error."""
    left = iter(steps)

    def receive(_: list[str]) -> Answer:
        step = next(left)
        if isinstance(step, Exception):
            raise step
        return Answer(status=429, retry_after=step) if isinstance(step, str) else Answer(status=step)

    return receive


@pytest.mark.parametrize(
    "steps",
    [
        (500, 502, 503, 200), (408, 429, 204), ("0", "0", 202), (httpcore.ConnectError("x"), 200), (httpcore.ReadTimeout("x"), 200),
        (httpcore.RemoteProtocolError("x"), 200), (AddressRefused("x"), 200),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again_with_the_same_id(steps: tuple[int | str | Exception, ...]) -> None:
    receiver = Receiver(script(*steps))
    outcomes, pauses = delivered(receiver, 3)
    assert [type(outcome) for outcome in outcomes] == [Delivered]
    assert len(receiver.requests) == len(steps)
    assert len({number for number, _ in receiver.requests}) == 1
    assert len(pauses) == len(steps) - 1


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 409, 410, 451])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    receiver = Receiver(script(status))
    (outcome,), pauses = delivered(receiver, 3)
    assert isinstance(outcome, Undeliverable)
    assert (outcome.status, len(outcome.events), pauses) == (status, 3, [])
    assert str(status) in outcome.reason


def test_attempts_end_and_say_how_many_there_were_and_what_came_last() -> None:
    (outcome,), pauses = delivered(Receiver(lambda ids: Answer(status=503)), 2, retry_attempts=4)
    assert isinstance(outcome, Undeliverable)
    assert (outcome.attempts, outcome.kind) == (4, "http_5xx")
    assert outcome.reason == "given up after 4 attempts: the receiver answered 503"
    assert len(pauses) == 3
    headers = [dict(headers) for _, headers in letters("one", outcome)]
    assert [h["source_offset"] for h in headers] == [b"0", b"1"]
    assert headers[0]["error"] == b"http_5xx"


def test_a_receiver_is_given_the_time_it_asks_for_but_no_more_than_the_longest() -> None:
    _, pauses = delivered(Receiver(script("7", "100000", 200)), 1, retry_wait=1.0, retry_wait_max=60.0)
    assert pauses == [7.0, 60.0]


@given(st.integers(1, 200), st.floats(0, 0.999), st.floats(0, 1e9))
def test_pauses_grow_to_the_longest_and_never_beyond(attempt: int, spread: float, asked: float) -> None:
    one = destination(retry_wait=0.5, retry_wait_max=60.0)
    found = pause(one, attempt, asked, spread)
    assert min(asked, 60.0) <= found <= 60.0
    assert found >= 0.25
    assert pause(one, attempt + 1, asked, spread) >= found


@given(st.sets(st.integers(0, 19)), st.integers(1, 20), st.sampled_from([400, 413, 422]))
def test_one_bad_event_takes_no_other_with_it_and_the_order_is_kept(bad: set[int], count: int, status: int) -> None:
    all_ids = [event.id for event in events(count)]
    refused = {all_ids[number] for number in bad if number < count}
    receiver = Receiver(lambda ids: Answer(status=status if refused & set(ids) else 200))
    outcomes, _ = delivered(receiver, count)
    assert receiver.taken == [one for one in all_ids if one not in refused]
    assert [event.id for outcome in outcomes for event in outcome.events] == all_ids
    assert {e.id for o in outcomes if isinstance(o, Undeliverable) for e in o.events} == refused
    assert len(receiver.requests) <= 2 * count - 1


def test_a_batch_that_is_too_large_is_sent_in_parts() -> None:
    receiver = Receiver(lambda ids: Answer(status=413 if len(ids) > 3 else 200))
    outcomes, _ = delivered(receiver, 20)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert receiver.taken == [event.id for event in events(20)]


def test_the_id_of_a_request_follows_from_its_events_and_its_destination() -> None:
    all_of_them = events(5)
    ids = {message_id(destination(name=name), all_of_them[a:b]) for name in ("a", "b") for a, b in pairwise([0, 2, 5])}
    assert len(ids) == 4
    assert message_id(destination(name="a"), all_of_them[:2]) in ids


@given(st.integers(100, 599), st.text(max_size=40))
def test_every_answer_means_something(status: int, retry_after: str) -> None:
    found = judge(Answer(status=status, retry_after=retry_after), 0.0)
    assert isinstance(found, Taken) == (200 <= status < 300)
    assert isinstance(found, TryAgain) == (status in (408, 429) or status >= 500)
    if isinstance(found, Refused):
        assert str(status) in found.reason
    assert seconds_of(retry_after, 0.0) >= 0
