"""Warehouses that are servers, each started when it is first asked for, and once for all tests of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.batch_trainer import backends

collect_ignore = ["snowflake.py"]
"""A program for another environment."""


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], backends.Backend]]:
    """The warehouses by kind; skips where one cannot be had."""
    running: dict[str, backends.Postgres | backends.Spark] = {}

    def start(kind: str) -> backends.Backend:
        if kind == "duckdb":
            return backends.duckdb_file
        if kind == "redshift":
            start("postgres")
            return running["postgres"].as_redshift  # type: ignore[union-attr]
        if kind not in running:
            running[kind] = backends.start(kind, tmp_path_factory.mktemp(kind))
        return running[kind]

    yield start
    for server in running.values():
        server.stop()
