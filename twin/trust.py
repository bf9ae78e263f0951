"""Modes per step, and trust: what a step may do, and why it may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from twin.configuration.models import Mode
from twin.snapshot import Snapshot

FAILED_WRITE: Final = "write"
"""The doubt that only a person takes back."""


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A step may now do more or less than before."""

    time: int
    step: str
    mode: Mode
    """The mode in effect."""
    reason: str


class Trust:
    """The mode that people set per step, and the doubts that put it back to shadow.

    A doubt from the data (an input missing, a silent gauge, extrapolating) goes when its cause
    goes. A doubt from a failed write stays until a person sets the mode again. A gauge that must
    not be followed bars a step from `twin` only: advice goes on from what was known before, and a
    person looks at it.
    """

    def __init__(self, modes: Mapping[str, Mode]) -> None:
        self._configured = dict(modes)
        self._set = dict(modes)
        self._doubts: dict[str, dict[str, tuple[str, tuple[Mode, ...]]]] = {
            step: {} for step in modes
        }

    def mode(self, step: str) -> Mode:
        """The mode in effect."""
        barred = any(self._set[step] in bars for _, bars in self._doubts[step].values())
        return "shadow" if barred else self._set[step]

    def wanted(self, step: str) -> Mode:
        """The mode that people set, whatever doubts there are."""
        return self._set[step]

    def reason(self, step: str) -> str:
        """Why a step is kept in shadow; empty if it is not."""
        if self._set[step] == self.mode(step):
            return ""
        return "; ".join(
            reason for reason, bars in self._doubts[step].values() if self._set[step] in bars
        )

    def set_mode(self, step: str, mode: Mode, by: str, time: int) -> list[ModeChange]:
        """A person sets the mode, which takes back the doubt of a failed write and no other."""
        self._doubts[step].pop(FAILED_WRITE, None)
        self._set[step] = mode
        changes = [ModeChange(time, step, mode, f"set by {by}")]
        if self.mode(step) != mode:
            changes.append(ModeChange(time, step, self.mode(step), self.reason(step)))
        return changes

    def doubt(
        self,
        step: str,
        kind: str,
        reason: str,
        time: int,
        bars: tuple[Mode, ...] = ("advisory", "twin"),
    ) -> list[ModeChange]:
        """Raise a doubt that bars a step from modes; an empty reason takes it back."""
        before = self.mode(step)
        if reason:
            self._doubts[step][kind] = reason, bars
        else:
            self._doubts[step].pop(kind, None)
        after = self.mode(step)
        if before == after:
            return []
        return [ModeChange(time, step, after, reason or f"no longer {kind}")]

    def snapshot(self) -> Snapshot:
        """What people set, and what was doubted."""
        return {
            "configured": dict(self._configured),
            "set": dict(self._set),
            "doubts": {
                step: {kind: [reason, list(bars)] for kind, (reason, bars) in doubts.items()}
                for step, doubts in self._doubts.items()
            },
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave, except modes that the configuration has changed since."""
        for step, mode in self._configured.items():
            if state["configured"].get(step) == mode:
                self._set[step] = state["set"][step]
            self._doubts[step] = {
                kind: (reason, tuple(bars))
                for kind, (reason, bars) in state["doubts"].get(step, {}).items()
            }
