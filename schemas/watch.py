"""The active model, kept up to date in the background: a publish gives a hint, polling is the truth, a bad artifact changes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import redis

from schemas.artifact import RejectedModel
from schemas.model import Model
from schemas.registry import Candidate, Registry
from schemas.sealed import from_bytes
from schemas.signing import Keyring

LAST_GOOD: Final = "last-good.model"
"""The file in home that keeps a worker's sealed model."""
NONE_ACTIVE: Final = "no model is active there; if Redis has lost its data: `segstream models restore`"

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchState:
    """What is known of the active model."""

    model: Model | None = None
    refused: str = ""
    """Why the active version was not taken over; empty where it was."""
    refused_id: str = ""
    redis_error: str = ""
    """Why the registry gave no model last time; empty where it did."""


class ModelWatch:
    """A daemon thread that follows the registry's active pointer and hands over every good model.

    `on_looked` is called once, after the first look, whether that found a model or not.
    `last_good` is a file that keeps the sealed artifact, so that a cold start has a model where Redis is away, has lost everything,
    or holds one that cannot be trusted; its signature is checked like any other's. `on_candidate`, where given, is told of every good
    candidate, and with None that there is none any more.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str,
        keys: Keyring,
        *,
        poll: float,
        on_model: Callable[[Model], None],
        on_refused: Callable[[str, str], None] = lambda model_id, reason: None,
        on_looked: Callable[[], None] = lambda: None,
        last_good: Path | None = None,
        on_candidate: Callable[[Model | None, Candidate | None], None] | None = None,
    ) -> None:
        self._client = client
        self._registry = Registry(client, prefix)
        self._keys = keys
        self._poll = poll
        self._on_model = on_model
        self._on_refused = on_refused
        self._on_looked = on_looked
        self._last_good = last_good
        self._on_candidate = on_candidate
        self._candidate: Candidate | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watch", daemon=True)
        self.state = WatchState()

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following and wait for the thread."""
        self._stop.set()
        self._thread.join(timeout=self._poll + 5)

    def _run(self) -> None:
        self.check()
        if self.state.model is None:
            self._cold_start()
        self._on_looked()
        self.check_candidate()
        while not self._stop.is_set():
            self._wait()
            if not self._stop.is_set():
                self.check()
                self.check_candidate()

    def check(self) -> None:
        """Look at the active pointer once."""
        try:
            active = self._registry.active()
            known = self.state.model
            if not active or (known is not None and active == known.id):
                self.state = WatchState(model=known, redis_error="" if active or known is None else NONE_ACTIVE)
                return
            if active == self.state.refused_id:
                self.state = replace(self.state, redis_error="")
                return
            data = self._registry.load(active)
        except (redis.RedisError, OSError) as error:
            self.state = replace(self.state, redis_error=str(error) or type(error).__name__)
            return
        self._take(active, data)

    def check_candidate(self) -> None:
        """Look at the candidate once, where somebody wants to know. One that cannot be read stays; one that cannot be trusted is none."""
        if self._on_candidate is None:
            return
        try:
            found = self._registry.candidate()
            if found == self._candidate:
                return
            data = self._registry.load(found.model_id) if found is not None else None
        except (redis.RedisError, OSError):
            return  # `check` has told of it
        self._candidate = found
        if found is None or data is None:
            self._on_candidate(None, None)
            return
        try:
            self._on_candidate(from_bytes(data, self._keys), found)
        except RejectedModel as error:
            _log.error("candidate refused", extra={"model_id": found.model_id, "reason": str(error)})
            self._on_candidate(None, None)

    def _take(self, active: str, data: bytes | None) -> None:
        try:
            if data is None:
                raise RejectedModel(f"the registry names {active} as active but does not hold it")
            model = from_bytes(data, self._keys)
            if model.id != active:
                raise RejectedModel(f"stored as {active}, but its content is {model.id}")
        except RejectedModel as error:
            _log.error("model refused", extra={"model_id": active, "reason": str(error)})
            self.state = replace(self.state, refused=str(error), refused_id=active, redis_error="")
            self._on_refused(active, str(error))
            return
        self.state = WatchState(model=model)
        self._on_model(model)
        if self._last_good is not None:
            with suppress(OSError):
                self._last_good.parent.mkdir(parents=True, exist_ok=True)
                partial = self._last_good.with_suffix(".partial")
                partial.write_bytes(data)
                partial.replace(self._last_good)

    def _cold_start(self) -> None:
        if self._last_good is None or not self._last_good.exists():
            return
        try:
            model = from_bytes(self._last_good.read_bytes(), self._keys)
        except (RejectedModel, OSError) as error:
            _log.error("last good model refused", extra={"reason": str(error)})
            return
        self.state = replace(self.state, model=model)
        self._on_model(model)

    def _wait(self) -> None:
        """Until the next look is due: a hint on the channel, or the poll interval."""
        try:
            with self._client.pubsub(ignore_subscribe_messages=True) as hints:  # type: ignore[no-untyped-call]
                hints.subscribe(self._registry.channel)
                self._until_hint(hints)
        except (redis.RedisError, OSError):
            self._stop.wait(self._poll)

    def _until_hint(self, hints: Any) -> None:
        left = self._poll
        while left > 0 and not self._stop.is_set():
            slice_ = min(left, 0.5)
            if hints.get_message(timeout=slice_) is not None:
                return
            left -= slice_
