"""The report as one self-contained HTML page: aggregates only, nothing from outside, light and dark, on paper and on a phone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batch_trainer.landscape import LEAST
from batch_trainer.names import DISTINCT
from schemas.features import FEATURES, UNKNOWN, is_share
from schemas.places import spoken

_NAMESPACES: Final = re.compile(r' xmlns(:\w+)?="[^"]*"')

Pictures = Mapping[str, Mapping[str, str]]
"""Name -> theme -> SVG."""


def drawable() -> bool:
    """Whether the libraries that draw pictures (extra `report`) are installed."""
    return find_spec("altair") is not None and find_spec("vl_convert") is not None


def pictures(report: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Every chart of a report as SVG in both themes; none where the extra `report` is not installed."""
    if not drawable():
        return {}
    from batch_trainer import charts

    found: dict[str, dict[str, str]] = {}
    for kind, theme in charts.THEMES.items():
        for name, chart in charts.charts(report, theme).items():
            found.setdefault(name, {})[kind] = charts.svg(chart, f"{name}-{kind}")
    return found


def html(report: Mapping[str, Any], drawn: Pictures | None = None) -> str:
    """The page of a full report, with its pictures."""
    drawn = pictures(report) if drawn is None else drawn
    quality = {name: counts for name, counts in report["quality"].items() if name != "unknown_share"}
    return (
        _environment()
        .get_template("report.html")
        .render(
            r=report,
            title=f"Segments of {report['source']}, recipe {report['recipe']}",
            verdict=_verdict(report),
            variance=sum(report["explained_variance"]),
            labels={name: label(name) for name in report["features"]["labels"]},
            distance=[column["feature"] for column in report["features"]["distance"]],
            relations=quality,
            colours=_colours(report),
            separated=any(row["silhouette"] for row in report["choice"]["table"]),
            least=LEAST,
            shown=by_values(report),
            medians={segment["id"]: _medians(segment) for segment in report["segments"]},
            # The SVG is made by us from numbers and escaped text; within HTML it needs no namespaces.
            pictures={
                name: {kind: Markup(_NAMESPACES.sub("", svg)) for kind, svg in kinds.items()}
                for name, kinds in drawn.items()
            },
        )
    )


def _verdict(report: Mapping[str, Any]) -> dict[str, str]:
    said: dict[str, list[str]] = {}
    for gate in report["gates"]:
        said.setdefault(gate["verdict"], []).append(gate["name"].replace("_", " "))
    if failing := said.get("fails"):
        return {"kind": "fails", "text": f"Must not be published: {', '.join(failing)} (see Gates)."}
    if waived := said.get("waived"):
        text = f"May be published, because it was said beforehand that {', '.join(waived)} need not hold (see Gates)."
        return {"kind": "warns", "text": text}
    if report["choice"]["stable"] is False:
        text = "No stable structure was found: the segments divide the customers, but they are not kinds of customers (see How many)."
        return {"kind": "warns", "text": text}
    if warning := said.get("warns"):
        return {"kind": "warns", "text": f"May be published; look at {', '.join(warning)} first (see Gates)."}
    return {"kind": "holds", "text": "May be published: every gate holds."}


def by_values(report: Mapping[str, Any]) -> list[str]:
    """The profile columns that their most frequent values describe: categories, and numbers with few values (orders), but not those that spread widely (spend).

    >>> def report(*shares): return {"features": {"profile": ["orders"]}, "segments": [{"top": {"orders": [{"value": "1", "share": s} for s in shares]}}]}
    >>> by_values(report(0.5, 0.2, 0.1)), by_values(report(0.2, 0.01, 0.01))
    (['orders'], [])
    """
    return [
        name
        for name in report["features"]["profile"]
        if FEATURES[name].kind == "category"
        or any(sum(top["share"] for top in s["top"].get(name, ())) >= 0.5 for s in report["segments"])
    ]


def _medians(segment: Mapping[str, Any]) -> dict[str, float]:
    """The medians that say something of a segment: all but those of shares that are nothing out of the ordinary there."""
    return {
        name: value
        for name, value in segment["medians"].items()
        if not is_share(name) or segment["traits"].get(name, 0.0) >= DISTINCT
    }


def _colours(report: Mapping[str, Any]) -> dict[str, str]:
    from batch_trainer.palette import colours

    return colours(segment["id"] for segment in report["segments"])


def label(name: str) -> str:
    """A feature's name for people.

    >>> label("gross_spend")
    'Gross spend'
    """
    text = FEATURES[name].label if name in FEATURES else name.replace("_", " ")
    return text[0].upper() + text[1:]


def measure(value: float | None, name: str) -> str:
    """A feature's value in its unit.

    >>> measure(0.125, "return_rate"), measure(1234.5, "gross_spend"), measure(3.0, "orders")
    ('12.5\\xa0%', '1,234.50', '3')
    """
    if value is None:
        return ""
    unit = FEATURES[name].unit
    if unit == "share":
        return f"{100 * value:.3g}\u00a0%"
    if unit == "money":
        return f"{value:,.2f}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,.4g}"


def typical(segment: Mapping[str, Any]) -> str:
    """A customer as most of a segment's are, in words: medians and the most frequent values, nobody in particular.

    >>> typical({"medians": {"orders": 1.0, "gross_spend": 34.5}, "top": {"country": [{"value": "France", "share": 0.4}]}})
    '1 order, 34.50 spent in all, from France'
    """
    found = []
    for name, value in segment["medians"].items():
        if is_share(name) and not value:
            continue
        other = f"{{}} of the items {name.partition(':')[2]}" if is_share(name) else f"{label(name).lower()} {{}}"
        one, many = _PHRASES.get(name, (other, other))
        found.append((one if value == 1.0 else many).format(measure(value, name)))
    for name, top in segment["top"].items():
        if top and FEATURES[name].kind == "category" and top[0]["value"] != UNKNOWN:
            value = spoken(top[0]["value"]) if name == "country" else top[0]["value"]
            found.append(_PHRASES.get(name, (f"{label(name).lower()} {{}}",))[0].format(value))
    return ", ".join(found)


_PHRASES: Final = {
    "orders": ("{} order", "{} orders"),
    "placed_orders": ("{} order placed", "{} orders placed"),
    "items": ("{} item", "{} items"),
    "gross_spend": ("{} spent in all", "{} spent in all"),
    "average_order_value": ("{} per order", "{} per order"),
    "categories": ("{} category", "{} categories"),
    "return_rate": ("{} of orders returned", "{} of orders returned"),
    "age": ("{} year old", "{} years old"),
    "gender": ("{}",),
    "country": ("from {}",),
    "traffic_source": ("came by {}",),
    "brand": ("buys {} most",),
    "category": ("looks for {}",),
}


def shortly(value: Any) -> str:
    """A gate's value or threshold, of few digits.

    >>> shortly(0.0416285), shortly(4372), shortly("accepted")
    ('0.0416', '4,372', 'accepted')
    """
    if isinstance(value, float):
        return f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _remarks(counts: Mapping[str, Any]) -> str:
    remarks = [f"{n:,} without usable {column}" for column, n in counts.get("without_usable", {}).items() if n]
    for name in ("unusable_total", "without_usable_order", "orders_without_items"):
        if counts.get(name):
            remarks.append(f"{counts[name]:,} {name.replace('_', ' ')}")
    return "; ".join(remarks)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("batch_trainer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    found.filters |= {
        "day": lambda text: text[:10],
        "number": lambda value: f"{value:,}",
        "percent": lambda value: f"{100 * value:.0f}\u00a0%",
        "percent1": lambda value: f"{100 * value:.1f}\u00a0%",
        "width": lambda value: f"{100 * value:.1f}%",
        "one": lambda value: f"{value:,.1f}",
        "two": lambda value: "" if value is None else f"{value:.2f}",
        "three": lambda value: f"{value:.3f}",
        "signed": lambda value: f"{value:+.2f}",
        "measure": measure,
        "label": label,
        "short": shortly,
        "remarks": _remarks,
        "sentence": _sentence,
    }
    return found
