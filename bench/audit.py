"""`make audit`: what we are made of (a CycloneDX bill of materials) and which of it is known to be vulnerable: build/sbom.json, build/audit.json.

Where no vulnerability service can be reached the result says so, and nothing is claimed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

BUILD: Final = Path("build")
SBOM: Final = BUILD / "sbom.json"
WITHIN: Final = 300.0
"""Seconds that a tool may take."""
UNREACHABLE: Final = 69
CANARY: Final = "jinja2==2.4.1"
"""A version with advisories since 2014: who does not know them cannot say that there are none."""


class ToolFailed(RuntimeError):
    """A tool did not give its answer; the message is its last lines."""


def run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    """A tool's output. Raises ToolFailed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(str(error)) from error
    if done.returncode not in accepted or not done.stdout.strip():
        raise ToolFailed(
            " ".join(done.stderr.split())[-400:] or f"{command[0]} ended with {done.returncode} and said nothing"
        )
    return done.stdout


def bill(tools: Path) -> list[dict[str, Any]]:
    """Write the bill of materials of this environment; its components. Raises ToolFailed."""
    text = run(
        [str(tools / "cyclonedx-py"), "environment", sys.executable, "--pyproject", "pyproject.toml",
         "--mc-type", "application", "--output-reproducible", "--of", "JSON"]
    )  # fmt: skip
    document = json.loads(text)
    SBOM.write_text(json.dumps(document, indent=1) + "\n")
    return list(document.get("components", []))


def vulnerabilities(tools: Path) -> list[dict[str, Any]]:
    """Known vulnerabilities of what is installed here. Raises ToolFailed where the service is not reached, or knows nothing."""
    known, _ = _ask(tools, ["--no-deps", "--disable-pip", "-r", str(_canary())])
    if not known:  # a mirror that holds packages and no advisories answers "none" to everything
        raise ToolFailed(f"it knows nothing against {CANARY}, which is vulnerable")
    paths = [option for path in sys.path if path.endswith("site-packages") for option in ("--path", path)]
    found, skipped = _ask(tools, paths)
    if skipped:
        raise ToolFailed(f"it could not tell of {len(skipped)} packages, {skipped[0]} first")
    return found


def _ask(tools: Path, what: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """What is known, and of what nothing could be said."""
    text = run(
        [str(tools / "pip-audit"), "--format", "json", "--progress-spinner", "off", "--timeout", "10", *what], (0, 1)
    )
    packages = [package for package in json.loads(text)["dependencies"] if _plain(package["name"]) != "segstream"]
    found = [
        {"package": package["name"], "version": package["version"], "id": one["id"], "fixed_in": one["fix_versions"]}
        for package in packages
        for one in package.get("vulns", ())
    ]
    return found, [package["skip_reason"] for package in packages if "skip_reason" in package]


def _canary() -> Path:
    path = BUILD / "canary.txt"
    path.write_text(f"{CANARY}\n")
    return path


def main() -> int:
    """Write both files; 0 where nothing is known, 1 where something is, 69 where nobody could be asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tools", type=Path, default=Path(".venv/audit/bin"), help="where pip-audit and cyclonedx-py lie"
    )
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    installed = {_plain(one.metadata["Name"]) for one in distributions()}
    components = {_plain(one["name"]) for one in bill(options.tools)}
    unlisted = sorted(installed - components - {"segstream"})
    verdicts: list[dict[str, Any]] = [
        {
            "name": "the bill of materials names everything installed",
            "value": len(unlisted),
            "bound": 0,
            "holds": not unlisted,
        }
    ]
    found: list[dict[str, Any]] | None = None
    reason = ""
    try:
        found = vulnerabilities(options.tools)
    except ToolFailed as error:
        reason = f"not checked: the vulnerability service could not be asked from here ({error})"
    verdicts.append(
        {"name": "known vulnerabilities", "value": None if found is None else len(found), "bound": 0, "holds": found == [], "reason": reason}
    )  # fmt: skip
    commit = run(["git", "rev-parse", "--short", "HEAD"]).strip()
    document = {
        "command": "make audit",
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "components": len(components),
        "unlisted": unlisted,
        "vulnerabilities": found,
        "verdicts": verdicts,
    }
    (BUILD / "audit.json").write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(f"{len(components)} components in {SBOM}\n")
    if found is None:
        sys.stdout.write(f"vulnerabilities {reason}\n")
        return UNREACHABLE
    for one in found:
        sys.stdout.write(
            f"{one['package']} {one['version']}: {one['id']}, mended in {', '.join(one['fixed_in']) or 'no version yet'}\n"
        )
    sys.stdout.write(f"{len(found)} known vulnerabilities\n")
    return int(bool(found or unlisted))


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit(main())
