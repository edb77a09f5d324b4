"""Alerts and their lives: what belongs together is one alert, that names its cause; opened, escalated, resolved.

A cause is a feature that has moved, is not known or holds new labels. Everything else about customers (mix, distance, reconstruction,
flips) follows from causes, and joins the alert of one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from stream_app.drift.detectors import Finding, Thresholds

CAUSES: Final = ("nulls", "unseen", "feature", "relation")
"""In the order in which they explain each other."""
CONSEQUENCES: Final = ("segment_mix", "log_distance", "reconstruction", "flips")
OF_THE_MODEL: Final = ("unseen", "feature", "relation", *CONSEQUENCES)
"""What is held against a model's training data; empty fields and unusable messages are no model's."""
JOIN: Final = 2
"""Windows within which what is found belongs to an alert that was opened before."""
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "total": ("spend",),
    "products": ("items", "brand", "category", "categories"),
    "products.brand": ("brand",),
    "products.category": ("category", "categories"),
}
"""Field of a message -> the facts that are counted from it; a trait is its own."""
Pace = Literal["window", "wide", "long", "hour"]


class Incident(msgspec.Struct, kw_only=True):
    """An alert that is open."""

    alert_id: str
    model_id: str
    level: Literal["warning", "drift"]
    lead: Finding
    findings: dict[str, Finding]
    """By key, as last seen."""
    first_seen: int
    pace: Pace
    windows: int = 0
    """Windows of its pace in a row that show it."""
    age: int = 0
    """Windows since it was opened."""
    clean: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell about an alert, as it is now."""

    status: Literal["opened", "escalated", "resolved"]
    incident: Incident
    successor: str = ""
    """Resolved because this model took over."""


class Incidents(msgspec.Struct, kw_only=True):
    """The alerts that are open, and until when (event time, microseconds) a signal that was resolved stays quiet."""

    open: list[Incident] = []
    quiet: dict[str, int] = {}

    def note(
        self,
        findings: Sequence[Finding],
        *,
        where: str,
        model_id: str,
        needs: Mapping[str, tuple[str, ...]],
        first_seen: int,
        now: int,
        pace: Pace,
    ) -> list[Step]:
        """Take in what a window shows; `where` identifies it. Changes this in place."""
        steps: list[Step] = []
        for group in _groups(findings):
            known, new = [], []
            for finding in group:
                holder = next((i for i in self.open if finding.key in i.findings), None)
                if holder is not None:
                    holder.findings[finding.key] = finding
                    known.append(holder)
                else:
                    new.append(finding)
            if not new:
                continue
            home = next(iter(known), None) or self._home(new, needs)
            strangers = [f for f in new if home is not None and not self._belongs(home, f, needs)]
            joining = [f for f in new if f not in strangers]
            if home is not None and joining:
                steps += _join(home, joining, needs)
            for lot in [strangers] if home is not None else [new]:
                if lot and (opened := self._opened(lot, where, model_id, needs, first_seen, now, pace)) is not None:
                    steps.append(opened)
        return [*steps, *_louder(self.open, needs)]

    def settle(
        self,
        still: Iterable[str],
        pace: Pace,
        now: int,
        cooldown: int,
        limits: Thresholds,
        needs: Mapping[str, tuple[str, ...]],
    ) -> list[Step]:
        """A window of this pace is over; `still` are the keys that it shows, if only weakly."""
        shown, steps = set(still), []
        for incident in list(self.open):
            if incident.pace != pace:
                continue
            incident.age += 1
            if shown.isdisjoint(incident.findings):
                incident.clean, incident.windows = incident.clean + 1, 0
                if incident.clean >= limits.clean:
                    self.open.remove(incident)
                    self.quiet[incident.lead.key] = now + cooldown
                    steps.append(Step(status="resolved", incident=incident))
            else:
                incident.clean, incident.windows = 0, incident.windows + 1
        self.quiet = {key: until for key, until in self.quiet.items() if until > now}
        return [*steps, *_louder(self.open, needs, limits.clean)]

    def supersede(self, successor: str) -> list[Step]:
        """Another model expects something else of customers: what was found of them is over, and what goes on is told anew."""
        over = [i for i in self.open if i.lead.signal in OF_THE_MODEL]
        self.open = [i for i in self.open if i.lead.signal not in OF_THE_MODEL]
        return [Step(status="resolved", incident=incident, successor=successor) for incident in over]

    def _home(self, new: Sequence[Finding], needs: Mapping[str, tuple[str, ...]]) -> Incident | None:
        """The open alert to which findings belong that none has yet."""
        return next((i for i in reversed(self.open) if any(self._belongs(i, f, needs) for f in new)), None)

    def _belongs(self, incident: Incident, finding: Finding, needs: Mapping[str, tuple[str, ...]]) -> bool:
        about_customers = incident.lead.signal in (*CAUSES, *CONSEQUENCES)
        if finding.signal in CONSEQUENCES:
            return about_customers
        if finding.signal in CAUSES:
            return about_customers and (incident.age <= JOIN or related(incident.lead, finding, needs))
        return False

    def _opened(
        self,
        lot: Sequence[Finding],
        where: str,
        model_id: str,
        needs: Mapping[str, tuple[str, ...]],
        first_seen: int,
        now: int,
        pace: Pace,
    ) -> Step | None:
        lead = leading(lot)
        found = level(lot, needs)
        if found == "warning" and now < self.quiet.get(lead.key, 0):
            return None
        alert_id = hashlib.sha256(f"{model_id}:{lead.key}:{where}".encode()).hexdigest()[:16]
        incident = Incident(
            alert_id=alert_id, model_id=model_id, level=found, lead=lead, findings={f.key: f for f in lot},
            first_seen=first_seen, pace=pace,
        )  # fmt: skip
        self.open.append(incident)
        return Step(status="opened", incident=_copy(incident))


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Everything about customers together; each kind of trouble with the pipeline by itself."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        about_customers = finding.signal in (*CAUSES, *CONSEQUENCES)
        groups.setdefault("" if about_customers else finding.signal, []).append(finding)
    return list(groups.values())


def leading(findings: Sequence[Finding]) -> Finding:
    """The one that explains the others: nulls and new labels before features, features before what follows from them."""
    order = {signal: i for i, signal in enumerate((*CAUSES, *CONSEQUENCES))}
    return min(findings, key=lambda f: (order.get(f.signal, 0), -f.likely, f.key))


def related(a: Finding, b: Finding, needs: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether both are computed from the same facts."""

    def of(name: str) -> set[str]:
        return set(FIELDS.get(name, ())) | set(needs.get(name, (name,)))

    return bool(of(a.feature) & of(b.feature))


def level(findings: Sequence[Finding], needs: Mapping[str, tuple[str, ...]]) -> Literal["warning", "drift"]:
    """Drift: one signal that is drastic, or two signals that are not the same thing twice."""
    if any(f.drastic for f in findings):
        return "drift"
    lead = leading(findings)
    others = [f for f in findings if f is not lead and not (f.feature and lead.feature and related(f, lead, needs))]
    return "drift" if others else "warning"


def _join(home: Incident, joining: Sequence[Finding], needs: Mapping[str, tuple[str, ...]]) -> list[Step]:
    stood_alone = not _beside(home, needs)
    for finding in joining:
        home.findings[finding.key] = finding
    lead = leading([*joining, home.lead])
    # A relation is told of the first few events that show it: more of them may name its other side.
    if lead is not home.lead and (home.lead.signal not in CAUSES or home.lead.signal == "relation"):
        home.lead = lead  # what was seen first follows from this
        return [Step(status="escalated", incident=_copy(home))]
    # One feature alone is more likely broken; several are other customers, whom another training answers.
    if home.lead.signal == "feature" and home.level == "drift" and stood_alone and _beside(home, needs):
        return [Step(status="escalated", incident=_copy(home))]
    return []


def _beside(incident: Incident, needs: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a feature has moved that is not computed from the same facts as the leading one."""
    return any(f.signal == "feature" and not related(f, incident.lead, needs) for f in incident.findings.values())


def _louder(open_ones: Sequence[Incident], needs: Mapping[str, tuple[str, ...]], windows: int = 0) -> list[Step]:
    """Warnings that have become drift: by what joined them, or because they go on."""
    steps = []
    for incident in open_ones:
        lasting = windows and incident.windows >= windows
        if incident.level == "warning" and (lasting or level([*incident.findings.values()], needs) == "drift"):
            incident.level = "drift"
            steps.append(Step(status="escalated", incident=_copy(incident)))
    return steps


def _copy(incident: Incident) -> Incident:
    return msgspec.structs.replace(incident, findings=dict(incident.findings))
