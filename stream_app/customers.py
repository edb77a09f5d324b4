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

    __slots__ = ("_at_hand", "_leaving", "_opened", "_store", "live")

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

    def look(self, key: bytes) -> Customer | None:
        """The customer as she is now, None where nothing is known of her; to be changed only once she is opened.

        Raises schemas.customer.UnreadableState where her record cannot be read.
        """
        customer = self.live.get(key)
        if customer is None:
            if key in self._opened:
                return self._opened[key]
            for closed in reversed(self._leaving):
                if key in closed:
                    data = closed[key]
                    break
            else:
                data = self._store.get(key)
            if data is not None:
                customer = from_bytes(data)
        return customer

    def open(self, key: bytes, customer: Customer) -> None:
        """Let a customer be changed: one that was looked at, or a new one."""
        self.live[key] = self._opened[key] = customer

    def open_once(self, key: bytes, customer: Customer) -> None:
        """The same for one who need not stay at hand when her group is closed: of a round, which comes to everybody."""
        self._opened[key] = customer

    def drop(self, key: bytes) -> None:
        """Let nothing be left of a customer."""
        self.live.pop(key, None)
        self._opened[key] = None

    def close(self) -> dict[bytes, bytes | None]:
        """Encode everything open: the records to be sent, None for those to be deleted. Until they are stored they are kept beside the store."""
        closed = {key: None if customer is None else to_bytes(customer) for key, customer in self._opened.items()}
        if closed:
            self._leaving.append(closed)
        self._opened.clear()
        if len(self.live) > self._at_hand:
            self.live.clear()
        return closed

    def stored(self, offset: int) -> None:
        """The oldest group that was closed is in the changelog, up to this offset. Only now may a store on disk have it: a crash before
        must find its customers as they were, or the changes of their segments would never be sent."""
        self._store.put(self._leaving.popleft(), offset)

    def keys(self) -> list[bytes]:
        """The keys of all customers, those not stored yet too."""
        on_their_way = dict.fromkeys(chain(self._opened, *self._leaving))
        return [*self._store.keys(), *(key for key in on_their_way if self._store.get(key) is None)]

    def markers(self, keys: Iterable[bytes], ended: Callable[[bytes], bool]) -> list[bytes]:
        """Those of the keys whose stored record has `ended`, and who are not being worked on."""
        get = self._store.get
        busy = self._opened.keys() | set(chain(*self._leaving))
        return [key for key in keys if key not in busy and (data := get(key)) is not None and ended(data)]

    def __len__(self) -> int:
        return len(self._store)
