"""The report tells what an analyst must defend, in one file that needs nothing and holds nobody."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from batch_trainer import page
from batch_trainer.recipes import RECIPES
from batch_trainer.report import write_report
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import open_warehouse
from schemas.model import Model
from tests.batch_trainer.shops import regulars

NOW = 1_790_000_000_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A second training, so that there is something to compare with."""
    where = regulars(400).write(tmp_path_factory.mktemp("shop"))
    with open_warehouse(*where) as warehouse:
        first = train(warehouse, RECIPES["behaviour"], now=NOW, k=3)
        return train(warehouse, RECIPES["behaviour"], now=NOW + 1, k=4, previous=Model(first.artifact, first.model_id))


@pytest.fixture(scope="module")
def written(trained: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(trained, tmp_path_factory.mktemp("report"))


class Tags(HTMLParser):
    """Collects what a browser would fetch, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.fetched += [v for k, v in given.items() if k in ("src", "href", "xlink:href") and v and v[0] != "#"]
        self.fetched += [tag] if tag in ("script", "link", "iframe", "object") else []
        self.ids += [v for k, v in given.items() if k == "id" and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_outside(written: Path) -> None:
    tags = Tags()
    text = written.read_text()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert len(tags.ids) == len(set(tags.ids)), "the pictures of both themes share no ids"
    assert len(text) < 2_000_000
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_every_picture_is_there_in_both_themes_and_as_files(written: Path) -> None:
    names = ("choice", "map", "migration", "newcomers", "portraits", "shares")
    text = written.read_text()
    assert text.count("<svg") == 2 * len(names)
    for name in names:
        assert (written.parent / f"{name}.svg").read_text().startswith("<svg")
        assert (written.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_says_what_an_analyst_is_asked(trained: Training) -> None:
    report = json.loads(json.dumps(trained.report))
    assert report["window"]["from"] < report["window"]["until"]
    assert report["quality"]["orders"]["kept"] > 0
    assert set(report["features"]["quality"]) >= {"orders", "gross_spend", "country"}
    assert {row["k"] for row in report["choice"]["table"]} == set(range(2, 11))
    assert sum(segment["share"] for segment in report["segments"]) == pytest.approx(1.0)
    assert sum(segment["revenue_share"] for segment in report["segments"]) == pytest.approx(1.0)
    assert all(segment["typical"] for segment in report["segments"])
    assert sum(map(sum, report["migration"]["matrix"])) == report["migration"]["customers"]
    assert report["migration"]["share"] == pytest.approx(
        report["migration"]["moved"] / report["migration"]["customers"]
    )
    assert all(gate["verdict"] in ("holds", "warns", "fails") and gate["meaning"] for gate in report["gates"])
    assert sum(cell["customers"] for cell in report["map"]["cells"]) <= report["map"]["customers"]
    assert all(cell["customers"] >= 3 for cell in report["map"]["cells"])


def test_the_page_says_first_whether_it_may_be_published(trained: Training) -> None:
    report: dict[str, Any] = json.loads(json.dumps(trained.report))

    def said(verdict: str) -> str:
        for gate in report["gates"]:
            gate["verdict"] = verdict if gate["name"] == "moved_share" else "holds"
        return page.html(report, {})

    assert "Must not be published: moved share" in said("fails")
    assert "said beforehand that moved share need not hold" in said("waived")
    assert "look at moved share first" in said("warns")
    assert "May be published: every gate holds" in said("holds")


def test_nobody_is_in_the_report(tmp_path: Path) -> None:
    shop = regulars(120)
    names = {str(i): f"person-{i:04}-x" for i in range(120)}
    for relation, column in (("customers", 0), ("orders", 1), ("refunds", 2)):
        shop.rows[relation] = [(*row[:column], names[row[column]], *row[column + 1 :]) for row in shop.rows[relation]]
    with open_warehouse(*shop.write(tmp_path)) as warehouse:
        training = train(warehouse, RECIPES["behaviour"], now=NOW, k=3)
    path = write_report(training, tmp_path / "report")
    for file in path.parent.iterdir():
        assert b"person-" not in file.read_bytes()


def test_the_size_of_the_report_does_not_grow_with_the_customers(tmp_path: Path) -> None:
    sizes = []
    for count in (200, 1600):
        with open_warehouse(*regulars(count).write(tmp_path / str(count))) as warehouse:
            report = train(warehouse, RECIPES["behaviour"], now=NOW, k=3).report
        sizes.append(len(page.html(report, {})))
    assert sizes[1] < 1.2 * sizes[0]


def test_what_people_have_typed_is_only_text(trained: Training) -> None:
    evil = '<script>alert("x")</script>'
    report: dict[str, Any] = json.loads(json.dumps(trained.report))
    report["source"] = evil
    report["segments"][0]["name"] = evil
    report["segments"][0]["top"]["country"][0]["value"] = evil
    report["migration"]["names"] = dict.fromkeys(report["migration"]["names"], evil)
    text = page.html(report)
    assert "<script" not in text
    assert re.search(r"&lt;script", text)


def test_without_the_extra_the_page_says_what_draws_pictures(trained: Training) -> None:
    text = page.html(trained.report, {})
    assert "<svg" not in text
    assert "segstream[report]" in text
