"""The picture: events a second and CPU per event, by engine."""

from __future__ import annotations

from typing import Any, Final

OURS: Final = "#1f6f8b"
OTHERS: Final = "#b9c4c9"
_INK: Final = "#263238"


def picture(engines: dict[str, Any]) -> str:
    """Two bar charts as one SVG. Needs the extra `bench` (Altair, vl-convert)."""
    import altair as alt
    import pandas as pd
    import vl_convert

    rows = pd.DataFrame(
        [
            {
                "engine": engine["label"],
                "events": engine["events_per_s"]["median"],
                "cpu": engine["cpu_us"]["median"],
                "ours": name == "segstream",
            }
            for name, engine in engines.items()
        ]
    )
    order = alt.EncodingSortField("events", order="descending")

    def bars(field: str, title: str, form: str, labels: bool) -> Any:
        base = alt.Chart(rows, title=alt.Title(title, anchor="start", color=_INK, fontSize=13, fontWeight="normal"))
        y = alt.Y(
            "engine:N",
            sort=order,
            title=None,
            axis=alt.Axis(labels=labels, ticks=False, domain=False, labelLimit=260, labelPadding=6),
        )
        x = alt.X(f"{field}:Q", title=None, axis=None, scale=alt.Scale(domain=[0, float(rows[field].max()) * 1.2]))
        color = alt.condition("datum.ours", alt.value(OURS), alt.value(OTHERS))
        bar = base.mark_bar(cornerRadiusEnd=2, height=18).encode(x=x, y=y, color=color)
        text = base.mark_text(align="left", dx=5, color=_INK, fontSize=11).encode(
            x=x, y=y, text=alt.Text(f"{field}:Q", format=form)
        )
        return (bar + text).properties(width=300, height=28 * len(rows))

    chart = bars("events", "events per second (more is better)", ",.0f", True)
    chart |= bars("cpu", "CPU microseconds per event (less is better)", ",.1f", False)
    chart = chart.configure(
        background="white",
        padding=16,
        font="sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(labelFontSize=12, labelColor=_INK),
    )
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
