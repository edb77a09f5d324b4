"""The worker put together, as far as it shows without servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas import topics
from schemas.settings import Settings
from schemas.signing import Keyring
from stream_app.app import Worker


@pytest.mark.parametrize("app_id", ["segstream", "another-group"])
def test_customers_are_restored_from_the_topic_that_they_are_stored_in(tmp_path: Path, app_id: str) -> None:
    worker = Worker(Settings(home=tmp_path, app_id=app_id), Keyring([]), 4, lambda: 0)
    assert worker.app.tables.changelog_topics == {topics.USERS.name}


def test_a_worker_makes_its_home(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there" / "yet"
    Worker(Settings(home=home), Keyring([]), 4, lambda: 0)
    assert home.is_dir()


def test_a_restoring_worker_holds_few_chunks_beside_its_customers(tmp_path: Path) -> None:
    worker = Worker(Settings(home=tmp_path), Keyring([]), 4, lambda: 0)
    assert [1 < table.recovery_buffer_size <= 8 for table in worker.app.tables.data.values()] == [True]
