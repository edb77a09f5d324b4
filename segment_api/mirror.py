"""Keeps the index like Redis: reads every customer once, then whoever the projection has written since.

The projection tells who was written in a stream. Where that no longer reaches back to what was read (a pause of minutes, an empty
Redis), everyone is read again, and the old index serves until then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import redis

from schemas.membership import touched_key, user_key
from schemas.model import Model
from segment_api.index import Index, Row
from segment_api.watcher import Watcher

CHUNK: Final = 500
"""Customers per round trip."""
PAUSE: Final = 0.1
"""Seconds between looks whom the projection has written: those written meanwhile are read in one round trip."""
_FIELDS: Final = ("segment", "features")
_log: Final = logging.getLogger(__name__)


class Mirror(Watcher):
    """A daemon thread. `index` is None until everyone has been read."""

    def __init__(
        self, client: redis.Redis, prefix: str, model: Callable[[], Model | None], trees_from: int = 1_000_000
    ) -> None:
        super().__init__("mirror", within=10.0)
        self._client = client
        self._prefix = user_key(prefix, "")
        self._stream = touched_key(prefix)
        self._model = model
        self._trees_from = trees_from
        self.index: Index | None = None
        self.reading = 0
        """Customers read of the index that is being made."""
        self.error = ""
        """Why Redis could not be read last time; empty where it could."""
        self._place = (b"0-0", 0)

    def stop(self) -> None:
        """End reading."""
        super().stop()
        self._client.close()

    def features(self, user_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The features of customers, raw units; who is not known is left out."""
        found: list[dict[str, Any]] = []
        for chunk in _chunks(user_ids, CHUNK):
            with self._client.pipeline(transaction=False) as pipe:
                for user_id in chunk:
                    pipe.hget(self._prefix + user_id, "features")
                found += [msgspec.json.decode(value) for value in pipe.execute() if value is not None]
        return found

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._once()
                self.error = ""
            except (redis.RedisError, OSError) as error:
                self.error = str(error) or type(error).__name__
                self._stopped.wait(0.5)

    def _once(self) -> None:
        model = self._model()
        if model is None:
            self._stopped.wait(0.2)
        elif self.index is None or self.index.model.id != model.id or self._is_lost():
            self._load(model)
        else:
            self._follow(self.index)

    def _end(self) -> tuple[bytes, int, bytes]:
        """Of the stream: id of the last entry, entries ever added, id of the last one deleted."""
        try:
            info: Any = self._client.xinfo_stream(self._stream)
        except redis.ResponseError:  # nobody was written yet
            return b"0-0", 0, b"0-0"
        return info["last-generated-id"], int(info["entries-added"]), info["max-deleted-entry-id"]

    def _is_lost(self) -> bool:
        """Whether entries were deleted before they were read, or the stream is another one."""
        at, added = self._place
        last, now, deleted = self._end()
        return now < added or _order(deleted) > _order(at) or _order(last) < _order(at)

    def _load(self, model: Model) -> None:
        last, added, _ = self._end()
        made = Index(model, self._trees_from)
        begun, self.reading = time.monotonic(), 0
        keys = self._client.scan_iter(match=_literal(self._prefix) + "*", count=2000)
        for chunk in _chunks(keys, CHUNK):
            if self._stopped.is_set():
                return
            self.reading += len(chunk)
            self._read(made, chunk)
        self._place = (last, added)
        self.index = made
        _log.info("customers read: %d in %.1f s for model %s", len(made), time.monotonic() - begun, model.id)

    def _follow(self, index: Index) -> None:
        at, added = self._place
        answer: Any = self._client.xread({self._stream: at}, count=50, block=300)
        for _, entries in answer or ():
            ids = dict.fromkeys(i for _, fields in entries for i in msgspec.msgpack.decode(fields[b"ids"]))
            for chunk in _chunks(ids, CHUNK):
                self._read(index, [self._prefix.encode() + _bytes(user_id) for user_id in chunk])
            self._place = (entries[-1][0], added + len(entries))
        self._stopped.wait(PAUSE)

    def _read(self, index: Index, keys: Sequence[bytes]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, _FIELDS)
            found = pipe.execute()
        start = len(self._prefix.encode())
        gone = [key[start:].decode() for key, (segment, _) in zip(keys, found, strict=True) if segment is None]
        if gone:
            index.drop(gone)
        rows = [
            Row(key[start:].decode(), segment.decode(), msgspec.json.decode(features))
            for key, (segment, features) in zip(keys, found, strict=True)
            if segment is not None and features is not None
        ]
        if rows:
            index.put(rows)


def _order(entry: bytes) -> tuple[int, int]:
    """A stream's entry ids compare as numbers."""
    at, _, number = entry.partition(b"-")
    return int(at), int(number or 0)


def _bytes(user_id: str | bytes) -> bytes:
    return user_id if isinstance(user_id, bytes) else user_id.encode()


def _literal(prefix: str) -> str:
    """The prefix as a pattern that means only itself."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in prefix)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    waiting = iter(items)
    while chunk := list(islice(waiting, size)):
        yield chunk
