"""What is written down: medians and spread, the machine, verdicts, JSON and Markdown."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import psutil

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"
OWN: Final = "<!-- bench:{name}:{end} -->"
"""The markers of a part that has a place of its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise: what was measured (None: nothing), the bound, and whether it holds. What was not measured does not hold."""

    name: str
    value: float | None
    bound: str
    holds: bool

    @classmethod
    def at_least(cls, name: str, value: float | None, least: float) -> Self:
        """The value must be `least` or more.

        >>> Verdict.at_least("speed", 3.0, 2.0).holds, Verdict.at_least("speed", None, 2.0).holds
        (True, False)
        """
        bound = f">= {least:,g}"
        return cls(name, None, bound, False) if value is None else cls(name, round(value, 3), bound, value >= least)

    @classmethod
    def at_most(cls, name: str, value: float | None, most: float) -> Self:
        """The value must be `most` or less."""
        bound = f"<= {most:,g}"
        return cls(name, None, bound, False) if value is None else cls(name, round(value, 3), bound, value <= most)

    @classmethod
    def of_quantile(cls, name: str, values: Sequence[float], share: float, most: float) -> Self:
        """A quantile of the values must be `most` or less; of no values nothing is known.

        >>> Verdict.of_quantile("p99", [1.0, 2.0], 0.99, 2.0).holds, Verdict.of_quantile("p99", [], 0.99, 2.0).holds
        (True, False)
        """
        return cls.at_most(name, quantile(values, share) if values else None, most)

    def document(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, least and greatest; None of nothing.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0, 'n': 3}
    """
    if not values:
        return None
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "n": len(values),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5), quantile([1.0], 0.99)
    (2.0, 1.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The commit measured, with a + where files differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return head.stdout.strip() + ("+" if dirty.strip() else "")


def document(command: str, parts: Sequence[dict[str, Any]], measured: str, load: float) -> dict[str, Any]:
    """The whole result. `measured`: the commit; `load`: the machine's load average; both from before the measurement began."""
    return {
        "command": command,
        "commit": measured,
        "machine": machine(),
        "load_before": round(load, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdicts": [verdict for part in parts for verdict in part["verdicts"]],
        "parts": {part["part"]: part for part in parts},
    }


def write(result: dict[str, Any], path: Path) -> None:
    """JSON and, beside it, Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, default=float) + "\n")
    path.with_suffix(".md").write_text(markdown(result))


def markdown(result: dict[str, Any]) -> str:
    """The result as people read it."""
    m = result["machine"]
    lines = [
        f"`{result['command']}`, {result['date'][:10]}, commit {result['commit']}, {m['cpu']}, {m['cores']} cores, "
        f"{m['memory_gib']} GiB, Python {m['python']}, {m['system']}; load before the start {result['load_before']}.",
        "",
    ]
    for name, part in result["parts"].items():
        lines += [*_TABLES[name](part), ""]
        lines += [f"- could not be measured: {failure.splitlines()[0]}" for failure in part.get("failures", ())]
    lines += ["| promise | measured | bound | holds |", "|---|---|---|---|"]
    lines += [
        f"| {v['name']} | {'not measured' if v['value'] is None else format(v['value'], ',g')} | {v['bound']} | {'yes' if v['holds'] else '**no**'} |"
        for v in result["verdicts"]
    ]
    return "\n".join(lines) + "\n"


def cell(numbers: dict[str, float] | None, form: str = ",.1f") -> str:
    """Median, and the spread where there is one.

    >>> cell({"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}), cell(None)
    ('2.0 (1.0 to 3.0)', '-')
    """
    if numbers is None:
        return "-"
    text = f"{numbers['median']:{form}}"
    return text if numbers["n"] == 1 else f"{text} ({numbers['min']:{form}} to {numbers['max']:{form}})"


def _hotpath(part: dict[str, Any]) -> list[str]:
    rows = [
        f"Catching up with {part['events']:,} events of {part['customers']:,} customers ({part['share_of_changes']:.1%} change a segment), "
        f"medians (least to greatest) of {part['repetitions']} interleaved runs; slow engines: the first {part['slice']:,} events.",
        "",
        "| engine | events | events/s | CPU us/event | peak MiB | start to first change s | lost / wrong / duplicated |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine in sorted(part["engines"].values(), key=lambda e: -e["events_per_s"]["median"]):
        rows.append(
            f"| {engine['label']} | {engine['events']:,} | {cell(engine['events_per_s'], ',.0f')} | {cell(engine['cpu_us'])} | "
            f"{cell(engine['peak_mib'], ',.0f')} | {cell(engine['start_to_first'], ',.2f')} | "
            f"{_faults(engine)} |"
        )
    return rows


def _budget(part: dict[str, Any]) -> list[str]:
    rows = [
        f"{part['events']:,} events of {part['customers']:,} customers in one process, without Kafka, Redis and event loop; "
        "CPU time, the least of several passes.",
        "",
        "| stage | CPU us/event |",
        "|---|---|",
    ]
    rows += [f"| {name} | {us:.1f} |" for name, us in part["stages"].items()]
    return [*rows, f"| all | {part['total_us']:.1f} |"]


def _faults(engine: dict[str, Any]) -> str:
    """Lost, wrong and duplicated."""
    return (
        f"{engine['lost']} / {engine['wrong'] + engine['reordered'] + engine['states_wrong']} / {engine['duplicated']}"
    )


def _latency(part: dict[str, Any]) -> list[str]:
    rows = [
        f"From producing an event to its change being readable, {part['seconds']:g} s of {part['rate']:,g} events/s and of half of what each engine can; "
        "then kill -9, start again, and the time until the next change.",
        "",
        "| engine | p50 ms | p99 ms | half: events/s | p50 ms | p99 ms | kill -9 to next change s | lost / wrong / duplicated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine in part["engines"].values():
        rows.append(
            f"| {engine['label']} | {cell(engine['p50_ms'])} | {cell(engine['p99_ms'])} | {cell(engine['half_rate'], ',.0f')} | "
            f"{cell(engine['half_p50_ms'])} | {cell(engine['half_p99_ms'])} | {cell(engine['kill_to_change'], ',.1f')} | "
            f"{_faults(engine)} |"
        )
    return rows


def _scale(part: dict[str, Any]) -> list[str]:
    rows = [
        f"One worker with {part['customers']:,} customers; and several workers.",
        "",
        "| what | measured |",
        "|---|---|",
    ]
    return rows + [f"| {name} | {value:,.4g} |" for name, value in part["figures"].items()]


def _api(part: dict[str, Any]) -> list[str]:
    rows = [
        f"The HTTP API with {part['customers']:,} customers who have a history of {part['history']} events each; beside it a worker that takes "
        f"{part['events_per_s']:g} events/s, and {part['listeners']} listeners connected. Requests come from a process of their own and count from the "
        "moment they were due.",
        "",
        "| what | n | p50 ms | p99 ms | max ms |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {row['n']:,} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['max_ms']:.1f} |"
        for name, row in part["table"].items()
    ]
    told = [text.format(part["figures"][name]) for name, text in _API_FIGURES.items() if name in part["figures"]]
    return [*rows, "", f"Meanwhile: {', '.join(told)}."] if told else rows


_API_FIGURES: Final = {
    "changes_per_s": "{:.1f} changes of segment a second",
    "api_cpu_share": "API {:.0%} of a core",
    "worker_cpu_share": "worker {:.0%}",
    "listeners_cpu_share": "the listeners' process {:.0%}",
    "api_peak_mib": "API at most {:,.0f} MiB",
    "read_in_s": "all customers read in {:.1f} s when it started",
}


def _training(part: dict[str, Any]) -> list[str]:
    rows = [
        "| customers | segmented | trainer s | of them in the warehouse | trainer MB | scikit-learn fits | s | MB | time ratio | SSE ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in part["rows"]:
        mine, theirs = row["trainer"], row.get("scikit_learn")
        other = (
            f"{theirs['fits']} | {theirs['seconds']:,.0f} | {theirs['peak_mb']:,.0f} | {row['time_ratio']:.2f} | {row['sse_ratio']:.5f}"
            if theirs
            else "- | - | - | - | -"
        )
        rows.append(
            f"| {row['customers']:,} | {mine['segmented']:,} | {mine['seconds']:,.0f} | {mine['in_warehouse']:,.0f} | "
            f"{mine['peak_mb']:,.0f} | {other} |"
        )
    return rows


def _similar(part: dict[str, Any]) -> list[str]:
    rows = [
        f"The five nearest among {part['customers']:,} customers in {part['dimensions']} dimensions, {part['moved']:,} of whom have moved since the trees "
        f"were built; to take in one who has moved costs {part['move_us']:.0f} us.",
        "",
        "| way | built in s | p50 ms | p99 ms | recall@5 |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {row['build_s']:.1f} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['recall_at_5']:.4f} |"
        for name, row in part["table"].items()
    ]
    held = part["footprint"]
    return [
        *rows,
        "",
        f"An API that has read {held['customers']:,} customers from Redis ({held['read_s']:.0f} s) holds {held['mib']:,.0f} MiB, at most "
        f"{held['peak_mib']:,.0f}; with nobody {held['without_mib']:,.0f}.",
    ]


def _drift(part: dict[str, Any]) -> list[str]:
    """Per shop: planted changes by detector, share found, median delay in events, share named rightly."""
    rows = []
    for shop, one in part["shops"].items():
        names = list(one["false_per_million"])
        rows += [
            f"**{shop}** ({one['customers']:,} customers, {one['segments']} segments); {one['us_per_event']:.1f} us per event for the check itself. "
            "Each cell: found / median delay in events / named rightly.",
            "",
            f"| planted change | {' | '.join(names)} |",
            f"|---|{'---|' * len(names)}",
        ]
        for row, found in one["table"].items():
            cells = [_planted(found.get(name)) for name in names]
            rows.append(f"| {row} | {' | '.join(cells)} |")
        false = " | ".join(f"{one['false_per_million'][name]:,.1f}" for name in names)
        rows += [f"| none: false alarms per million events | {false} |", ""]
    rows += [
        f"Blocks cost a worker {c['drift_us']:.2f} us per event in chunks of {c['chunk']:,} "
        f"({c['share_of_work']:.1%} of its {c['work_us']:.0f} us, transport not counted)."
        for c in part["cost"]
    ]
    return [*rows, ""]


def _planted(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    delay = "-" if found["median_delay"] is None else f"{found['median_delay']:,.0f}"
    return f"{found['found']:.0%} / {delay} / {found['named']:.0%}"


def _model(part: dict[str, Any]) -> list[str]:
    rows = ["| data | what | measured |", "|---|---|---|"]
    return rows + [f"| {row['data']} | {row['what']} | {row['measured']} |" for row in part["rows"]]


_TABLES: Final = {
    "budget": _budget,
    "hotpath": _hotpath,
    "latency": _latency,
    "scale": _scale,
    "api": _api,
    "similar": _similar,
    "model": _model,
    "training": _training,
    "drift": _drift,
}


def put_into(page: Path, text: str, name: str = "") -> None:
    """Replace what stands between the markers of a page, those of a part where it is named. Raises ValueError where it has none."""
    begin, end = (OWN.format(name=name, end=which) for which in ("begin", "end")) if name else (BEGIN, END)
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no {begin} ... {end} to put the table between")
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
