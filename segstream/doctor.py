"""`segstream doctor`: is everything there that the stream needs?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas.settings import Settings
from segstream import context
from segstream.outcome import UNREACHABLE, explain
from stream_app import preflight
from stream_app.preflight import Finding


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed."""
    found: dict[str, Finding] = {}
    for name, look, needs in _CHECKS:
        if needs is not None and not found[needs].ok:
            found[name] = Finding(name, False, f"not looked at: {needs} comes first")
        else:
            found[name] = _finding(name, look, settings)
    return list(found.values())


def _finding(name: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, look(settings))
    except Exception as error:
        code, _, message = explain(error)
        return Finding(name, False, message, code == UNREACHABLE)


def _kafka(settings: Settings) -> str:
    from segstream import kafka

    return f"answers at {settings.kafka}, {len(kafka.partition_counts(settings))} topics"


def _topics(settings: Settings) -> str:
    from segstream import kafka
    from segstream.outcome import No

    problems = [f"{row['name']} {row['problem']}" for row in kafka.check(settings) if row["problem"]]
    if problems:
        raise No("; ".join(problems))
    return "all there, as they should be"


def _rights(settings: Settings) -> str:
    from schemas import granted
    from segstream import kafka

    if settings.kafka_security == "plaintext":
        return "not asked for: Kafka lets in whoever comes (SEGSTREAM_KAFKA_SECURITY=plaintext)"
    granted.check(kafka.admin(settings), settings, "ops")
    return f"{settings.kafka_username or 'this user'} may do what `ops` needs"


def _model(settings: Settings) -> str:
    return preflight.active_model(settings, context.keyring(settings))


def _workers(settings: Settings) -> str:
    from segstream import kafka
    from segstream.outcome import No

    lag = kafka.lag(settings)
    behind = sum(records or 0 for records in lag.values())
    never = [name for name, records in lag.items() if records is None]
    if never:
        raise No(f"nothing was ever read of {', '.join(sorted(never))}: is a worker running? `segstream worker`")
    return f"{behind} records behind"


_CHECKS: Final[tuple[tuple[str, Callable[[Settings], str], str | None], ...]] = (
    ("kafka", _kafka, None),
    ("rights", _rights, "kafka"),
    ("topics", _topics, "rights"),
    ("redis", preflight.redis_answers, None),
    ("model", _model, "redis"),
    ("workers", _workers, "topics"),
)
"""What is looked at, and what must be well before."""
