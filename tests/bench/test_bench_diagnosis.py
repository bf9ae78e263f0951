"""Gauges that go wrong under a twin that controls the line: named when, followed how far?

Prints, per fault, in how many seeds the right gauge was named within 60 m, whether another was, and
the true loading's deviation as a ratio to the healthy run of the same seed; then false alarms on
healthy lines and on lines whose process changes. `SEEDS=20` runs as many; `METRES=500` makes the
healthy runs longer.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from joblib import Parallel, delayed

from simulators.scenario import GaugeAction, Scenario
from tests.in_process import ROOT, LineInProcess
from twin.alarms import Alarm

pytestmark = pytest.mark.bench

SEEDS = range(31, 31 + int(os.environ.get("SEEDS", "2")))
METRES = float(os.environ.get("METRES", "110"))
ONSET = 40.0
WITHIN = 60.0
FAULTS = {
    "drift of 1 %/h": ("mass_loading", "drift", 1.8, 0.0),
    "drift of -1 %/h": ("mass_loading", "drift", -1.8, 0.0),
    "bias of 5 %": ("mass_loading", "bias", 9.0, 0.0),
    "bias of -5 %": ("mass_loading", "bias", -9.0, 0.0),
    "frozen": ("mass_loading", "freeze", 0.0, 0.0),
    "spikes, loading": ("mass_loading", "spikes", 40.0, 0.03),
    "spikes, wet": ("wet_thickness", "spikes", 40.0, 0.03),
    "spikes, dry": ("dry_thickness", "spikes", 25.0, 0.03),
}
PROCESS = (
    "slurry-solids-step",
    "pump-drift",
    "calender-gap-drift",
    "dryer-zone-failure",
    "speed-changes",
    "start-up",
    "roll-change-and-splice",
    "viscosity-ageing",
)


@dataclass(frozen=True)
class Seen:
    """What came of one run."""

    deviation: float
    """Root mean square of true loading less its target from the onset on, g/m^2."""
    alarms: list[tuple[str, float]]
    """Suspects, and where the coater was then, m."""


def run(scenario: Scenario | str, seed: int, metres: float | None) -> Seen:
    line = LineInProcess(scenario, seed, metres)
    line.run(5.0)
    loading = line.line.truth().segments["mass_loading"][int(2 * ONSET) :].astype(np.float64)
    found = [e for e in line.events if isinstance(e, Alarm) and e.source == "diagnosis"]
    raised = [e for e in found if e.state == "unacknowledged" and e.changed == e.time]
    where = line.core.tracker.locate("coater", "head", np.array([e.time for e in raised]))
    alarms = list(zip((e.suspect for e in raised), where.tolist(), strict=True))
    return Seen(float(np.sqrt(np.nanmean((loading - 180.0) ** 2))), alarms)


def faulty(name: str) -> Scenario:
    gauge, fault, amount, probability = FAULTS[name]
    action = {"at": {"metre": ONSET}, "do": "gauge", "gauge": gauge, "fault": fault}
    action |= {"amount": amount, "probability": probability}
    return Scenario(name=name, actions=(GaugeAction.model_validate(action),))


def runs(scenario: Scenario | str, metres: float | None) -> list[Seen]:
    work = (delayed(run)(scenario, seed, metres) for seed in SEEDS)
    return list(Parallel(n_jobs=int(os.environ.get("JOBS", "1")))(work))


@pytest.fixture(scope="module")
def healthy() -> list[Seen]:
    assert (ROOT / "config").is_dir()
    return runs(Scenario(name="healthy"), METRES)


def test_healthy_lines(healthy: list[Seen]) -> None:
    false = sum(len(seen.alarms) for seen in healthy)
    sys.stdout.write(f"\nhealthy: {false} alarms in {METRES * len(healthy):.0f} m\n")
    for seen in healthy:
        sys.stdout.write(f"  {seen.deviation:.3f} g/m^2 {seen.alarms}\n")


@pytest.mark.parametrize("name", FAULTS)
def test_gauges(name: str, healthy: list[Seen]) -> None:
    suspect = f"gauges.{FAULTS[name][0]}"
    found = runs(faulty(name), ONSET + WITHIN + 12.0)
    delays = [
        min((m - ONSET for who, m in s.alarms if who == suspect), default=np.inf) for s in found
    ]
    wrong = sum(any(who != suspect for who, _ in seen.alarms) for seen in found)
    ratio = [s.deviation / h.deviation for s, h in zip(found, healthy, strict=True)]
    named = sum(0.0 <= delay <= WITHIN for delay in delays)
    sys.stdout.write(
        f"\n{name}: named within {WITHIN:.0f} m in {named} of {len(found)}, after "
        f"{np.median(delays):.1f} m in the median; another gauge in {wrong}; deviation of the true "
        f"loading {np.median(ratio):.2f} (at most {max(ratio):.2f}) times that of the healthy run\n"
    )


@pytest.mark.parametrize("name", PROCESS)
def test_processes(name: str) -> None:
    found = runs(name, None)
    sys.stdout.write(f"\n{name}: {[seen.alarms for seen in found]}\n")
