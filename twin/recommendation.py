"""Recommendations: what to change, why, what is expected, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from twin.snapshot import Snapshot
from twin.tags import TagTable

State = Literal[
    "proposed", "accepted", "rejected", "superseded", "expired", "written", "verified", "failed"
]
FOLLOWS: Final[Mapping[State, frozenset[State]]] = {
    "proposed": frozenset({"accepted", "rejected", "superseded", "expired"}),
    "accepted": frozenset({"written", "failed", "expired"}),
    "written": frozenset({"verified", "failed"}),
    "rejected": frozenset(),
    "superseded": frozenset(),
    "expired": frozenset(),
    "verified": frozenset(),
    "failed": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One setpoint's change, SI."""

    step: str
    tag: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What a structure parameter is expected to do, SI."""

    step: str
    output: str
    before: float
    after: float
    sigma: float
    """One sigma of a measurement against the expected value."""
    target: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One consistent set of setpoint changes for the steps on one web."""

    id: str
    time: int
    """Event time of the decision, ns."""
    web: str
    changes: tuple[Change, ...]
    effects: tuple[Effect, ...]
    reason: str
    state: State = "proposed"
    by: str = ""
    """Who decided: a person, or `twin` where the mode lets it."""
    note: str = ""
    """Why it was rejected, superseded, or failed."""

    def become(self, state: State, by: str = "", note: str = "") -> Recommendation:
        """The recommendation in its next state.

        Raises:
            ValueError: the state cannot follow the present one.
        """
        if state not in FOLLOWS[self.state]:
            raise ValueError(f"recommendation {self.id} is {self.state} and cannot be {state}")
        return replace(self, state=state, by=by or self.by, note=note or self.note)

    def snapshot(self) -> Snapshot:
        """All of it."""
        return asdict(self)

    @staticmethod
    def restored(state: Snapshot) -> Recommendation:
        """The recommendation that gave this snapshot."""
        changes = tuple(Change(**change) for change in state["changes"])
        effects = tuple(Effect(**effect) for effect in state["effects"])
        return Recommendation(**{**state, "changes": changes, "effects": effects})

    def document(
        self, tags: TagTable, units: Mapping[str, tuple[float, float, str]]
    ) -> dict[str, Any]:
        """As JSON-able values in customary units; `units` has scale, offset and unit by output."""
        changes = []
        for change in self.changes:
            tag = tags[change.tag]
            changes.append(
                {
                    "step": change.step,
                    "setpoint": tag.name,
                    "unit": tag.unit,
                    "from": tag.from_si(change.before),
                    "to": tag.from_si(change.after),
                }
            )
        effects = []
        for effect in self.effects:
            scale, offset, unit = units[f"{effect.step}.{effect.output}"]
            effects.append(
                {
                    "parameter": f"{effect.step}.{effect.output}",
                    "unit": unit,
                    "now": (effect.before - offset) / scale,
                    "expected": (effect.after - offset) / scale,
                    "sigma": effect.sigma / scale,
                    "target": (effect.target - offset) / scale,
                }
            )
        return {
            "schema": "linetwin/recommendation/1",
            "id": self.id,
            "time_ns": self.time,
            "web": self.web,
            "state": self.state,
            "by": self.by,
            "reason": self.reason,
            "note": self.note,
            "changes": changes,
            "expected": effects,
        }
