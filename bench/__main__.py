"""`python -m bench`: run the measurements, write build/bench*.json and Markdown, say which promises hold."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench import hotpath, report
from bench.lineup import ENGINES

PARTS: Final = ("hotpath",)


def main() -> int:
    """Exit code 0: every promise held; 1: one did not, or something could not be measured."""
    options = _options()
    begun, load = time.monotonic(), os.getloadavg()[0]

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {text}", file=sys.stderr, flush=True)

    names = [part.strip() for part in options.only.split(",")] if options.only else list(PARTS)
    results: list[dict[str, Any]] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as scratch:
            results.append(_part(name, options)(Path(scratch), say))
    command = shlex.join(["make", "bench"]) + (f' ARGS="{shlex.join(sys.argv[1:])}"' if sys.argv[1:] else "")
    result = report.document(command, results, load)
    for part in results:
        report.write(report.document(command, [part], load), Path("build") / f"bench-{part['part']}.json")
    if not options.only:
        report.write(result, Path("build") / "bench.json")
    print(report.markdown(result))
    failed = any(part.get("failures") for part in results)
    return 0 if all(v["holds"] for v in result["verdicts"]) and not failed else 1


def _part(name: str, options: argparse.Namespace) -> Callable[[Path, Callable[[str], None]], dict[str, Any]]:
    engines = tuple(options.engines.split(",")) if options.engines else tuple(ENGINES)
    repetitions = options.repetitions or (1 if options.quick else 3)
    if name == "hotpath":
        events = options.events or (60_000 if options.quick else 1_000_000)
        plan = hotpath.Plan(
            events=events,
            customers=events // 20,
            slice=min(events, 5_000 if options.quick else 30_000),
            repetitions=repetitions,
            engines=engines,
        )
        return lambda directory, say: hotpath.measure(plan, directory, say)
    raise SystemExit(f"unknown part {name!r}; there are: {', '.join(PARTS)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help=f"parts, comma-separated: {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one repetition: shows that it works, measures little"
    )
    parser.add_argument("--engines", help=f"comma-separated: {', '.join(ENGINES)}")
    parser.add_argument("--events", type=int, help="events to catch up with")
    parser.add_argument("--repetitions", type=int, help="interleaved repetitions (default 3; quick: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
