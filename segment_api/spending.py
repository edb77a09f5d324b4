"""What the customers of each segment have spent, over time: counted every ten seconds from what the API holds of everyone.

A local SQLite file, because the topics tell of spend only when someone moves. It begins when an API first ran here, says so, and can be deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from segment_api.index import Index
from segment_api.journal import ROLLED
from segment_api.trends import WINDOWS
from segment_api.watcher import Watcher

EVERY: Final = 10
"""Seconds between counts."""
FEATURE: Final = "gross_spend"
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS spend (at INTEGER NOT NULL, segment TEXT NOT NULL, amount REAL NOT NULL, PRIMARY KEY (at, segment)) WITHOUT ROWID;
"""


class Spend(NamedTuple):
    """Spend of each segment's customers together at a moment (seconds since 1970)."""

    at: int
    spend: dict[str, float]


class Spending(Watcher):
    """A daemon thread that counts. `clock` gives microseconds."""

    def __init__(self, path: Path, index: Callable[[], Index | None], clock: Callable[[], int]) -> None:
        super().__init__("spending")
        self._path = path
        self._index = index
        self._clock = clock

    def _run(self) -> None:
        while not self._stopped.wait(EVERY):
            index = self._index()
            if index is not None and FEATURE in index.numbers:
                self.note(self._clock() // 1_000_000, index.sums(FEATURE))

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=30)
        db.executescript(_SCHEMA)
        return db

    def note(self, at: int, spend: Mapping[str, float]) -> None:
        """Keep a count; what is older is thinned out as the flows are."""
        db = self._open()
        with db:
            db.executemany(
                "INSERT OR REPLACE INTO spend VALUES (?, ?, ?)",
                [(at // EVERY * EVERY, segment, amount) for segment, amount in spend.items()],
            )
            for age, width in ROLLED:
                db.execute("DELETE FROM spend WHERE at < ? AND at % ?", (at - age, width))
        db.close()

    def trend(self, now: int, window: str) -> list[Spend]:
        """The counts of a window that ends now: the latest of each step."""
        length, step = WINDOWS[window]
        db = self._open()
        rows = db.execute("SELECT at, segment, amount FROM spend WHERE at >= ? ORDER BY at", (now - length,)).fetchall()
        db.close()
        steps: dict[int, dict[str, tuple[int, float]]] = {}
        for at, segment, amount in rows:
            steps.setdefault(at // step * step, {})[segment] = at, amount
        return [
            Spend(max(at for at, _ in found.values()), {segment: amount for segment, (_, amount) in found.items()})
            for found in steps.values()
        ]
