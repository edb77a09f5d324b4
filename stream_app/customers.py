"""The customers of one partition: as stored, as they are on their way to Kafka, and those that were lately worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from schemas.customer import Customer, from_bytes, to_bytes
from stream_app.stores import Store

AT_HAND: Final = 20_000
"""Customers of one worker that are kept unpacked, about 2 KB each: whoever orders again soon need not be unpacked again."""


class Customers:
    """Reads and changes customers by key. Whoever was opened is encoded once, when her group is closed, and stored when Kafka has it.

    Everything at rest is bytes: a million customers take a few hundred megabytes, out of the garbage collector's sight. The last
    ones that were opened stay unpacked beside them, `at_hand` of them at most once a group is closed.
    """

    __slots__ = ("_at_hand", "_leaving", "_opened", "_replaced", "_store", "live")

    def __init__(self, store: Store, at_hand: int = AT_HAND) -> None:
        self._store = store
        self._at_hand = at_hand
        self._leaving: deque[dict[bytes, bytes | None]] = deque()
        """Groups that were closed and are not stored yet, the oldest first."""
        self.live: dict[bytes, Customer] = {}
        """Those at hand, as they are now; of these, `_opened` may differ from what is stored or leaving. For whoever looks at one after the
        other: `look` finds the same."""
        self._opened: dict[bytes, Customer | None] = {}
        """None: she is to be deleted."""
        self._replaced: dict[bytes, bytes] = {}
        """Records that leave with the next group; whoever was opened after that is newer."""

    def look(self, key: bytes) -> Customer | None:
        """The customer as she is now, None where nothing is known of her; to be changed only once she is opened.

        Raises schemas.customer.UnreadableState where her record cannot be read.
        """
        customer = self.live.get(key)
        if customer is None:
            if key in self._opened:
                return self._opened[key]
            data = self._at_rest(key)
            if data is not None:
                customer = from_bytes(data)
        return customer

    def _at_rest(self, key: bytes) -> bytes | None:
        """Her record, for whoever is not open."""
        data = self._replaced.get(key)
        if data is not None:
            return data
        for closed in reversed(self._leaving):
            if key in closed:
                return closed[key]
        return self._store.get(key)

    def record(self, key: bytes) -> bytes | None:
        """Her record as it would be if her group were closed now, None where nothing is known of her."""
        if key not in self._opened:
            return self._at_rest(key)
        customer = self._opened[key]
        return None if customer is None else to_bytes(customer)

    def open(self, key: bytes, customer: Customer) -> None:
        """Let a customer be changed: one that was looked at, or a new one."""
        self.live[key] = self._opened[key] = customer

    def replace(self, key: bytes, before: bytes, after: bytes) -> bool:
        """Put another record in the place of this one; False where something was done to her meanwhile, and nothing is replaced.

        She is not kept at hand: whoever does this goes through everybody.
        """
        if self.record(key) != before:
            return False
        self._replaced[key] = after
        self._opened.pop(key, None)
        self.live.pop(key, None)
        return True

    def drop(self, key: bytes) -> None:
        """Let nothing be left of a customer."""
        self.live.pop(key, None)
        self._opened[key] = None

    @property
    def anew(self) -> list[bytes]:
        """Those who leave with the next group and were only decided anew, by no event."""
        return [key for key in self._replaced if key not in self._opened]

    def close(self) -> dict[bytes, bytes | None]:
        """Encode everything open: the records to be sent, None for those to be deleted. Until they are stored they are kept beside the store."""
        closed = {key: None if customer is None else to_bytes(customer) for key, customer in self._opened.items()}
        if self._replaced:
            closed = {**self._replaced, **closed}
        if closed:
            self._leaving.append(closed)
        self._opened.clear()
        self._replaced.clear()
        if len(self.live) > self._at_hand:
            self.live.clear()
        return closed

    def stored(self, offset: int) -> None:
        """The oldest group that was closed is in the changelog, up to this offset. Only now may a store on disk have it: a crash before
        must find its customers as they were, or the changes of their segments would never be sent."""
        self._store.put(self._leaving.popleft(), offset)

    def keys(self) -> list[bytes]:
        """The keys of all customers, those not stored yet too."""
        on_their_way = dict.fromkeys(chain(self._opened, self._replaced, *self._leaving))
        return [*self._store.keys(), *(key for key in on_their_way if self._store.get(key) is None)]

    def markers(self, keys: Iterable[bytes], ended: Callable[[bytes], bool]) -> list[bytes]:
        """Those of the keys whose stored record has `ended`, and who are not being worked on."""
        get = self._store.get
        busy = set(chain(self._opened, self._replaced, *self._leaving))
        return [key for key in keys if key not in busy and (data := get(key)) is not None and ended(data)]

    def __len__(self) -> int:
        return len(self._store)
