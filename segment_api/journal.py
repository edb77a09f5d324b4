"""The changes as the API remembers them: a local SQLite file written from Kafka, for time lines, trends and migrations.

Why a file: a Redis list per customer would burden the stream's path, memory would end with the customers, and reading Kafka per
question would read a whole partition. The file can be deleted at any time; it is made again from the topic. Its offsets are stored in the
same transaction as what was read, so that nothing is counted twice. Bounds: the latest `keep` changes (about 0.7 kB each), and the
counts of flows in buckets of 10 s for two hours, of a minute for two days, of an hour after that.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas import topics
from schemas.changes import DriftAlert, SegmentChanged, decode_alert, decode_change
from schemas.times import parse_rfc3339

BUCKET: Final = 10
"""Seconds of the finest bucket of flows."""
ROLLED: Final = ((7_200, 60), (172_800, 3_600))
"""Flows older than so many seconds are kept in buckets of so many."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS changes (
  id INTEGER PRIMARY KEY, change_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, "partition" INTEGER NOT NULL,
  "offset" INTEGER NOT NULL, "from" TEXT NOT NULL, "to" TEXT NOT NULL, cause TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS of_user ON changes (user_id, id);
CREATE INDEX IF NOT EXISTS of_place ON changes ("partition", "offset");
CREATE TABLE IF NOT EXISTS flows (
  at INTEGER NOT NULL, "from" TEXT NOT NULL, "to" TEXT NOT NULL, cause TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (at, "from", "to", cause)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (alert_id TEXT PRIMARY KEY, raised_at TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS positions (topic TEXT, "partition" INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, "partition"));
CREATE TABLE IF NOT EXISTS erasures (change TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_ALERT: Final = (
    "INSERT INTO alerts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET raised_at = excluded.raised_at, body = excluded.body "
    "WHERE excluded.raised_at >= alerts.raised_at"
)
"""An alert is told step by step: the latest counts."""
_TABLES: Final = ("changes", "flows", "alerts", "positions", "erasures")


class Read(NamedTuple):
    """A record of Kafka."""

    topic: str
    partition: int
    offset: int
    value: bytes


class Seen(NamedTuple):
    """A change with its place in `segment-changes`."""

    partition: int
    offset: int
    change: SegmentChanged
    body: bytes


class Flow(NamedTuple):
    """How many customers went from one segment to another, for one cause, in a bucket of time (seconds since 1970)."""

    at: int
    from_segment: str | None
    to_segment: str | None
    """None: erased."""
    cause: str
    customers: int


class Journal:
    """One writer, and readers in threads of their own. Errors of SQLite pass through as sqlite3.Error."""

    def __init__(self, path: Path, keep: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._keep = keep
        self._local = threading.local()
        self._written = 0
        with self._connection() as db:
            db.executescript("PRAGMA journal_mode = WAL;" + _SCHEMA)

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = sqlite3.connect(self._path, timeout=30)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
        return db

    def belongs_to(self, cluster: str) -> None:
        """Forget everything where it was read from another cluster."""
        with self._connection() as db:
            known = db.execute("SELECT value FROM about WHERE key = 'cluster'").fetchone()
            if known is not None and known[0] != cluster:
                self.forget()
            db.execute("INSERT OR REPLACE INTO about VALUES ('cluster', ?)", (cluster,))

    def forget(self) -> None:
        """Begin anew."""
        with self._connection() as db:
            for table in _TABLES:
                db.execute(f"DELETE FROM {table}")

    def positions(self, topic: str) -> dict[int, int]:
        """Partition -> the next offset to be read."""
        rows = self._connection().execute('SELECT "partition", next FROM positions WHERE topic = ?', (topic,))
        return dict(rows.fetchall())

    def begin(self, places: Mapping[tuple[str, int], int]) -> None:
        """Partitions of which nothing was read yet, and where they begin."""
        rows = [(topic, partition, first) for (topic, partition), first in places.items()]
        with self._connection() as db:
            db.executemany("INSERT OR IGNORE INTO positions VALUES (?, ?, ?)", rows)

    def append(self, records: Sequence[Read]) -> list[Seen]:
        """Take in records in one transaction; the changes among them that are new. What was sent twice counts once."""
        fresh: list[Seen] = []
        with self._connection() as db:
            erased = False
            for record in records:
                if record.topic == topics.CHANGES.name:
                    seen = Seen(record.partition, record.offset, decode_change(record.value), record.value)
                    if seen.change.to_segment is None:
                        erased = True
                        new = self._erase(db, seen.change)
                    else:
                        new = self._insert(db, seen)
                    if new:
                        fresh.append(seen)
                elif record.topic == topics.DRIFT_ALERTS.name:
                    alert = decode_alert(record.value)
                    row = (alert.alert_id, alert.raised_at, record.value)
                    db.execute(_ALERT, row)
            ends = {(r.topic, r.partition): r.offset + 1 for r in records}
            rows = [(topic, partition, end) for (topic, partition), end in ends.items()]
            db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)
            self._written += len(records)
            if self._written >= 10_000:
                self._written = 0
                self._prune(db)
        if erased:  # else what was deleted would stay in the write-ahead log
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return fresh

    def _erase(self, db: sqlite3.Connection, c: SegmentChanged) -> bool:
        """Forget a customer's changes. Her leaving is counted without her, once."""
        db.execute("DELETE FROM changes WHERE user_id = ?", (c.user_id,))
        digest = hashlib.sha256(c.change_id.encode()).hexdigest()
        if not db.execute("INSERT OR IGNORE INTO erasures VALUES (?)", (digest,)).rowcount:
            return False
        if c.from_segment is not None:
            self._flow(db, c)
        return True

    def _flow(self, db: sqlite3.Connection, c: SegmentChanged) -> None:
        at = parse_rfc3339(c.decided_at) // 1_000_000 // BUCKET * BUCKET
        flow = (at, c.from_segment or "", c.to_segment or "", c.cause)
        db.execute("INSERT INTO flows VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", flow)

    def _insert(self, db: sqlite3.Connection, seen: Seen) -> bool:
        c = seen.change
        row = (
            c.change_id,
            c.user_id,
            seen.partition,
            seen.offset,
            c.from_segment or "",
            c.to_segment,
            c.cause,
            seen.body,
        )
        done = db.execute("INSERT OR IGNORE INTO changes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if not done.rowcount:
            return False
        self._flow(db, c)
        return True

    def _prune(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM changes WHERE id <= (SELECT max(id) FROM changes) - ?", (self._keep,))
        (latest,) = db.execute("SELECT max(at) FROM flows").fetchone()
        for age, width in ROLLED if latest is not None else ():
            old = (latest - age) // width * width
            db.execute(
                'INSERT INTO flows SELECT at / ? * ?, "from", "to", cause, sum(n) FROM flows WHERE at < ? AND at % ? GROUP BY 1, 2, 3, 4 '
                "ON CONFLICT DO UPDATE SET n = n + excluded.n",
                (width, width, old, width),
            )
            db.execute("DELETE FROM flows WHERE at < ? AND at % ?", (old, width))

    def timeline(self, user_id: str, limit: int) -> list[SegmentChanged]:
        """A customer's latest changes, the latest first."""
        query = "SELECT body FROM changes WHERE user_id = ? ORDER BY id DESC LIMIT ?"
        return [decode_change(body) for (body,) in self._connection().execute(query, (user_id, limit))]

    def latest(self, limit: int, segment: str = "", causes: Iterable[str] = ()) -> list[SegmentChanged]:
        """The latest changes of everyone, or of those into or out of a segment, or for some causes; the latest first."""
        wanted = list(causes)
        where = f"cause IN ({', '.join('?' * len(wanted))})" if wanted else "1"
        parameters: list[Any] = list(wanted)
        if segment:
            where += ' AND ("from" = ? OR "to" = ?)'
            parameters += [segment, segment]
        # Not the whole file for a segment that nobody enters any more: as far back as the latest 50,000.
        recent = "id > (SELECT max(id) FROM changes) - 50000"
        query = f"SELECT body FROM changes WHERE {where} AND {recent} ORDER BY id DESC LIMIT ?"
        return [decode_change(body) for (body,) in self._connection().execute(query, (*parameters, limit))]

    def since(self, places: Mapping[int, int], limit: int) -> list[Seen] | None:
        """The changes from these offsets on, partition by partition; None where they are more than `limit`, or no longer all here."""
        db, found = self._connection(), []
        (oldest,) = db.execute("SELECT coalesce(min(id), 1) FROM changes").fetchone()
        for partition, offset in places.items():
            (first,) = db.execute('SELECT min("offset") FROM changes WHERE "partition" = ?', (partition,)).fetchone()
            if oldest > 1 and first is not None and offset < first:
                return None
            query = 'SELECT "offset", body, id FROM changes WHERE "partition" = ? AND "offset" >= ? ORDER BY "offset" LIMIT ?'
            rows = db.execute(query, (partition, offset, limit + 1)).fetchall()
            found += [(number, Seen(partition, at, decode_change(body), body)) for at, body, number in rows]
        if len(found) > limit:
            return None
        return [seen for _, seen in sorted(found, key=lambda pair: pair[0])]

    def flows(self, after: int) -> list[Flow]:
        """The flows decided from a moment on (seconds since 1970), in order of time."""
        query = 'SELECT at, "from", "to", cause, n FROM flows WHERE at >= ? ORDER BY at'
        rows = self._connection().execute(query, (after // BUCKET * BUCKET,))
        return [Flow(at, source or None, to or None, cause, n) for at, source, to, cause, n in rows]

    def alerts(self, limit: int) -> list[DriftAlert]:
        """The latest drift alerts, the latest first."""
        query = "SELECT body FROM alerts ORDER BY raised_at DESC LIMIT ?"
        return [decode_alert(body) for (body,) in self._connection().execute(query, (limit,))]

    def count(self) -> int:
        """How many changes are kept."""
        row = self._connection().execute("SELECT coalesce(max(id) - min(id) + 1, 0) FROM changes").fetchone()
        return int(row[0])
