"""`python -m bench`: run the measurements, write build/bench*.json and Markdown, say which promises hold."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench import api, budget, chart, constants, hotpath, latency, report, scale, similar
from bench.lineup import ENGINES

BUILD: Final = Path("build")
PAGE: Final = Path("docs/performance.md")
PICTURE: Final = Path("docs/performance.svg")
PARTS: Final = ("budget", "hotpath", "latency", "scale", "api", "similar", "model", "training", "drift")
OWN_PAGES: Final = {
    name: Path("docs") / page
    for page, names in {
        "model.md": ("model", "training"),
        "api.md": ("api", "similar"),
        "drift.md": ("drift",),
        "performance.md": ("budget",),
    }.items()
    for name in names
}
"""Parts whose table stands elsewhere, between markers of its own."""


def main() -> int:
    """Exit code 0: every promise held; 1: one did not, or something could not be measured."""
    options = _options()
    if options.constants:
        constants.write(BUILD)
        return 0
    gc.disable()  # the probe's clock must not stand still for it; nothing here lives in cycles
    begun, load, commit = time.monotonic(), os.getloadavg()[0], report.commit()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {text}", file=sys.stderr, flush=True)

    command = shlex.join(["make", "bench"]) + (f' ARGS="{shlex.join(sys.argv[1:])}"' if sys.argv[1:] else "")
    names = options.only.split(",") if options.only else list(PARTS)
    results: list[dict[str, Any]] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as scratch:
            results.append(_part(name, options, results, commit)(Path(scratch), say))
        report.write(report.document(command, results[-1:], commit, load), BUILD / f"bench-{name}.json")
    result = report.document(command, results, commit, load)
    if not options.only:
        report.write(result, BUILD / "bench.json")
    print(report.markdown(result))
    if options.docs:
        _into_docs(command, results, commit, load)
    failed = any(part.get("failures") for part in results)
    return 0 if all(v["holds"] for v in result["verdicts"]) and not failed else 1


def _into_docs(command: str, results: list[dict[str, Any]], commit: str, load: float) -> None:
    for part in results:
        if page := OWN_PAGES.get(part["part"]):
            report.put_into(page, report.markdown(report.document(command, [part], commit, load)), part["part"])
    common = [part for part in results if part["part"] not in OWN_PAGES]
    if not common:
        return
    result = report.document(command, common, commit, load)
    text = report.markdown(result)
    if hot := result["parts"].get("hotpath"):
        PICTURE.write_text(chart.picture(hot["engines"]))
        text = f"![events per second and CPU per event, by engine]({PICTURE.name})\n\n{text}"
    report.put_into(PAGE, text)


Part = Callable[[Path, Callable[[str], None]], dict[str, Any]]


def _part(name: str, options: argparse.Namespace, before: list[dict[str, Any]], commit: str) -> Part:
    quick = options.quick
    engines = tuple(options.engines.split(",")) if options.engines else tuple(ENGINES)
    repetitions = options.repetitions or (1 if quick else 3)
    if name == "budget":
        core = budget.Plan(events=20_000, customers=1_000, passes=3) if quick else budget.Plan()
        return lambda directory, say: budget.measure(core, say)
    if name == "hotpath":
        events = options.events or (40_000 if quick else 1_000_000)
        hot = hotpath.Plan(
            events=events,
            customers=events // 20,
            slice=min(events, 5_000 if quick else 30_000),
            repetitions=repetitions,
            engines=engines,
        )
        return lambda directory, say: hotpath.measure(hot, directory, say)
    if name == "latency":
        paced = latency.Plan(engines=engines, repetitions=repetitions, capacity=_capacity(before))
        if quick:
            paced = replace(paced, seconds=4.0, events=4_000, customers=1_000)
            paced = replace(paced, engines=engines if options.engines else ("segstream", "aiokafka"))
        return lambda directory, say: latency.measure(paced, directory, say)
    if name == "scale":
        crowd = scale.Plan(
            customers=options.customers or 1_000_000, workers=tuple(map(int, options.workers.split(",")))
        )
        if quick:
            crowd = replace(crowd, customers=5_000, few=1_000, repetitions=1, swap_seconds=5.0)
            crowd = replace(crowd, workers=(1, 2), fleet_events=20_000)
        return lambda directory, say: scale.measure(crowd, directory, say)
    if name == "api":
        asked = api.Plan(customers=options.customers or 80_000)
        if quick:
            asked = replace(asked, customers=5_000, seconds=5.0)
        return lambda directory, say: api.measure(asked, directory, say)
    if name == "model":
        from bench import model  # scikit-learn, which the other parts need not load

        return model.measure
    if name == "training":
        from bench import training

        fitted = training.Plan(sizes=(5_000, 20_000)) if quick else training.Plan()
        if options.sizes:
            some = tuple(map(int, options.sizes.split(",")))
            fitted = replace(fitted, sizes=some, measured=_measured(commit))
        return lambda directory, say: training.measure(fitted, directory, say)
    if name == "similar":
        many = similar.Plan(customers=options.customers or 2_000_000)
        if quick:
            many = replace(many, customers=450_000, moved=4_000, searches=100, held=20_000)
        return lambda directory, say: similar.measure(many, directory, say)
    if name == "drift":
        from bench import drift

        planted = drift.Plan(runs=options.runs, seed=options.seed)
        if quick:
            planted = replace(
                planted, runs=10, stationary=200_000, rivals_stationary=20_000, rival_runs=2, customers=1_000
            )
        return lambda directory, say: drift.measure(planted, directory, say)
    raise SystemExit(f"unknown part {name!r}; there are: {', '.join(PARTS)}")


def _measured(commit: str) -> tuple[dict[str, Any], ...]:
    """What was measured of training at this very commit: sizes may be measured one after the other."""
    file = BUILD / "bench-training.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return tuple(found["parts"]["training"]["rows"]) if found.get("commit") == commit else ()


def _capacity(before: list[dict[str, Any]]) -> dict[str, float]:
    """Events/s of each engine: of this run's hot path, else of the last one's."""
    found = next((part for part in before if part["part"] == "hotpath"), None)
    file = BUILD / "bench-hotpath.json"
    if found is None and file.exists():
        found = json.loads(file.read_text())["parts"]["hotpath"]
    return {} if found is None else {name: e["events_per_s"]["median"] for name, e in found["engines"].items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help=f"parts, comma-separated: {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one repetition: shows that it works, measures little"
    )
    parser.add_argument("--engines", help=f"comma-separated: {', '.join(ENGINES)}")
    parser.add_argument("--events", type=int, help="events to catch up with")
    parser.add_argument(
        "--customers",
        type=int,
        help="customers of the parts scale (default 1,000,000), api (80,000) and similar (2,000,000)",
    )
    parser.add_argument(
        "--sizes",
        help="customers that the part training compares, comma-separated; other sizes of this commit are kept",
    )
    parser.add_argument("--workers", default="1,2,4", help="numbers of workers that the part scale compares")
    parser.add_argument(
        "--constants",
        action="store_true",
        help="only write what build/ holds of hotpath and scale as the constants of `segstream plan`",
    )
    parser.add_argument("--repetitions", type=int, help="interleaved repetitions (default 3; quick: 1)")
    parser.add_argument("--runs", type=int, default=100, help="runs per planted change of the part drift")
    parser.add_argument("--seed", type=int, default=0, help="added to the seeds of the part drift: other streams")
    parser.add_argument(
        "--docs",
        action="store_true",
        help=f"put the tables into {PAGE} (some parts: {', '.join(sorted({str(p) for p in OWN_PAGES.values()}))}), the picture into {PICTURE}",
    )
    options = parser.parse_args()
    for chosen, known in ((options.only, PARTS), (options.engines, ENGINES)):
        if unknown := set(chosen.split(",") if chosen else ()) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
