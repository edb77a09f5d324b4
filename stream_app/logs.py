"""Structured logs: one JSON document per line, or lines for people; no user data."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

_NOISE: Final = ("Topic creation disabled", "Aiokafka has not sent fetch request")
"""Messages of the libraries that say nothing is wrong: topics are created by us, idle partitions are not fetched."""
LIBRARIES: Final = ("aiokafka", "faust", "mode")
ONCE_IN: Final = 10.0
"""Seconds in which a library may say the same thing once: while the broker is away, they would say it a hundred times a second."""


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in str(record.msg) for text in _NOISE)


class Seldom(logging.Filter):
    """Lets the first of equal messages of the libraries through, and then one per interval, with how many were left out.

    Messages are equal when logger, level and text are, whatever was put into the text.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, interval: float = ONCE_IN) -> None:
        super().__init__()
        self._clock = clock
        self._interval = interval
        self._told: dict[tuple[str, int, str], tuple[float, int]] = {}
        """When a message was last let through, and how many were left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; one that stands for others says so."""
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        # What is not a template carries its values in the text: equal up to the first of them is equal enough.
        kind = (record.name, record.levelno, str(record.msg)[:40])
        now = self._clock()
        told, left_out = self._told.get(kind, (-self._interval, 0))
        if now - told < self._interval:
            self._told[kind] = (told, left_out + 1)
            return False
        self._told[kind] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like this in {now - told:.0f} s)"
        return True


def configure(log_format: str, level: str) -> None:
    """Send all logs, ours and the libraries', to stderr in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared[:3], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_Quiet())
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
