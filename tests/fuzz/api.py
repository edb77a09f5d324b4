"""The API broken by its own OpenAPI document: what it describes as well as what it does not."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import hypothesis
import redis
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sandbox.redis import Redis
from schemas.registry import Registry
from schemas.settings import Settings
from tests.schemas.models import sealed
from tests.segment_api.conftest import customer, listening, put

CHECKS: Final = [status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS: Final = ("/v1/changes/stream",)


@contextmanager
def operations() -> Iterator[list[Any]]:
    """Every operation of an API with a model and a customer."""
    with tempfile.TemporaryDirectory() as directory:
        server = Redis(Path(directory) / "redis")
        try:
            settings = Settings(
                redis=server.start().url, kafka="127.0.0.1:1", home=Path(directory) / "home", model_poll=0.2, api_rate=0
            )
            model_id, data = sealed()
            Registry(redis.Redis.from_url(server.url)).publish(model_id, data, at=1, by="fuzz")
            put(settings, customer())
            with listening(settings) as client:
                schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
                found = [one.ok() for one in schema.get_all_operations()]
                yield [operation for operation in found if operation.path not in ENDLESS]
        finally:
            server.stop()


def break_operation(operation: Any, examples: int, *, repeatable: bool) -> int:
    """Ask in so many ways; returns how often. Raises AssertionError with the request that was answered otherwise than described."""
    asked = 0
    cases = st.one_of(operation.as_strategy(GenerationMode.POSITIVE), operation.as_strategy(GenerationMode.NEGATIVE))

    @hypothesis.settings(
        max_examples=examples,
        derandomize=repeatable,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(cases)
    def ask(case: Case) -> None:
        nonlocal asked
        asked += 1
        try:
            answer = case.call_and_validate(checks=CHECKS, timeout=20)
            assert answer.status_code != 500, (
                f"{operation.label}: an error that nobody expected: {case.as_curl_command()}"
            )
        except (Failure, FailureGroup) as failure:
            raise AssertionError(f"{operation.label}: {case.as_curl_command()}: {failure}") from failure

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:  # nothing can be wrong about a request without parameters
        break_nothing(operation)
        asked += 1
    return asked


def break_nothing(operation: Any) -> None:
    """Ask as described, once."""
    operation.Case().call_and_validate(checks=CHECKS, timeout=20)


def hunt_api(seconds: float) -> tuple[int, list[str], float]:
    """Break all operations in turns for some seconds; how often it was asked, and what was found, once per operation."""
    tried, failures, begun = 0, dict[str, str](), time.monotonic()
    with operations() as every:
        while time.monotonic() - begun < seconds:
            for operation in every:
                try:
                    tried += break_operation(operation, 20, repeatable=False)
                except AssertionError as error:
                    failures.setdefault(operation.label, str(error))
                if time.monotonic() - begun > seconds:
                    break
    return tried, list(failures.values()), time.monotonic() - begun
