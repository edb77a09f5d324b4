"""Where a worker of this machine answers: a file in its home, for local tools."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Address:
    """Port and pid of this process, while it listens."""

    def __init__(self, home: Path) -> None:
        self._path = home / f"worker-{os.getpid()}.json"

    def write(self, port: int) -> None:
        """Leave it where local tools find it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"pid": os.getpid(), "port": port}))

    def remove(self) -> None:
        """Take it away again."""
        self._path.unlink(missing_ok=True)
