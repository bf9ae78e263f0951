"""A gauge goes wrong: it is named, not followed, and taken back when it is well."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from simulators.scenario import parse_scenario
from tests.in_process import EPOCH, LineInProcess, line_configuration
from tests.twin.streams import Followed, cut, end_of, joined
from twin.alarms import Alarm
from twin.samples import SampleBatch

SEED = 7
METRES = 44.0
S = 1_000_000_000
HEALTHY = "name: healthy"
BIASED = """
name: the beta gauge reads 5 % more from metre 28 on
actions:
  - {at: {metre: 28}, do: gauge, gauge: mass_loading, fault: bias, amount: 9}
"""
FROZEN = """
name: the beta gauge is frozen for a while
actions:
  - {at: {metre: 24}, do: gauge, gauge: mass_loading, fault: freeze}
  - {at: {metre: 36}, do: gauge, gauge: mass_loading, fault: none}
"""

THINNER = """
name: the next batch is thinner than the mixer says
actions:
  - {at: {metre: 2}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
"""


@cache
def ran(scenario: str) -> LineInProcess:
    line = LineInProcess(parse_scenario(scenario), SEED, METRES)
    line.run(2.0)
    return line


def alarms(line: LineInProcess) -> list[Alarm]:
    found = [event for event in line.events if isinstance(event, Alarm)]
    return [alarm for alarm in found if alarm.source == "diagnosis"]


def deviation(line: LineInProcess) -> float:
    """Of the true loading from its target, root mean square once the gauge has begun to read."""
    loading = line.line.truth().segments["mass_loading"][40:].astype(np.float64)
    return float(np.sqrt(np.nanmean((loading - 180.0) ** 2)))


def metre(line: LineInProcess, time: int) -> float:
    return float(line.core.tracker.locate("coater", "head", np.array([time]))[0])


def test_a_healthy_line_raises_no_alarm() -> None:
    assert alarms(ran(HEALTHY)) == []


def test_a_biased_gauge_is_named_at_once_and_not_followed() -> None:
    line = ran(BIASED)
    (alarm,) = alarms(line)
    assert (alarm.kind, alarm.suspect, alarm.priority) == ("biased", "gauges.mass_loading", "high")
    assert 28.0 <= metre(line, alarm.time) <= 34.0
    assert "g/m^2" in alarm.evidence[0]
    assert "gauges.wet_thickness" in alarm.evidence[-1]
    assert deviation(line) <= 1.5 * deviation(ran(HEALTHY))
    table, late = line.core.table, np.arange(60, 66)
    assert np.isnan(table.value("coating.mass_loading.measured", late)).all()
    assert np.isfinite(table.value("coating.mass_loading.read", late)).all()
    assert np.isnan(table.value("drying.dry_porosity.measured", late)).all()


def test_a_frozen_gauge_is_named_and_taken_back_when_it_is_well() -> None:
    line = ran(FROZEN)
    raised, *later = alarms(line)
    assert (raised.kind, raised.suspect) == ("frozen", "gauges.mass_loading")
    assert metre(line, raised.time) <= 25.0
    assert [alarm.state for alarm in later] == ["returned"]
    assert line.core.diagnosis.gauges["coating.mass_loading"].followed
    assert deviation(line) <= 1.5 * deviation(ran(HEALTHY))


def test_a_batch_from_before_its_time_breaks_no_gauge() -> None:
    """The batch is drawn, but not yet on the web, when the twin begins to follow the line."""
    line = LineInProcess(parse_scenario(THINNER), SEED, METRES)
    missed: list[SampleBatch] = []
    for batch in line.recorded(2.0):
        if line.line.elapsed_s < 60.0:
            missed.append(batch)
            continue
        line.deliver(SampleBatch.concatenate([latest(missed), batch]) if missed else batch)
        missed.clear()
    assert alarms(line) == []
    loading = line.line.truth().segments["mass_loading"][60:].astype(np.float64)
    assert np.abs(loading / 180.0 - 1.0).max() < 0.02


def latest(batches: list[SampleBatch]) -> SampleBatch:
    """Of each tag the newest value: what a server tells whoever subscribes."""
    every = SampleBatch.concatenate(batches)
    newest = np.zeros(len(every), np.bool_)
    newest[list({tag: row for row, tag in enumerate(every.tag.tolist())}.values())] = True
    return every.where(newest)


def test_a_gap_that_is_displayed_coarsely_and_scatters_is_not_a_gap_that_moves() -> None:
    """To 1 um, and from segment to segment by half as much: every other row shows another gap."""
    line = LineInProcess(parse_scenario(HEALTHY), SEED, METRES)
    gap, draw = line.core.tags.index("calender.roll_gap"), np.random.default_rng(SEED)
    scatter = 0.5 * draw.standard_normal(10_000)
    for batch in line.recorded(2.0):
        shown = np.round(1e6 * batch.value + scatter[(batch.time - EPOCH) // (10 * S)]) / 1e6
        value = np.where(batch.tag == gap, shown, batch.value)
        line.deliver(SampleBatch(batch.tag, batch.time, value, batch.quality, batch.offline))
    told = line.core.table.value("calendering.roll_gap.told", np.arange(2 * int(METRES)))
    flips = np.abs(np.diff(told[np.isfinite(told)])) > 0.5e-6
    assert flips.sum() > 25
    panel = line.core.diagnosis.snapshot()["webs"]["calender"]["panel"]
    assert panel["count"] > 80
    # advice moves the gap two or three times
    assert len(panel["changes"]) <= 4
    assert alarms(line) == []


def test_a_step_in_twin_falls_to_shadow_one_in_advisory_goes_on_from_what_was_known() -> None:
    line = ran(BIASED)
    trust = line.core.trust
    assert trust.mode("coating") == "advisory"
    trust.set_mode("coating", "twin", "a person", 0)
    assert trust.mode("coating") == "shadow"
    assert "mass_loading" in trust.reason("coating")
    trust.set_mode("coating", "advisory", "a person", 0)


@pytest.mark.long
def test_how_the_stream_is_cut_changes_no_verdict() -> None:
    scenario = parse_scenario(BIASED)
    stream = joined(LineInProcess(scenario, SEED, 34.0, accept=False).recorded())
    one, other = (
        Followed([*cut(stream, range(0, len(stream), step)), end_of(stream)], line_configuration())
        for step in (10**9, 1500)
    )
    assert any("biased" in said for said in one.others)
    one.same_as(other)
