"""The report as one self-contained HTML page: segments, the choice of their number, the gates. Aggregates only, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5d6677; --line: #dfe3ea; --paper: #fff;
  --card: #f6f7fa; --bar: #3f6fd8; --good: #1c7c4a; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaf0; --soft: #9aa3b5; --line: #333a48; --paper: #14171e; --card: #1c212b; --bar: #7ea2f5; --good: #63cf97; --bad: #f2847c }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem } h3 { font-size: 1rem; margin: 0 }
p { margin: .4rem 0 } .soft { color: var(--soft) } .wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { color: var(--soft); font-weight: 600 } td.n, th.n { text-align: right; white-space: nowrap }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem }
.bar { height: .45rem; border-radius: .3rem; background: var(--line); margin: .5rem 0 }
.bar i { display: block; height: 100%; border-radius: .3rem; background: var(--bar) }
dl { display: grid; grid-template-columns: auto 1fr; gap: .15rem .9rem; margin: .5rem 0 0 } dt { color: var(--soft) } dd { margin: 0 }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 } code { font: .9em ui-monospace, monospace }
"""


def html(report: Mapping[str, Any]) -> str:
    """The page of a full report.

    >>> html.__doc__.startswith("The page")
    True
    """
    title = f"Segments of {report['source']}, recipe {report['recipe']}"
    parts = [_head(report, title), _segments(report), _comparison(report), _choice(report), _gates(report)]
    if "published" in report:
        parts.append(_published(report["published"]))
    parts.append(_data(report))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _head(report: Mapping[str, Any], title: str) -> str:
    verdict = (
        '<span class="good">may be published</span>'
        if report["publishable"]
        else '<span class="bad">must not be published: a gate does not hold</span>'
    )
    window = report["window"]
    return (
        f"<h1>{escape(title)}</h1>"
        f'<p class="soft">Model <code>{escape(report["model_id"])}</code>, trained {escape(report["trained_at"])} on orders from '
        f"{escape(window['from'][:10])} to {escape(window['until'][:10])}: {report['rows']:,} customers with orders, "
        f"{report['prospects']:,} without. {verdict}</p>"
    )


def _segments(report: Mapping[str, Any]) -> str:
    cards = []
    for segment in report["segments"]:
        top = "".join(
            f"<dt>{escape(_label(report, name))}</dt><dd>{escape(_shares(values))}</dd>"
            for name, values in segment["top"].items()
        )
        cards.append(
            f'<div class="card"><h3>{escape(segment["name"])} <span class="soft">{escape(segment["id"])}</span></h3>'
            f'<div class="bar"><i style="width:{segment["share"]:.1%}"></i></div>'
            f"<p>{segment['size']:,} customers, {segment['share']:.1%}; {segment['revenue_share']:.1%} of revenue</p><dl>{top}</dl></div>"
        )
    return f'<h2>Segments</h2><div class="cards">{"".join(cards)}</div>'


def _shares(values: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{top['value']} {top['share']:.0%}" for top in values)


def _comparison(report: Mapping[str, Any]) -> str:
    names = list(report["whole"]["medians"])
    head = ["Segment", *(_label(report, name) for name in names)]
    rows = [[s["name"], *(_number(s["medians"].get(name)) for name in names)] for s in report["segments"]]
    rows.append(["All customers", *(_number(report["whole"]["medians"][name]) for name in names)])
    return f"<h2>Medians</h2>{_table(head, rows, numeric_from=1)}"


def _choice(report: Mapping[str, Any]) -> str:
    choice = report["choice"]
    rows = [
        [
            f"{row['k']}{' (chosen)' if row['k'] == choice['k'] else ''}",
            f"{row['sse']:,.1f}",
            "" if row["stability"] is None else f"{row['stability']:.2f}",
            f"{row['smallest_share']:.1%}",
            "bend of the curve" if row["elbow"] else "",
        ]
        for row in choice["table"]
    ]
    head = ["Segments", "SSE", "Agreement of halves", "Smallest segment", "Elbow (advice only)"]
    variance = ", ".join(f"{value:.1%}" for value in report["explained_variance"])
    return (
        f"<h2>How many segments</h2><p>{escape(choice['reason'][0].upper() + choice['reason'][1:])}.</p>{_table(head, rows, numeric_from=1)}"
        f'<p class="soft">Variance explained by the dimensions: {variance}.</p>'
    )


def _gates(report: Mapping[str, Any]) -> str:
    rows = []
    for gate in report["gates"]:
        kind, verdict = ("good", "holds") if gate["holds"] else ("bad", "does not hold")
        cells = (gate["name"], _number(gate["value"]), _number(gate["threshold"]))
        left = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr>{left}<td class="{kind}">{verdict}</td><td class="soft">{escape(gate["meaning"])}</td></tr>')
    return (
        '<h2>Gates</h2><div class="wide"><table><thead><tr><th>Gate</th><th>Value</th><th>Needs</th><th>Verdict</th><th>Meaning</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _published(numbers: Mapping[str, Any]) -> str:
    if not numbers["available"]:
        return f"<h2>The walk-through as published</h2><p>Not available: {escape(numbers['reason'])}.</p>"
    rows = [[k, f"{value:,.1f}"] for k, value in numbers["sse"].items()]
    sizes = ", ".join(f"{size:,}" for size in numbers["sizes"])
    variance = " + ".join(f"{value:.3f}" for value in numbers["explained_variance"])
    return (
        f"<h2>The walk-through as published</h2><p>{numbers['rows']:,} rows, explained variance {variance}, "
        f"inertia {numbers['inertia']:,.1f} for {numbers['k']} clusters of {sizes}.</p>"
        f'<p class="soft">Differs from the above because {escape("; ".join(numbers["faults"]))}.</p>{_table(["k", "SSE"], rows, numeric_from=1)}'
    )


def _data(report: Mapping[str, Any]) -> str:
    quality = {name: counts for name, counts in report["quality"].items() if name != "unknown_share"}
    rows = [[name, f"{c['rows']:,}", f"{c['kept']:,}", _dropped(c)] for name, c in quality.items()]
    left_out = "".join(
        f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in report["features"]["left_out"].items()
    )
    unknown = ", ".join(f"{name} {share:.1%}" for name, share in report["quality"]["unknown_share"].items() if share)
    return (
        f"<h2>Data</h2>{_table(['Relation', 'Rows', 'Used', 'Remarks'], rows)}"
        + (f"<p>Unknown values: {escape(unknown)}.</p>" if unknown else "")
        + (f"<p>Features left out:</p><ul>{left_out}</ul>" if left_out else "")
    )


def _dropped(counts: Mapping[str, Any]) -> str:
    remarks = [f"{n:,} without usable {column}" for column, n in counts.get("without_usable", {}).items() if n]
    for name in ("unusable_total", "without_usable_order", "orders_without_items"):
        if counts.get(name):
            remarks.append(f"{counts[name]:,} {name.replace('_', ' ')}")
    return "; ".join(remarks)


def _label(report: Mapping[str, Any], name: str) -> str:
    return str(report["features"]["labels"].get(name, name)).capitalize()


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric_from: int = 99) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        side = ' class="n"' if i >= numeric_from else ""
        return f"<{tag}{side}>{escape(text)}</{tag}>"

    top = "".join(cell("th", i, text) for i, text in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
