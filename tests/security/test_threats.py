"""The security page holds what it says: each threat's test exists, and the table of rights is the one that is enforced."""

from __future__ import annotations

import re
from pathlib import Path

from schemas import rights, topics
from schemas.rights import PROCESSES, kafka_rights

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_threat_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\|.*\|.*[STRIDE]: ", line)]
    assert len(rows) > 30
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = {row: re.findall(r"`(test_\w+)`", row) for row in rows}
    assert [row for row, tests in named.items() if not tests] == []
    assert sorted({test for tests in named.values() for test in tests} - there) == []


def test_every_kind_of_threat_and_every_arrow_is_spoken_of() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in PAGE.splitlines()
        if re.match(r"\|.*\|.*[STRIDE]: ", line)
    ]
    kinds = {letter for row in rows for letter in row[1].split(":")[0].replace(",", "").split()}
    assert kinds == set("STRIDE")
    for end in ("shop", "warehouse", "trainer", "worker", "API", "settings", "packages"):
        assert any(row[0].startswith(end) for row in rows), end


def test_the_page_shows_the_rights_in_force() -> None:
    shown = PAGE.split("<!-- rights -->")[1].split("\n## ")[0].strip()
    assert shown == rights.table(), "python -c 'from schemas.rights import table; print(table())'"


def test_every_topic_is_written_by_someone_and_nobody_may_do_everything() -> None:
    granted = {process: kafka_rights(process) for process in PROCESSES}
    writers = {right.name for every in granted.values() for right in every if "WRITE" in right.operations}
    assert writers == {topic.name for topic in topics.ALL}
    assert not any(
        operation in ("ALL", "ALTER", "DELETE")
        for every in granted.values()
        for right in every
        for operation in right.operations
    )
    assert all(right.name.startswith("other") for right in kafka_rights("worker", "other") if right.resource == "group")
    for process in PROCESSES:
        redis = rights.redis_rights(process, "p:")
        assert redis is None or all(key.startswith("p:") for key in (*redis.writes, *redis.reads, *redis.channels))
        assert redis is None or not {"flushall", "flushdb", "keys", "config", "acl", "eval"} & set(redis.commands)
