"""The report's charts: Altair specifications from the report's numbers, rendered without a browser or a network."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert

from batch_trainer.names import DISTINCT
from batch_trainer.palette import colours

WIDTH: Final = 380
"""Pixels of a chart's inside: it must be readable on a phone, where it is as wide as the page."""


COLUMNS: Final = 8
"""Features that fit side by side."""
SHORTEST: Final = 0.2
"""Ways of less than this part of the longest are not drawn: the table beside the map has them."""
ROWS: Final = 12
"""Features below each other."""
_LINES: Final = alt.Axis(labelLimit=170, labelExpr="split(datum.label, '|')", labelLineHeight=12)


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of everything that is not data."""

    ink: str
    soft: str
    line: str
    paper: str
    accent: str
    good: str


LIGHT: Final = Theme("#1d2330", "#5d6677", "#dfe3ea", "#ffffff", "#2f62c9", "#1c7c4a")
DARK: Final = Theme("#e8eaf0", "#a2abbc", "#333a48", "#14171e", "#86a8f7", "#63cf97")
THEMES: Final = {"light": LIGHT, "dark": DARK}


def charts(report: Mapping[str, Any], theme: Theme) -> dict[str, alt.TopLevelMixin]:
    """Every chart of a report, by name."""
    found = {"map": landscape(report, theme), "shares": shares(report, theme)}
    if any(segment["traits"] for segment in report["segments"]):  # of categories alone there are no deviations
        found["portraits"] = portraits(report, theme)
    if any(row["stability"] is not None for row in report["choice"]["table"]):
        found["choice"] = choice(report, theme)
    if report["newcomers"]["calibration"]:
        found["newcomers"] = newcomers(report["newcomers"], theme)
    if report["migration"] is not None:
        found["migration"] = migration(report["migration"], theme)
    return found


def svg(chart: alt.TopLevelMixin, name: str) -> str:
    """The chart as SVG that fits its container (at most a third larger than drawn); `name` keeps its inner ids apart from those of other charts on a page."""
    text = vl_convert.vegalite_to_svg(chart.to_json())
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    size = re.search(r' width="([\d.]+)" height="[\d.]+"', text)
    if size is None:
        return text
    largest = f' style="width:100%;height:auto;max-width:{1.35 * float(size.group(1)):.0f}px"'
    return text[: size.start()] + largest + text[size.end() :]


def write(drawn: str, path: Path) -> None:
    """Write an SVG as .svg or .png, as the name of the file says. Raises ValueError for other names."""
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"a picture is an .svg or a .png file, not {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".svg":
        path.write_text(drawn, encoding="utf-8")
    else:
        path.write_bytes(vl_convert.svg_to_png(drawn, scale=2))


def choice(report: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """Stability, silhouette beside shuffled customers, and SSE, by the number of segments."""
    k = report["choice"]["k"]
    rows = []
    for row in report["choice"]["table"]:
        found = row["silhouette"] or {}
        band = None if not found else 2 * found["spread"]
        rows.append(
            {
                "k": row["k"],
                "stability": row["stability"],
                "sse": row["sse"],
                "silhouette": found.get("data"),
                "shuffled": found.get("shuffled"),
                "low": None if band is None else found["shuffled"] - band,
                "high": None if band is None else found["shuffled"] + band,
                "chosen": row["k"] == k,
            }
        )
    data = alt.Data(values=rows)
    every = alt.Scale(domain=[row["k"] for row in rows])
    x = alt.X("k:O", title=None, scale=every, axis=alt.Axis(labelAngle=0))

    def panel(title: str, *layers: Any, last: bool = False) -> Any:
        layered = alt.layer(*layers, data=data).properties(width=WIDTH, height=95, title=title)
        return (
            layered.encode(x=alt.X("k:O", title="number of segments", scale=every, axis=alt.Axis(labelAngle=0)))
            if last
            else layered
        )

    def line(field: str, title: str, dash: bool = False) -> list[Any]:
        base = (
            alt.Chart()
            .transform_filter(f"isValid(datum.{field})")
            .encode(x=x, y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False, nice=True)))
        )
        colour = theme.soft if dash else theme.accent
        marks = [base.mark_line(color=colour, strokeDash=[4, 3] if dash else [1, 0])]
        marks.append(base.mark_point(filled=True, size=18 if dash else 45, color=colour, opacity=1))
        if not dash:
            ring = base.transform_filter("datum.chosen").mark_point(
                size=190, strokeWidth=2, color=theme.good, opacity=1
            )
            marks.append(ring)
        return marks

    def threshold(value: float) -> Any:
        return alt.Chart().mark_rule(color=theme.soft, strokeDash=[2, 3]).encode(y=alt.datum(value))

    band = alt.Chart().transform_filter("isValid(datum.low)").mark_area(color=theme.soft, opacity=0.25)
    band = band.encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q")
    panels = [
        panel(
            "Agreement of the halves (dotted: 0.85 good, 0.75 the end)",
            *line("stability", ""),
            threshold(0.85),
            threshold(0.75),
        )
    ]
    if any(row["silhouette"] is not None for row in rows):
        title = "Silhouette (dashed: the same customers, shuffled)"
        panels.append(panel(title, band, *line("shuffled", "", dash=True), *line("silhouette", "")))
    panels.append(panel("SSE (green ring: chosen)", *line("sse", ""), last=True))
    return _styled(alt.vconcat(*panels, spacing=14), theme)


def landscape(report: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """The map: cells coloured by their prevailing segment and shaded by how many are there, centres, and the ways of the features."""
    found = report["map"]
    width, height = found["cell"]
    shades = colours(segment["id"] for segment in report["segments"])
    cells = [cell | {"x2": cell["x"] + width, "y2": cell["y"] + height} for cell in found["cells"]]
    colour = alt.Color("segment:N", scale=alt.Scale(domain=list(shades), range=list(shades.values())), legend=None)
    # One frame for all layers: what the cells cover, and the centres.
    xs = [v for c in cells for v in (c["x"], c["x2"])] + [c["x"] for c in found["centres"]]
    ys = [v for c in cells for v in (c["y"], c["y2"])] + [c["y"] for c in found["centres"]]
    x = alt.X("x:Q", title=_axis(report, 0), scale=alt.Scale(domain=[min(xs), max(xs)], nice=False, zero=False))
    y = alt.Y("y:Q", title=_axis(report, 1), scale=alt.Scale(domain=[min(ys), max(ys)], nice=False, zero=False))
    people = alt.Chart(alt.Data(values=cells)).mark_rect().encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q", color=colour,
        opacity=alt.Opacity("customers:Q", scale=alt.Scale(type="log", range=[0.18, 0.95]), legend=None),
        tooltip=["customers:Q", "segment:N"],
    )  # fmt: skip
    centres = alt.Chart(alt.Data(values=found["centres"])).encode(x=x, y=y)
    dots = centres.mark_point(filled=True, size=300, opacity=1, color=theme.paper, stroke=theme.ink, strokeWidth=1.5)
    ids = centres.mark_text(fontSize=10, fontWeight="bold", color=theme.ink).encode(text="segment:N")
    ways = _ways(found["loadings"], (min(xs), max(xs)), (min(ys), max(ys)))
    arrows = alt.Chart(alt.Data(values=ways))
    shafts = arrows.mark_rule(color=theme.ink, strokeWidth=1.4, opacity=0.8).encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
    tips = arrows.mark_point(shape="circle", filled=True, size=22, color=theme.ink, opacity=0.9).encode(
        x=alt.X("x2:Q"), y=alt.Y("y2:Q")
    )
    beside = arrows.encode(x="x2:Q", y="label_y:Q", text="label:N")
    halo = beside.mark_text(fontSize=11, align="left", dx=6, stroke=theme.paper, strokeWidth=3, opacity=0.85)
    words = beside.mark_text(fontSize=11, align="left", dx=6, color=theme.ink)
    layered = alt.layer(people, shafts, tips, halo, words, dots, ids).properties(width=WIDTH, height=330)
    return _styled(layered, theme)


def portraits(report: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """How each segment differs from everyone, in standard deviations: a row per segment, or per feature where there are many of them."""
    traits = [segment["traits"] for segment in report["segments"]]
    names = list(dict.fromkeys(name for own in traits for name in own))
    if many := len(names) > COLUMNS:  # those that set a segment apart
        far = {name: max(abs(own.get(name, 0.0)) for own in traits) for name in names}
        told = [name for name in names if far[name] >= DISTINCT] or names
        names = sorted(sorted(told, key=lambda name: -far[name])[:ROWS], key=names.index)
    rows = [
        {
            "segment": segment["id"] if many else _named(segment),
            "feature": report["features"]["labels"].get(name, name),
            "z": round(segment["traits"][name], 1) + 0.0,
        }  # no "-0.0"
        for segment in report["segments"]
        for name in names
        if name in segment["traits"]
    ]
    order = list(dict.fromkeys(row["segment"] for row in rows))
    axis = alt.Axis(orient="top", labelAngle=0 if many else -30, labelLimit=120)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("segment:N" if many else "feature:N", title=None, sort=order if many else None, axis=axis),
        y=alt.Y("feature:N" if many else "segment:N", title=None, sort=None if many else order, axis=_LINES),
    )
    shade = alt.Scale(domain=[-2, 0, 2], range=["#c8553d", theme.paper, "#2f7f86"], clamp=True, interpolate="lab")
    cells = base.mark_rect(stroke=theme.line, strokeWidth=1).encode(color=alt.Color("z:Q", scale=shade, legend=None))
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("z:Q", format="+.1f"),
        color=alt.condition("abs(datum.z) > 1.2", alt.value("#ffffff"), alt.value(theme.ink)),
    )
    return _styled(alt.layer(cells, words).properties(width=WIDTH - 120, height=alt.Step(22 if many else 34)), theme)


def shares(report: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """The share of customers and of revenue of each segment."""
    rows = [
        {"segment": _named(segment), "of": of, "share": segment[key], "id": segment["id"]}
        for segment in report["segments"]
        for of, key in (("customers", "share"), ("revenue", "revenue_share"))
    ]
    order = [_named(segment) for segment in report["segments"]]
    shades = colours(segment["id"] for segment in report["segments"])
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("segment:N", title=None, sort=order, axis=_LINES, scale=alt.Scale(paddingInner=0.25)),
        x=alt.X(
            "share:Q",
            title="share (full: customers, pale: revenue)",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(nice=True),
        ),
        yOffset=alt.YOffset("of:N", sort=["customers", "revenue"]),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("id:N", scale=alt.Scale(domain=list(shades), range=list(shades.values())), legend=None),
        opacity=alt.Opacity("of:N", scale=alt.Scale(domain=["customers", "revenue"], range=[1.0, 0.45]), legend=None),
    )
    words = base.mark_text(align="left", dx=4, fontSize=10, color=theme.soft).encode(
        text=alt.Text("share:Q", format=".0%")
    )
    return _styled(alt.layer(bars, words).properties(width=WIDTH - 130, height=alt.Step(18)), theme)


def newcomers(found: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """What was said of customers by their traits alone, and how often it was so; on the line where the probabilities are honest."""
    whole = alt.Scale(domain=[0, 1], nice=False)
    percent = alt.Axis(format="%", tickCount=5)
    base = alt.Chart(alt.Data(values=list(found["calibration"]))).encode(
        x=alt.X("said:Q", title="probability given to the likely segment", scale=whole, axis=percent),
        y=alt.Y("seen:Q", title="how often it was the customer's", scale=whole, axis=percent),
    )
    dots = base.mark_point(filled=True, opacity=0.9, color=theme.accent, clip=True).encode(
        size=alt.Size("customers:Q", scale=alt.Scale(range=[40, 500]), legend=None)
    )
    words = base.mark_text(dy=-14, fontSize=10, color=theme.soft).encode(text=alt.Text("customers:Q", format=","))
    line = alt.Chart(alt.Data(values=[{"said": 0, "seen": 0}, {"said": 1, "seen": 1}])).mark_line(
        color=theme.soft, strokeDash=[4, 3]
    )
    honest = line.encode(x="said:Q", y="seen:Q")
    return _styled(alt.layer(honest, dots, words).properties(width=WIDTH - 80, height=260), theme)


def migration(moves: Mapping[str, Any], theme: Theme) -> alt.TopLevelMixin:
    """Where the customers of each segment go: shares of the row, and how many."""
    return _styled(_matrix(moves["before"], moves["after"], moves["matrix"], theme), theme)


def comparison(found: Mapping[str, Any], told: str, theme: Theme) -> alt.TopLevelMixin:
    """Two models side by side: where customers go, under a line that says how many and of whom, and how the features have shifted."""
    matrix = _matrix(found["segments"]["before"], found["segments"]["after"], found["matrix"], theme)
    panels = [matrix.properties(title=alt.Title(textwrap.wrap(told, 62)))]
    if found["feature_shifts"]:
        rows = [{"feature": k.replace("_", " "), "shift": v} for k, v in found["feature_shifts"].items()]
        low, high = min(0.0, *found["feature_shifts"].values()), max(0.0, *found["feature_shifts"].values())
        room = 0.15 * (high - low) or 1.0  # for the words beside the bars
        wide = alt.Scale(domain=[low - room * (low < 0.0), high + room * (high > 0.0)], nice=False)
        base = alt.Chart(alt.Data(values=rows)).encode(
            y=alt.Y("feature:N", title=None, sort=None, axis=_LINES),
            x=alt.X("shift:Q", title="standard deviations", scale=wide),
        )
        bars = base.mark_bar(color=theme.accent, size=12)
        right = base.transform_filter("datum.shift >= 0").mark_text(align="left", dx=4, fontSize=10, color=theme.soft)
        left = base.transform_filter("datum.shift < 0").mark_text(align="right", dx=-4, fontSize=10, color=theme.soft)
        words = [marks.encode(text=alt.Text("shift:Q", format="+.2f")) for marks in (right, left)]
        title = "How far the mean of the training data has shifted"
        panels.append(alt.layer(bars, *words).properties(width=WIDTH - 80, height=alt.Step(20), title=title))
    return _styled(alt.vconcat(*panels, spacing=18), theme)


def _matrix(before: Sequence[str], after: Sequence[str], matrix: Sequence[Sequence[int]], theme: Theme) -> Any:
    rows = []
    for one, counts in zip(before, matrix, strict=True):
        whole = sum(counts)
        for other, count in zip(after, counts, strict=True):
            share = count / whole if whole else 0.0
            rows.append({"before": one, "after": other, "share": share, "customers": count})
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("after:N", title="segment after", sort=list(after), axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("before:N", title="segment before", sort=list(before)),
    )
    shade = alt.Scale(domain=[0, 1], range=[theme.paper, theme.accent], interpolate="lab")
    cells = base.mark_rect(stroke=theme.line, strokeWidth=1).encode(
        color=alt.Color("share:Q", scale=shade, legend=None)
    )
    words = (
        base.transform_filter("datum.customers > 0")
        .mark_text(fontSize=11)
        .encode(
            text=alt.Text("share:Q", format=".1%"),
            color=alt.condition("datum.share > 0.5", alt.value(theme.paper), alt.value(theme.ink)),
        )
    )
    return alt.layer(cells, words).properties(width=max(WIDTH - 80, 44 * len(after)), height=alt.Step(32))


def _named(segment: Mapping[str, Any]) -> str:
    """Id and name, broken into lines by a bar."""
    return "|".join(textwrap.wrap(f"{segment['id']} {segment['name']}", 22))


def _axis(report: Mapping[str, Any], dimension: int) -> str:
    explained = report["explained_variance"]
    return (
        f"dimension {dimension + 1} ({explained[dimension]:.0%} of the variance)" if dimension < len(explained) else ""
    )


def _ways(loadings: list[dict[str, Any]], xs: tuple[float, float], ys: tuple[float, float]) -> list[dict[str, Any]]:
    """Lines from the average customer, as long as the frame allows, their labels kept from lying on each other."""
    x, y = (min(max(0.0, low), high) for low, high in (xs, ys))
    room = [
        ((high if step > 0 else low) - origin) / step
        for way in loadings
        for step, origin, (low, high) in ((way["x"], x, xs), (way["y"], y, ys))
        if abs(step) > 1e-9
    ]
    reach = 0.8 * min((r for r in room if r > 0), default=0.0)
    longest = max((math.hypot(way["x"], way["y"]) for way in loadings), default=0.0)
    ways = [
        {"x": x, "y": y, "x2": x + way["x"] * reach, "y2": y + way["y"] * reach, "label": way["label"]}
        for way in loadings
        if math.hypot(way["x"], way["y"]) >= SHORTEST * longest
    ]
    gap, near = 0.045 * (ys[1] - ys[0]), 0.35 * (xs[1] - xs[0])
    placed: list[dict[str, Any]] = []
    for way in sorted(ways, key=lambda way: way["y2"]):
        beside = [other["label_y"] + gap for other in placed if abs(other["x2"] - way["x2"]) < near]
        way["label_y"] = max([way["y2"], *beside])
        placed.append(way)
    return ways


def _styled(chart: Any, theme: Theme) -> alt.TopLevelMixin:
    text = {"labelColor": theme.soft, "titleColor": theme.soft, "labelFontSize": 11, "titleFontSize": 11}
    return (
        chart.configure(
            background=theme.paper,
            font="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif",
            padding=4,
        )
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=theme.line, domainColor=theme.line, tickColor=theme.line, titleFontWeight="normal", **text
        )
        .configure_title(color=theme.ink, fontSize=12, fontWeight="normal", anchor="start")
    )
