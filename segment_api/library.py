"""The published models as the API shows them: each opened once, with the gates its training left behind on this machine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from schemas.artifact import RejectedModel
from schemas.model import Model
from schemas.registry import LogEntry, Registry
from schemas.sealed import from_bytes
from schemas.signing import Keyring


class Library:
    """Reads the registry; its methods block, call them in a thread."""

    def __init__(self, registry: Registry, keys: Keyring, reports: Path) -> None:
        self.registry = registry
        self._keys = keys
        self._reports = reports
        self._opened = lru_cache(maxsize=32)(self._open)

    def versions(self) -> list[tuple[str, int]]:
        """The stored versions and when they were published (microseconds), latest first."""
        return self.registry.versions()

    def log(self) -> list[LogEntry]:
        """The latest steps, latest first."""
        return self.registry.history(50)

    def model(self, model_id: str) -> Model | None:
        """A stored version, None where it isn't stored. Raises RejectedModel where it must not be used."""
        try:
            return self._opened(model_id)
        except KeyError:
            return None

    def _open(self, model_id: str) -> Model:
        data = self.registry.load(model_id)
        if data is None:
            raise KeyError(model_id)
        model = from_bytes(data, self._keys)
        if model.id != model_id:
            raise RejectedModel(f"stored as {model_id}, but its content is {model.id}")
        return model

    def gates(self, model: Model) -> list[dict[str, Any]] | None:
        """The gates of its training; None where the report isn't on this machine."""
        path = self._reports / model.id / "report.json"
        try:
            return list(msgspec.json.decode(path.read_bytes())["gates"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
