"""How every command ends: one answer for people or one JSON document, and an exit code that scripts can trust."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich.console import Console

OK: Final = 0
NO: Final = 1
"""The answer is no, or the data does not allow it."""
USAGE: Final = 2
UNREACHABLE: Final = 69
INTERNAL: Final = 70

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else goes to stderr.")]

out = Console()
err = Console(stderr=True)

_CODES: Final = (
    (UNREACHABLE, {"WarehouseUnreachable", "KafkaUnreachable", "ServerUnavailable", "BusyLoadingError"}),
    (
        NO,
        {
            "EmptyWarehouse",
            "TrainingError",
            "RegistryConflict",
            "RejectedModel",
            "WrongTopics",
            "NoModel",
            "No",
            "KafkaRefuses",
            "Forbidden",
            "StillRunning",
            "NoTopic",
        },
    ),
    (
        USAGE,
        {
            "WarehouseError",
            "Usage",
            "ValidationError",
            "SettingsError",
            "TOMLDecodeError",
            "NoInstanceId",
            "BadTokens",
            "Unusable",
            "BadDestinations",
        },
    ),
)
"""Names of errors and what each means to the caller; the first match counts. By name, so that nothing heavy is imported."""
_REDIS_AWAY: Final = {"ConnectionError", "TimeoutError"}


class Usage(ValueError):
    """What was asked for makes no sense: the message says what does."""


class No(RuntimeError):
    """The answer is no."""


class Outcome:
    """What a command has found out: `document` for scripts, `code` for the shell."""

    def __init__(self, json_output: bool) -> None:
        self.json = json_output
        self.document: Any = {}
        self.code = OK


@contextmanager
def outcome(json_output: bool) -> Iterator[Outcome]:
    """Run a command's body; print its document, or one clear line about what went wrong, and exit."""
    result = Outcome(json_output)
    try:
        yield result
    except (typer.Exit, SystemExit):
        raise
    except BaseException as error:
        if os.environ.get("SEGSTREAM_DEBUG"):
            raise
        code, kind, message = explain(error)
        err.print(f"[bold red]{kind}:[/] {message}", highlight=False, soft_wrap=True, markup=True)
        if json_output:
            sys.stdout.write(json.dumps({"error": {"kind": kind, "message": message}}) + "\n")
        raise typer.Exit(code) from error
    if json_output:
        sys.stdout.write(json.dumps(result.document, ensure_ascii=False, default=str) + "\n")
    raise typer.Exit(result.code)


def explain(error: BaseException) -> tuple[int, str, str]:
    """Exit code, kind and message of an error."""
    names = {cls.__name__ for cls in type(error).__mro__}
    text = " ".join(str(error).split()).replace("[", "\\[") or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return NO, "interrupted", "stopped by hand"
    if type(error).__module__.startswith("redis.") and (refused := _redis_refusal(error)):
        return NO, "no", refused
    if type(error).__module__.startswith("redis.") and names & _REDIS_AWAY:
        return UNREACHABLE, "unreachable", f"Redis does not answer; is SEGSTREAM_REDIS right? ({text})"
    if type(error).__name__ == "KafkaException" and error.args[0].name().endswith("AUTHORIZATION_FAILED"):
        return NO, "no", f"Kafka does not permit it: `segstream topics acls` shows what each process needs ({text})"
    if type(error).__name__ == "KafkaException":
        return UNREACHABLE, "unreachable", f"Kafka does not answer as expected; is SEGSTREAM_KAFKA right? ({text})"
    for code, kinds in _CODES:
        if names & kinds:
            return code, {NO: "no", USAGE: "usage", UNREACHABLE: "unreachable"}[code], text
    return INTERNAL, "internal", f"{type(error).__name__}: {text} (SEGSTREAM_DEBUG=1 shows where)"


def _redis_refusal(error: Any) -> str:
    from schemas import connections

    return " ".join(connections.refusal(error).split()).replace("[", "\\[")


def pairs(given: list[str] | None) -> dict[str, str]:
    """Options of the form name=value. Raises Usage for others.

    >>> pairs(["dir=/data"])
    {'dir': '/data'}
    """
    found = [text.partition("=") for text in given or []]
    wrong = [name for name, equals, _ in found if not equals]
    if wrong:
        raise Usage(f"--param {wrong[0]!r} must be name=value")
    return {name: value for name, _, value in found}
