"""The customers of one partition: as stored, as they are on their way to Kafka, and those open for work."""

from __future__ import annotations

from schemas.customer import Customer, from_bytes, to_bytes
from stream_app.stores import Store


class Customers:
    """Reads and changes customers by key. What was opened is encoded once, when its group is closed, and stored when Kafka has it.

    Everything at rest is bytes: a million customers take a few hundred megabytes, out of the garbage collector's sight, and opening
    one costs little more than to find her in a cache.
    """

    __slots__ = ("_leaving", "_open", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leaving: dict[bytes, bytes] = {}
        self._open: dict[bytes, Customer] = {}

    def look(self, key: bytes) -> Customer | None:
        """The customer as she is now, None where nothing is known of her; to be changed only once she is opened.

        Raises schemas.customer.UnreadableState where her record cannot be read.
        """
        customer = self._open.get(key)
        if customer is None and (data := self._leaving.get(key) or self._store.get(key)) is not None:
            customer = from_bytes(data)
        return customer

    def open(self, key: bytes, customer: Customer) -> None:
        """Let a customer be changed: one that was looked at, or a new one."""
        self._open[key] = customer

    def close(self) -> dict[bytes, bytes]:
        """Encode everything open: the records to be sent. Until they are stored they are kept beside the store."""
        self._leaving = {key: to_bytes(customer) for key, customer in self._open.items()}
        self._open.clear()
        return self._leaving

    def stored(self, offset: int) -> None:
        """What was closed is in the changelog, up to this offset. Only now may a store on disk have it: a crash before
        must find her as she was, or the changes of her segment would never be sent."""
        self._store.put(self._leaving, offset)
        self._leaving = {}

    def keys(self) -> list[bytes]:
        """The keys of all customers, those not stored yet too."""
        new = [key for key in {**self._leaving, **self._open} if self._store.get(key) is None]
        return [*self._store.keys(), *new]

    def __len__(self) -> int:
        return len(self._store)
