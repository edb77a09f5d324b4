"""The version guard: the lane starts with exactly the libraries it was proved with, or says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream_app.fastlane import versions
from stream_app.fastlane.versions import PINNED, WrongVersion, check


def test_the_installed_versions_are_the_ones_it_was_proved_with() -> None:
    check()


@pytest.mark.parametrize("name", PINNED)
def test_another_version_is_named_with_the_one_needed_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    installed = PINNED | {name: "99.0"}
    monkeypatch.setattr(versions, "version", installed.__getitem__)
    with pytest.raises(WrongVersion) as raised:
        check()
    message = str(raised.value)
    assert f"{name} 99.0 (needs {PINNED[name]})" in message
    assert "pip install -c constraints.txt" in message
    assert [other for other in PINNED if other != name and other in message] == []


def test_all_wrong_versions_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "0.0")
    with pytest.raises(WrongVersion) as raised:
        check()
    assert all(f"{name} 0.0 (needs {wanted})" in str(raised.value) for name, wanted in PINNED.items())


def test_the_constraints_install_what_the_lane_needs() -> None:
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text()
    for name, wanted in PINNED.items():
        assert re.search(rf"^{name}=={re.escape(wanted)}$", constraints, re.MULTILINE), name
