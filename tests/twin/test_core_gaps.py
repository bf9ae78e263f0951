"""Gaps and faults in the stream: what is not known is said to be unknown, the rest goes on."""

from __future__ import annotations

import numpy as np

from tests.in_process import line_configuration
from tests.twin.streams import Followed, busy_stream, cut, end_of
from twin.samples import Bools, SampleBatch

NAMES = list(line_configuration().tags)
S = 1_000_000_000


def followed(stream: SampleBatch) -> Followed:
    return Followed([*cut(stream, range(0, len(stream), 400)), end_of(stream)])


def of(stream: SampleBatch, name: str) -> Bools:
    found: Bools = stream.tag == NAMES.index(name)
    return found


def changed(stream: SampleBatch, **columns: object) -> SampleBatch:
    fields = {name: getattr(stream, name) for name in ("tag", "time", "value", "quality")}
    return SampleBatch(**{**fields, **columns}, offline=stream.offline)  # type: ignore[arg-type]


def test_a_bad_pump_leaves_its_segments_unpredicted() -> None:
    stream = busy_stream()
    start = stream.time[0]
    bad = of(stream, "coater.pump_flow") & (np.abs(stream.time - start - 200 * S) < 30 * S)
    quality = stream.quality.copy()
    quality[bad] = 0x80310000
    found = followed(changed(stream, quality=quality))
    rows = found.rows["coating predicted"]
    unknown = {key for key, row in rows.items() if not np.isfinite(row[:7]).all()}
    assert 0 < len(unknown) < 12
    assert found.core.rejected["bad quality"] == bad.sum()


def test_a_lost_encoder_gives_no_readings_but_loses_no_place() -> None:
    stream = busy_stream()
    start = stream.time[0]
    lost = of(stream, "coater.web_length") & (np.abs(stream.time - start - 200 * S) < 10 * S)
    quality = stream.quality.copy()
    quality[lost] = 0x80310000
    found = followed(changed(stream, quality=quality)).core
    whole = followed(stream).core
    later = np.array([start + 300 * S])
    assert found.tracker.locate("coater", "beta", later) == whole.tracker.locate(
        "coater", "beta", later
    )


def test_an_encoder_set_back_counts_on() -> None:
    stream = busy_stream()
    encoder = of(stream, "coater.web_length") & (stream.time > stream.time[0] + 200 * S)
    value = stream.value.copy()
    value[encoder] -= value[encoder][0]
    found = followed(changed(stream, value=value)).core.tracker
    whole = followed(stream).core.tracker
    later = np.array([stream.time[0] + 300 * S])
    difference = found.locate("coater", "beta", later) - whole.locate("coater", "beta", later)
    assert abs(difference[0]) < 0.15


def test_a_silent_gauge_puts_its_step_into_shadow() -> None:
    stream = busy_stream()
    found = followed(stream.where(~of(stream, "gauges.mass_loading")))
    assert found.core.trust.mode("coating") == "shadow"
    assert "no reading of mass_loading" in found.core.trust.reason("coating")
    assert "coater advice" not in found.rows


def test_started_in_the_middle_of_a_roll() -> None:
    """The calender unwinds a roll whose winding nobody saw: no segments, then the next roll."""
    stream = busy_stream()
    mounted = stream.time[of(stream, "calender.roll_number") & (stream.value == 1)][0]
    found = followed(stream.where(stream.time > mounted + 5 * S))
    text = " ".join(found.others)
    assert "kind='unknown roll'" in text
    assert "kind='roll mounted'" in text
    assert found.rows["calendering.calendered_thickness"]
    assert not any(
        np.isnan(row[1]) for row in found.rows["calendering.calendered_thickness"].values()
    )


def test_spikes_do_not_move_the_advice() -> None:
    stream = busy_stream()
    gauge = np.flatnonzero(of(stream, "gauges.mass_loading"))[::97]
    value = stream.value.copy()
    value[gauge] += 0.5
    spiked, clean = followed(changed(stream, value=value)), followed(stream)
    at = np.array([2**60])
    name = "coating.mass_loading"
    difference = spiked.core.estimators[name].at(at)[0] - clean.core.estimators[name].at(at)[0]
    assert abs(difference[0]) < 2e-3


def test_no_advice_in_transients_nor_before_evidence() -> None:
    stream = busy_stream()
    found = followed(stream)
    advised = [r for r in found.recommendations if r.state == "proposed" and r.web == "coater"]
    first_reading = min(time for _, time in found.rows["coating.mass_loading"])
    assert advised
    assert min(r.time for r in advised) >= first_reading
    tags = found.core.tags
    for recommendation in found.recommendations:
        for change in recommendation.changes:
            setpoints = found.core.line.steps[change.step].setpoints.values()
            (setpoint,) = (s for s in setpoints if s.tag == tags[change.tag].name)
            before, after = (tags[change.tag].from_si(v) for v in (change.before, change.after))
            assert setpoint.limits[0] <= after <= setpoint.limits[1]
            assert setpoint.deadband <= abs(after - before) <= setpoint.max_step * (1 + 1e-9)
