"""Health: whether the service lives, whether it follows its line, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from twin.configuration.models import Mode
from twin.store_watch import FILLING

if TYPE_CHECKING:
    from twin.service import Service

HUNG: Final = 10.0
"""Seconds without a beat of the loop after which the service is hung."""
STUCK: Final = 120.0
"""Seconds without an answer of the store's thread after which it is stuck: DuckDB and a disk that
is busy may take some, a driver its time-outs."""

Weight = Literal["live", "ready", "note"]
ADVISING: Final[tuple[Mode, ...]] = ("advisory", "twin")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    said: str
    """What was found, a sentence."""
    weight: Weight
    """`live`: a restart is due where it fails. `ready`: the line is not followed, or not kept,
    while it fails. `note`: people should know."""


@dataclass(frozen=True, slots=True)
class Health:
    """All checks of a service."""

    checks: tuple[Check, ...]

    @property
    def live(self) -> bool:
        """Whether it works at all: what a watchdog restarts it for."""
        return all(check.ok for check in self.checks if check.weight == "live")

    @property
    def ready(self) -> bool:
        """Whether it follows its line and keeps what it hears."""
        return all(check.ok for check in self.checks if check.weight != "note")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not live or not ready, and what else people should know."""
        return tuple(f"{check.name}: {check.said}" for check in self.checks if not check.ok)


def examine(service: Service) -> Health:
    """Look at a service; cheap enough for every second, and safe from the loop's thread only."""
    return Health(tuple(_checks(service)))


def _checks(service: Service) -> Iterator[Check]:
    beat, store = service.heartbeat, service.store
    running = service.running
    said = "running" if running else "not started, or at its end"
    yield Check("service", running, said, "ready")
    yield Check("loop", not running or beat.age < HUNG, f"last beat {beat.age:.1f} s ago", "live")
    silence = beat.store_silence
    yield Check(
        "store's thread",
        not running or silence < STUCK,
        f"no answer for {silence:.0f} s" if silence else f"answers in {beat.store_delay:.3f} s",
        "live",
    )
    yield Check("historian", store.error is None, store.error or "takes samples", "ready")
    kept = store.state
    said = f"{kept.fill:.0%} full" if kept.spool_error is None else kept.spool_error
    yield Check("spool", kept.spool_error is None and kept.fill < FILLING, said, "note")
    gone = kept.dropped + kept.damaged
    yield Check("stored samples", not gone, f"{gone} samples lost" if gone else "none lost", "note")
    for source in service.sources:
        state = source.state
        problem = state.error or "not connected yet"
        said = "connected" if state.connected else problem
        yield Check(f"connector {state.name}", state.connected, said, "ready")
    for name, job in service.jobs.states.items():
        yield Check(f"job {name}", job.error is None, job.error or "done when due", "note")
    trust = service.core.trust
    for step in service.core.line.steps:
        if trust.wanted(step) in ADVISING:
            doubt = trust.reason(step)
            yield Check(f"step {step}", not doubt, doubt or trust.mode(step), "note")
