"""Every gauge reading lies on the segment on which it was truly taken."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.scenario import Scenario, parse_scenario
from tests.in_process import EPOCH, LineInProcess, line_configuration
from twin.samples import Floats

GAUGES = {
    "wet_thickness": ("coater", "wet_gauge"),
    "web_temperature": ("coater", "dryer_exit"),
    "mass_loading": ("coater", "beta"),
    "dry_thickness": ("coater", "caliper"),
    "calendered_thickness": ("calender", "exit_gauge"),
}
CUTS = """
name: cuts
metres: 60
plant:
  coater: {roll_length_m: 20}
actions:
  - {at: {metre: 14}, do: splice}
  - {at: {metre: 25}, do: roll_change}
  - {at: {metre: 38}, do: splice}
  - {at: {time: 10 min}, do: cut_out, metres: 2.3}
  - {at: {time: 17 min}, do: cut_out, metres: 1}
"""


def errors(run: LineInProcess) -> dict[str, Floats]:
    """Per gauge located less true position of every reading on coated web, m."""
    readings = run.line.truth().readings
    tracker = run.core.tracker
    found = {}
    for gauge, (web, station) in GAUGES.items():
        here = (readings["gauge"] == gauge) & np.isfinite(readings["position"].astype(float))
        here &= readings["time"].astype(np.int64) <= tracker.frontier
        time = readings["time"][here].astype(np.int64)
        truth = readings["position"][here].astype(float)
        assert len(time) > 100
        located = tracker.locate(web, station, time)
        # where a web ends the twin may be some centimetres off, and see no web at all
        lost = ~np.isfinite(located)
        assert lost.mean() < 0.02
        found[gauge] = (located - truth)[~lost]
    return found


def report(title: str, found: dict[str, Floats]) -> None:
    worst = ", ".join(f"{gauge} {np.abs(e).max():.3f} m" for gauge, e in found.items())
    print(f"{title}: largest error of {worst}")  # noqa: T201  # the figures of the manual


@pytest.fixture(scope="module")
def speeds() -> LineInProcess:
    """From 0.5 to 8 m/min with a stop of 60 s."""
    run = LineInProcess("speed-changes", metres=150, accept=False)
    run.run()
    return run


def test_speed_changes_and_a_stop(speeds: LineInProcess) -> None:
    """Before and after the coil reversal."""
    run = speeds
    found = errors(run)
    report("speed changes", found)
    for gauge, error in found.items():
        assert np.abs(error).max() < run.configuration.segment, gauge


def test_readings_count_for_the_segment_they_were_taken_on(speeds: LineInProcess) -> None:
    """What the comparator calls the measurement of a segment is the mean of its true readings."""
    run = speeds
    readings = run.line.truth().readings
    for gauge, name in (
        ("mass_loading", "coating.mass_loading"),
        ("dry_thickness", "drying.dry_thickness"),
        ("calendered_thickness", "calendering.calendered_thickness"),
    ):
        here = readings["gauge"] == gauge
        position = readings["position"][here].astype(float)
        value = readings["value"][here].astype(float)
        scale = 1e-3 if gauge == "mass_loading" else 1e-6
        checked = 0
        for comparison in run.comparisons[name]:
            for segment, measured in zip(
                comparison.segments.tolist(), comparison.measured.tolist(), strict=True
            ):
                low, high = 0.5 * (segment - 1), 0.5 * (segment + 2)
                near = value[(position >= low) & (position < high)] * scale
                assert near.min() - 1e-12 <= measured <= near.max() + 1e-12
                checked += 1
        assert checked > 200


def test_splices_roll_changes_and_cut_outs() -> None:
    run = LineInProcess(parse_scenario(CUTS), accept=False)
    run.run()
    found = errors(run)
    report("splices, roll changes, cut-outs", found)
    for gauge, error in found.items():
        # the counter tells a cut up to a second after it was made: two readings may fall in between
        beyond = np.abs(error) >= run.configuration.segment
        assert beyond.sum() <= (4 if gauge == "calendered_thickness" else 0), gauge
    text = " ".join(repr(event) for event in run.events)
    assert text.count("kind='cut out'") == 2
    assert text.count("kind='splice'") == 2


def by_speed(scenario: Scenario | str, metres: float) -> LineInProcess:
    webs = line_configuration().model_dump()["webs"]
    for web in ("coater", "calender"):
        stations = {
            name: f"{place} m" if isinstance(place, float) else [f"{edge} m" for edge in place]
            for name, place in webs[web]["stations"].items()
        }
        webs[web].update(encoder=None, speed=f"{web}.line_speed", stations=stations, interval="1 s")
    line = line_configuration(webs=webs)
    return LineInProcess(scenario, metres=metres, line=line, accept=False)


@pytest.mark.long
def test_speed_instead_of_an_encoder() -> None:
    """A displayed speed is integrated; its noise and sampling make the positions drift."""
    run = by_speed("nominal", 100)
    run.run()
    found = errors(run)
    report("speed instead of an encoder", found)
    assert np.abs(found["mass_loading"]).max() < 2.0
    assert run.line.now_ns > EPOCH


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
def test_other_plants_stretch_the_foil_otherwise(seed: int) -> None:
    run = LineInProcess("nominal", seed=seed, metres=60, accept=False)
    run.run()
    found = errors(run)
    report(f"seed {seed}", found)
    assert np.abs(found["calendered_thickness"]).max() < run.configuration.segment
