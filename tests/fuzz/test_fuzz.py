"""A bounded piece of `make fuzz`, the same one every time; and everything that was ever found."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.api import break_operation, operations
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

ROUNDS = {"sources": 500}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_comes_is_read_or_refused_with_a_reason(target: Target) -> None:
    for good in target.seeds():
        target.law(good)
    for path in target.crashers():
        target.law(path.read_bytes())
    rng = random.Random(target.name)
    for _ in range(ROUNDS.get(target.name, 1500)):
        data = mutate(rng, target.seeds())
        try:
            target.law(data)
        except Exception as error:
            raise AssertionError(
                f"{type(error).__name__}: {error}: put this into tests/fuzz/crashers/{target.name}: {data!r}"
            ) from error


def test_the_api_answers_whatever_is_asked_as_its_document_says() -> None:
    with operations() as every:
        assert len(every) > 10
        for operation in every:
            assert break_operation(operation, 3, repeatable=True)
