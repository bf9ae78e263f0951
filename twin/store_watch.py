"""What is wrong between connectors and historian, as alarms report it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twin.alarms import Priority, Report
from twin.store import StoreState

FILLING: Final = 0.5
"""How full the spool is when people are told: there is time to mend the historian yet."""
RECENT: Final = 60 * 10**9
"""How long samples that went are an alarm, ns of line time."""


class StoreWatch:
    """Turns the store's figures into reports; its own memory is what had gone when."""

    def __init__(self) -> None:
        self._gone = {"lost": 0, "set aside": 0}
        self._since = dict.fromkeys(self._gone, -RECENT)

    def look(self, state: StoreState, now: int) -> Iterator[Report]:
        """What is wrong, and what is not, at `now` (line time, ns)."""
        yield _report(
            now,
            "not writing",
            "historian",
            state.error is not None,
            f"the historian does not write: {state.error}; samples wait for it",
        )
        yield _report(
            now,
            "not writing",
            "spool",
            state.spool_error is not None,
            f"the spool does not write: {state.spool_error}; samples are in memory only",
        )
        yield _report(
            now,
            "filling",
            "spool",
            state.fill >= FILLING,
            f"the spool is {state.fill:.0%} full, its oldest sample {state.oldest / 60:.0f} min "
            "old; when it is full the oldest go",
        )
        lost = state.dropped + state.damaged
        yield self._going(
            now, "lost", lost, f"{lost} samples are lost: dropped, or in damaged files of the spool"
        )
        yield self._going(
            now,
            "set aside",
            state.refused,
            f"{state.refused} samples are set aside, as the historian refuses them: the reason is "
            "in spool/refused.jsonl",
            "medium",
        )

    def _going(
        self, now: int, kind: str, count: int, evidence: str, priority: Priority = "high"
    ) -> Report:
        if count > self._gone[kind]:
            self._gone[kind], self._since[kind] = count, now
        active = count > 0 and now - self._since[kind] < RECENT
        return _report(now, kind, "samples", active, evidence, priority)


def _report(
    now: int, kind: str, subject: str, active: bool, evidence: str, priority: Priority = "high"
) -> Report:
    return Report(
        now, "store", kind, subject, active, priority, evidence=(evidence,) if active else ()
    )
