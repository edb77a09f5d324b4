"""Delivering a batch: what an answer means, when to try again, and when to give up."""

from __future__ import annotations

import email.utils
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

import httpcore
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay

from destinations import formats, signature
from destinations.configuration import Destination, Target
from destinations.connection import AddressRefused, Answer, Client
from destinations.subscription import Event

AGENT: Final = "segstream-destinations/1"
_AGAIN: Final = frozenset({408, 429})
_DIVISIBLE: Final = frozenset({400, 413, 422})
"""Answers that may be about one event of the batch, or about its size."""


class TryAgain(Exception):
    """An attempt has failed in a way that may pass: `kind` for metrics, the message for people, never with the answer's content."""

    def __init__(self, kind: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has taken these events."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeliverable:
    """These events will not be sent again: `kind` for metrics, `reason` for people."""

    events: Sequence[Event]
    kind: str
    reason: str
    status: int = 0
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A 2xx answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An answer that will be the same next time."""

    kind: str
    reason: str
    status: int


def judge(answer: Answer, now: float) -> Taken | Refused | TryAgain:
    """What an answer means; `now` in seconds since 1970.

    >>> judge(Answer(status=204), 0), judge(Answer(status=404), 0).kind, judge(Answer(status=429, retry_after="7"), 0).retry_after
    (Taken(), 'http_4xx', 7.0)
    """
    status = answer.status
    kind = f"http_{status // 100}xx"
    if 200 <= status < 300:
        return Taken()
    if status in _AGAIN or status >= 500:
        return TryAgain(kind, f"the receiver answered {status}", seconds_of(answer.retry_after, now))
    if 300 <= status < 400:
        return Refused(kind=kind, reason=f"the receiver answered {status}: redirects are not followed", status=status)
    return Refused(kind=kind, reason=f"the receiver answered {status}", status=status)


def seconds_of(retry_after: str, now: float) -> float:
    """Seconds to wait by a header `Retry-After`, a number or a date; 0 where it says nothing.

    >>> seconds_of("120", 0), seconds_of("Thu, 01 Jan 1970 00:01:00 GMT", 20), seconds_of("soon", 0)
    (120.0, 40.0, 0.0)
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)


def pause(one: Destination, attempt: int, retry_after: float, spread: float) -> float:
    """Seconds after a failed attempt (1, 2, ...): doubled each time, at least what the receiver asked for, never beyond the longest.

    `spread` in [0, 1) takes up to half of it off, so that many senders do not come back at once.
    """
    doubled = min(one.retry_wait * 2.0 ** min(attempt - 1, 60), one.retry_wait_max)
    return max(doubled * (1 - spread / 2), min(retry_after, one.retry_wait_max))


def message_id(one: Destination, events: Sequence[Event]) -> str:
    """The id of a request: equal when the same events are sent to the same destination again."""
    digest = hashlib.sha256(one.name.encode())
    for event in events:
        digest.update(b"\0" + event.id.encode())
    return f"msg_{digest.hexdigest()[:32]}"


def request(one: Destination, target: Target, events: Sequence[Event], now: float) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request, signed at `now` (seconds since 1970)."""
    body = formats.body(one.format, events)
    number = message_id(one, events)
    headers = {
        "Content-Type": formats.CONTENT_TYPES[one.format],
        "User-Agent": AGENT,
        "webhook-id": number,
        "webhook-timestamp": str(int(now)),
    }
    if target.keys:
        headers["webhook-signature"] = signature.sign(target.keys, number, int(now), body)
    if target.bearer:
        headers["Authorization"] = f"Bearer {target.bearer}"
    return headers, body


def attempt(one: Destination, target: Target, client: Client, events: Sequence[Event], now: float) -> Taken | Refused:
    """Send a batch once. Raises TryAgain."""
    headers, body = request(one, target, events, now)
    try:
        answer = client.post(target.url, headers, body, one.timeout)
    except AddressRefused as error:
        raise TryAgain("address_refused", f"{error}; allow_private = true allows private ones") from error
    except httpcore.TimeoutException as error:
        raise TryAgain("timeout", f"no answer within {one.timeout:g} s ({type(error).__name__})") from error
    except httpcore.ConnectError as error:
        raise TryAgain("connection", f"no connection could be made ({error})") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        # Its text may quote what the receiver sent.
        raise TryAgain("connection", f"the connection broke ({type(error).__name__})") from error
    verdict = judge(answer, now)
    if isinstance(verdict, TryAgain):
        raise verdict
    return verdict


class Delivery:
    """Delivers batches to one destination, one after the other, so that the order is kept.

    `clock` gives seconds since 1970; `sleep` waits between attempts, and may raise to end the delivery (the batch then counts as
    neither delivered nor undeliverable); `on_failed` is told of each failed attempt and the pause that follows.
    """

    def __init__(
        self,
        one: Destination,
        target: Target,
        client: Client,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        on_failed: Callable[[TryAgain, float], None] = lambda error, seconds: None,
    ) -> None:
        self._one = one
        self._target = target
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._on_failed = on_failed

    def deliver(self, events: Sequence[Event]) -> Iterator[Delivered | Undeliverable]:
        """What became of the events, in their order. An answer that may be about one of them makes two smaller batches."""
        waiting = [tuple(events)] if events else []
        while waiting:
            batch = waiting.pop()
            self._sleep(0.0)
            verdict = self._persist(batch)
            if isinstance(verdict, Undeliverable) and verdict.status in _DIVISIBLE and len(batch) > 1:
                half = len(batch) // 2
                waiting += [batch[half:], batch[:half]]
            else:
                yield verdict

    def _persist(self, batch: Sequence[Event]) -> Delivered | Undeliverable:
        one = self._one
        tries = Retrying(
            retry=retry_if_exception_type(TryAgain),
            wait=self._wait,
            stop=stop_after_attempt(one.retry_attempts) | stop_after_delay(one.retry_for),
            before_sleep=self._tell,
            sleep=self._sleep,
        )
        try:
            verdict = tries(lambda: attempt(one, self._target, self._client, batch, self._clock()))
        except RetryError as error:
            last: Any = error.last_attempt.exception()
            self._on_failed(last, 0.0)
            count = error.last_attempt.attempt_number
            reason = f"given up after {count} attempt{'s' if count > 1 else ''}: {last}"
            return Undeliverable(events=batch, kind=last.kind, reason=reason, attempts=count)
        if isinstance(verdict, Taken):
            return Delivered(events=batch)
        return Undeliverable(events=batch, kind=verdict.kind, reason=verdict.reason, status=verdict.status)

    def _wait(self, state: RetryCallState) -> float:
        assert state.outcome is not None
        error: Any = state.outcome.exception()
        return pause(self._one, state.attempt_number, error.retry_after, random.random())

    def _tell(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        error: Any = state.outcome.exception()
        self._on_failed(error, state.next_action.sleep)
