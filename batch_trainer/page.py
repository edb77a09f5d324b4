"""The report as one HTML file that needs nothing else: light and dark, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --soft: color-mix(in srgb, currentColor 62%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.lead { color: var(--soft); margin-top: 0 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; break-inside: avoid }
.card h3 { margin: 0; font-size: 1rem } .card p { margin: .2rem 0 .6rem; color: var(--soft) }
.bar { height: .4rem; border-radius: .2rem; background: var(--line) } .bar i { display: block; height: 100%; border-radius: .2rem; background: #3b7dd8 }
dl { display: grid; grid-template-columns: auto 1fr; gap: .15rem .8rem; margin: .7rem 0 0; font-size: .9rem }
dt { color: var(--soft) } dd { margin: 0; text-align: right }
.bad { color: #c0392b; font-weight: 600 }
"""


def page(report: dict[str, Any]) -> str:
    """The report as HTML."""
    parts = [
        f"<h1>{report['k']} customer segments</h1>",
        f'<p class="lead">Model {escape(report["model_id"])}, recipe {escape(report["recipe"])}: {report["rows"]:,} customers of '
        f"{escape(report['source']['name'])} with orders until {escape(report['source']['data_until'][:10])}; "
        f"{report['prospects']:,} more are prospects without orders.</p>",
        '<h2>Segments</h2><div class="cards">',
        *(_card(segment, report["overall"]) for segment in report["segments"]),
        "</div>",
        f"<h2>Why {report['k']} segments</h2><p>{escape(report['choice']['reason'])}.</p>",
        _choice(report["choice"]),
        "<h2>Gates</h2>",
        _table(
            ("gate", "needs at least", "found", ""),
            [
                (
                    g["meaning"],
                    _number(g["threshold"]),
                    _number(g["value"]),
                    "holds" if g["holds"] else '<b class="bad">does not hold</b>',
                )
                for g in report["gates"]
            ],
        ),
        "<h2>How to read this</h2><p>Medians stand beside those of all customers. A share is of the segment's customers. "
        f"The distance is measured by {escape(', '.join(report['features']))}; the other columns describe.</p>",
    ]
    if report["left_out"]:
        told = [(escape(name), escape(reason)) for name, reason in report["left_out"].items()]
        parts += ["<h2>Left out</h2>", _table(("feature", "why"), told)]
    parts += [
        "<h2>The data</h2>",
        _table(("", ""), [(escape(str(k)), escape(str(v))) for k, v in report["quality"].items()]),
    ]
    if "published" in report and "sse" in report["published"]:
        parts += ["<h2>The walk-through as published</h2>", _published(report["published"])]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Segments {escape(report['model_id'])}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _card(segment: dict[str, Any], overall: dict[str, float]) -> str:
    revenue = segment["revenue_share"]
    money = "" if revenue is None else f", {revenue:.0%} of revenue"
    rows = [
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{_number(value)} <small>(all: {_number(overall[name])})</small></dd>"
        for name, value in segment["medians"].items()
    ]
    rows += [
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(', '.join(f'{value} {share:.0%}' for value, share in values))}</dd>"
        for name, values in segment["top"].items()
    ]
    return (
        f'<div class="card"><h3>{escape(segment["name"])}</h3><p>{escape(segment["id"])}: {segment["size"]:,} customers, '
        f'{segment["share"]:.1%}{money}</p><div class="bar"><i style="width:{segment["share"]:.1%}"></i></div><dl>{"".join(rows)}</dl></div>'
    )


def _choice(choice: dict[str, Any]) -> str:
    rows = [
        (
            f"<b>{row['k']}</b>" if row["k"] == choice["k"] else str(row["k"]),
            _number(row["sse"]),
            f"{row['smallest_share']:.1%}",
            "" if row["stability"] is None else f"{row['stability']:.2f}",
            "bend" if row["elbow"] else "",
        )
        for row in choice["table"]
    ]
    return _table(("segments", "SSE", "smallest", "agreement of halves", "elbow"), rows)


def _published(found: dict[str, Any]) -> str:
    sse = _table(("segments", "SSE"), [(k, _number(v)) for k, v in found["sse"].items()])
    return (
        f"<p>{found['rows']:,} rows; the user id is among its features and item rows are counted for orders, so these figures are for "
        f"comparison only. Five segments: inertia {_number(found['inertia'])}, sizes {', '.join(f'{n:,}' for n in found['sizes'])}.</p>{sse}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.2f}"
