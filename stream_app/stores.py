"""Where a partition's customers lie as bytes: in memory, or in RocksDB for more of them than memory holds.

Either is filled from the changelog and may be lost; what RocksDB kept saves reading the changelog from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

NOTHING: Final = -1
"""The offset of a store that holds nothing."""
_OFFSET: Final = b"\x00offset"
"""No user id begins with a control character."""


class Store(Protocol):
    """The customers of one partition, and the changelog offset they stand at."""

    offset: int

    def get(self, key: bytes) -> bytes | None:
        """The record of a customer."""
        ...

    def put(self, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Take records over, all or none of them; a record that is None deletes."""
        ...

    def keys(self) -> list[bytes]:
        """The keys of all customers."""
        ...

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryStore:
    """A dict of bytes."""

    def __init__(self) -> None:
        self.offset = NOTHING
        self._rows: dict[bytes, bytes] = {}
        self.get = self._rows.get

    def put(self, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Take records over."""
        self._rows.update(rows)  # type: ignore[arg-type]
        if None in rows.values():
            for key in [key for key, value in rows.items() if value is None]:
                del self._rows[key]
        self.offset = max(self.offset, offset)

    def keys(self) -> list[bytes]:
        """The keys of all customers."""
        return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def close(self) -> None:
        """Nothing to let go of."""


class RocksStore:
    """A RocksDB directory. The offset is written with the records it belongs to, so that a crash leaves both or neither."""

    def __init__(self, directory: Path) -> None:
        from rocksdict import Options, Rdict, WriteBatch

        directory.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._batch: Callable[[], Any] = lambda: WriteBatch(raw_mode=True)
        self._rows = Rdict(str(directory), options)
        self.offset = int(self._rows.get(_OFFSET) or NOTHING)

    def get(self, key: bytes) -> bytes | None:
        """The record of a customer."""
        found: bytes | None = self._rows.get(key)
        return found

    def put(self, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Take records over."""
        batch = self._batch()
        for key, value in rows.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self.offset = max(self.offset, offset)
        batch.put(_OFFSET, str(self.offset).encode())
        self._rows.write(batch)

    def keys(self) -> list[bytes]:
        """The keys of all customers."""
        return [key for key in self._rows.keys() if key != _OFFSET]  # noqa: SIM118 (not a dict)

    def __len__(self) -> int:
        """About how many customers: RocksDB counts rewritten ones again until it compacts."""
        return self._rows.property_int_value("rocksdb.estimate-num-keys") or 0

    def close(self) -> None:
        """Close the directory, so that another process may open it."""
        self._rows.close()


def opener(kind: Literal["memory", "rocksdb"], directory: Path) -> Callable[[int], Store]:
    """How the store of a partition is opened; `directory` is this worker's own."""
    if kind == "memory":
        return lambda partition: MemoryStore()
    return lambda partition: RocksStore(directory / str(partition))
