"""The report on a training: everything in JSON, the essentials in short, and a page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batch_trainer import flapping, page, segments
from batch_trainer.choose import Choice
from batch_trainer.gates import Gate
from batch_trainer.identity import Identity
from batch_trainer.migration import Migration
from batch_trainer.names import moved
from batch_trainer.newcomers import MARGIN, Learnt
from batch_trainer.population import Census
from batch_trainer.quality import feature_quality
from batch_trainer.warehouse import Warehouse
from schemas.artifact import Artifact
from schemas.features import FEATURES, POPULATIONS, Facts
from schemas.times import rfc3339

if TYPE_CHECKING:
    from batch_trainer.trainer import Training


def content(
    artifact: Artifact,
    model_id: str,
    warehouse: Warehouse,
    *,
    customers: int,
    everyone: Sequence[Facts],
    members: Sequence[Sequence[Facts]],
    left_out: Mapping[str, str],
    choice: Choice,
    identity: Identity,
    moves: Migration | None,
    gates: Sequence[Gate],
    fitted_on: int,
    census: Census | None = None,
    learnt: Learnt,
    seed: int,
    published: Mapping[str, Any] | None,
    calmed: flapping.Estimate,
    mapped: Mapping[str, Any],
) -> dict[str, Any]:
    """The full report, ready for JSON."""
    spent = [sum(known.spend for known in own) for own in members] if census is None else census.spend.tolist()
    revenue = sum(spent)
    described = [
        {
            "id": segment.id,
            "name": segment.name,
            "size": segment.size,
            "share": segment.share,
            "revenue_share": own / revenue if revenue else 0.0,
            "medians": segment.medians,
            "top": {name: [{"value": v, "share": s} for v, s in top] for name, top in segment.top.items()},
            "carried_on": segment.id in identity.names,
            "overlap_with_before": identity.overlap.get(segment.id),
            "traits": segment.traits,
            "name_moved": list(moved(segment.named_for, segment.traits)),
            "split_of": list(segment.split_of),
            "merged_from": list(segment.merged_from),
        }
        for segment, own in zip(artifact.segments, spent, strict=True)
    ]
    for segment in described:
        segment["typical"] = page.typical(segment)
    found: dict[str, Any] = {
        "model_id": model_id,
        "recipe": artifact.recipe,
        "spec_hash": artifact.spec_hash,
        "trained_at": artifact.trained_at,
        "source": warehouse.name,
        "warehouse": warehouse.url,
        "window": {"from": rfc3339(warehouse.data_from), "until": rfc3339(warehouse.last_order)},
        "data_until": rfc3339(warehouse.data_until),
        "customers": customers,
        "rows": artifact.rows,
        "prospects": customers - artifact.rows,
        "population": POPULATIONS[artifact.spec.population]._asdict(),
        "fitted_on": fitted_on,
        "sse_of_all": None if census is None else census.sse,
        "seed": seed,
        "quality": warehouse.quality,
        "features": {
            "distance": [{"feature": c.feature, "transform": c.transform} for c in artifact.spec.columns],
            "profile": list(artifact.spec.profile),
            "labels": {name: FEATURES[name].label for name in _used(artifact)},
            "left_out": dict(left_out),
            "quality": feature_quality(artifact.spec, everyone),
        },
        "explained_variance": list(artifact.explained_variance),
        "k": choice.k,
        "choice": msgspec.to_builtins(choice),
        "sse": {str(row.k): row.sse for row in choice.table},
        "whole": {"medians": segments.medians(artifact.spec, everyone), "top": segments.tops(artifact.spec, everyone)},
        "hysteresis": flapping.document(calmed),
        "segments": described,
        "map": mapped,
        "newcomers": _newcomers(learnt),
        "identity": msgspec.to_builtins(identity),
        "migration": None if moves is None else msgspec.to_builtins(moves) | {"share": moves.share},
        "gates": [msgspec.to_builtins(gate) | {"verdict": gate.verdict} for gate in gates],
        "publishable": all(gate.verdict != "fails" for gate in gates),
        "libraries": artifact.libraries,
    }
    if published is not None:
        found["published"] = dict(published)
    return found


def _newcomers(learnt: Learnt) -> dict[str, Any]:
    """Whether newcomers are guessed at, with the evidence; the weights are the artifact's business."""
    found = learnt.newcomers
    return {
        "speaks": found.speaks,
        "reason": found.reason,
        "margin": MARGIN,
        "traits": [term.feature for term in found.terms],
        "evidence": msgspec.to_builtins(found.evidence),
        "calibration": msgspec.to_builtins(learnt.calibration),
    }


def _used(artifact: Artifact) -> list[str]:
    return list(dict.fromkeys([c.feature for c in artifact.spec.columns] + list(artifact.spec.profile)))


def summary(training: Training, *, published: bool = False, report: Path | None = None) -> dict[str, Any]:
    """The short report that `segstream train` prints."""
    full = training.report
    short = (
        "model_id",
        "k",
        "recipe",
        "source",
        "rows",
        "customers",
        "window",
        "explained_variance",
        "sse",
        "segments",
        "gates",
        "hysteresis",
    )
    return {name: full[name] for name in short} | {
        "left_out": full["features"]["left_out"],
        "choice": {"stable": training.choice.stable, "reason": training.choice.reason},
        "newcomers": {name: full["newcomers"][name] for name in ("speaks", "reason", "evidence")},
        "published": published,
        "report": None if report is None else str(report),
    }


def write_report(training: Training, directory: Path) -> Path:
    """Write report.json, report.html and its pictures into a directory (made if need be); returns the path of the page."""
    directory.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(training.report), indent=2)
    (directory / "report.json").write_bytes(encoded + b"\n")
    path = directory / "report.html"
    drawn = page.pictures(training.report)
    path.write_text(page.html(training.report, drawn), encoding="utf-8")
    for name, kinds in drawn.items():
        from batch_trainer import charts

        charts.write(kinds["light"], directory / f"{name}.svg")
        charts.write(kinds["light"], directory / f"{name}.png")
    return path
