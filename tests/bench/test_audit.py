"""An audit claims nothing that it could not look at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import audit


def tool(directory: Path, name: str, answer: object) -> None:
    """A tool that gives one answer to all questions."""
    path = directory / name
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(answer))})\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("advisories", "code", "holds"),
    [
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 69, False),
        ({"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}, 69, False),
        ({"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}]}, 1, False),
    ],
)
def test_an_audit_that_could_ask_nobody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advisories: object, code: int, holds: bool
) -> None:
    tool(tmp_path, "pip-audit", advisories)
    tool(tmp_path, "cyclonedx-py", {"components": []})
    monkeypatch.setattr(audit, "BUILD", tmp_path / "build")
    monkeypatch.setattr(audit, "SBOM", tmp_path / "build" / "sbom.json")
    monkeypatch.setattr(sys, "argv", ["audit", "--tools", str(tmp_path)])
    assert audit.main() == code
    document = json.loads((tmp_path / "build" / "audit.json").read_text())
    verdict = document["verdicts"][-1]
    assert verdict["holds"] is holds
    assert (code == 69) == (verdict["value"] is None) == bool(verdict["reason"])
    assert document["unlisted"], "an empty bill of materials is not whole"
