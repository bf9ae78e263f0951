"""The virtual line without network: reproducible, conserving, honest about positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulators.line import Emission, VirtualLine, advance_together
from simulators.runner import run_headless
from simulators.scenario import ScenarioError, load_scenario, parse_scenario

NOMINAL = parse_scenario("name: nominal")
SECOND = 1_000_000_000
SCENARIOS = sorted((Path(__file__).parents[2] / "config" / "scenarios").glob("*.yaml"))


def advanced(line: VirtualLine, seconds: float) -> Emission:
    """Let the line run for some line time."""
    return line.advance(line.now_ns + round(seconds * SECOND))


@pytest.fixture(scope="module")
def finished() -> VirtualLine:
    """A nominal run of 60 m: one whole roll and a partial one, calendered."""
    line = VirtualLine(NOMINAL, seed=1, metres=60.0)
    line.run_out()
    return line


def test_same_seed_gives_the_same_run_however_it_is_advanced() -> None:
    first, second = VirtualLine(NOMINAL, 7), VirtualLine(NOMINAL, 7)
    whole = advanced(first, 400)
    parts = [advanced(second, 0.4) for _ in range(1000)]
    assert [r.value for r in whole.readings] == [r.value for p in parts for r in p.readings]
    assert whole.variables == [v for p in parts for v in p.variables]


def test_lines_that_run_together_are_as_they_are_alone() -> None:
    alone = [VirtualLine(NOMINAL, 7), VirtualLine(NOMINAL, 7)]
    together = [VirtualLine(NOMINAL, 7), VirtualLine(NOMINAL, 7)]
    for lines in (alone, together):
        lines[1].write_setpoint("Dryer.Zone2.Temperature.Setpoint", 135.0)
    sent = [advanced(line, 400) for line in alone]
    both = advance_together(together, 400 * SECOND)
    assert [[r.value for r in e.readings] for e in both] == [
        [r.value for r in e.readings] for e in sent
    ]
    assert both[0].readings != both[1].readings
    with pytest.raises(ValueError, match="only lines of one plant and one seed"):
        advance_together([VirtualLine(NOMINAL, 7), VirtualLine(NOMINAL, 8)], SECOND)


def test_another_seed_gives_another_plant() -> None:
    assert VirtualLine(NOMINAL, 1).nature != VirtualLine(NOMINAL, 2).nature


def test_disturbances_do_not_depend_on_setpoints() -> None:
    """With and without advice the same noise: only what the setpoint does differs."""
    left, right = VirtualLine(NOMINAL, 5), VirtualLine(NOMINAL, 5)
    advanced(left, 300)
    advanced(right, 300)
    right.write_setpoint(
        "Coater.PumpFlow.Setpoint", right.setpoints["Coater.PumpFlow.Setpoint"] * 1.02
    )
    a, b = advanced(left, 600), advanced(right, 600)
    wet = [[r.value for r in e.readings if r.gauge == "wet_thickness"] for e in (a, b)]
    ratio = np.array(wet[1][200:]) / np.array(wet[0][200:])
    assert np.mean(ratio) == pytest.approx(1.02, abs=1e-3)
    assert np.std(ratio) < 1e-3  # gauge noise (0.5 %) cancels; the pump turns faster, though


def test_dry_mass_on_the_web_is_what_the_die_gave(finished: VirtualLine) -> None:
    on_web = finished.web.mass.sum() * finished.web.length * finished.plant.coater.width_m
    coater = finished.coater
    assert on_web + coater.edge_mass == pytest.approx(coater.pumped, rel=1e-9)


def test_healthy_web_is_even_and_dry(finished: VirtualLine) -> None:
    rows = finished.truth().segments
    loading = rows["mass_loading"][10:].astype(float)
    assert loading.std() / loading.mean() < 0.0035
    assert rows["residual_solvent"].max() < 0.005
    porosity, thick = rows["porosity"].astype(float), rows["calendered_thickness"].astype(float)
    density = finished.nature.recipe.skeletal_density
    mass = rows["mass_loading"].astype(float)
    np.testing.assert_allclose(mass * 1e-3, density * (1 - porosity) * thick * 1e-6, rtol=1e-9)


def test_calender_takes_the_last_metre_of_a_roll_first(finished: VirtualLine) -> None:
    rows = finished.truth().segments
    assert len(rows["roll"]) == 120
    for roll in (1, 2):
        times = rows["calendered"][rows["roll"] == roll].astype(np.int64)
        assert times.min() > 0
        assert np.all(np.diff(times) < 0)
    assert rows["calendered"][rows["roll"] == 2].min() > rows["calendered"][rows["roll"] == 1].max()


def test_stretched_encoder_maps_to_the_reversed_roll() -> None:
    """What an outsider can know (encoders, layout) finds the material under the calender gauge."""
    line = VirtualLine(NOMINAL, 3, metres=30.0)
    out = line.run_out()
    published = {name: [v for v in out.variables if v.name == name] for name in line.signals}
    coater = {v.time_ns: v.value for v in published["Coater.WebLength"]}
    calender = published["Calender.WebLength"]
    changes = [v.time_ns for v in published["Coater.RollNumber"] if v.value == 2]
    mounted = [v.time_ns for v in published["Calender.RollNumber"] if v.value == 1]
    outer = coater[changes[0]] - line.plant.layout.rewinder
    stamps = np.array([v.time_ns for v in calender], float)
    lengths = np.array([v.value for v in calender])
    start = dict(zip(stamps, lengths, strict=True))[float(mounted[0])]
    seen = [
        r for r in out.readings if r.gauge == "calendered_thickness" and not np.isnan(r.position)
    ]
    assert len(seen) > 500
    for reading in seen[::20]:
        passed = np.interp(reading.time_ns, stamps, lengths) - start
        fed = (passed - 1.5) / 1.01 - line.plant.layout.calender_nip
        assert reading.position == pytest.approx(outer - fed, abs=0.1)


def test_speed_setpoint_scales_the_pump_and_the_film_stays() -> None:
    line = VirtualLine(NOMINAL, 4)
    advanced(line, 120)
    pump = line.setpoints["Coater.PumpFlow.Setpoint"]
    line.write_setpoint("Coater.LineSpeed.Setpoint", 1.5)
    sent = advanced(line, 120)
    assert line.setpoints["Coater.PumpFlow.Setpoint"] == pytest.approx(pump / 2)
    assert "Coater.PumpFlow.Setpoint" in {v.name for v in sent.variables}
    speeds = [v.value for v in sent.variables if v.name == "Coater.LineSpeed.Actual"]
    assert speeds[-1] == pytest.approx(1.5, rel=0.01)
    film = line.web.volume[: line.web.closed]
    assert np.mean(film[-15:]) == pytest.approx(np.mean(film[20:40]), rel=0.01)


def test_a_stop_makes_no_web_and_keeps_the_setpoint() -> None:
    script = "{at: {time: 60 s}, do: stop, duration: 60 s}"
    line = VirtualLine(parse_scenario(f"name: stop\nactions: [{script}]"), 1)
    advanced(line, 70)
    stood = line.coater.length
    advanced(line, 45)
    assert line.coater.length == stood
    assert not line.coater.running
    assert line.setpoints["Coater.LineSpeed.Setpoint"] == 3.0
    advanced(line, 60)
    assert line.coater.length > stood + 1.0


def test_new_batch_arrives_after_the_hose() -> None:
    script = "{at: {metre: 20}, do: slurry_batch, solids: 0.63}"
    rows = run_headless(parse_scenario(f"name: b\nactions: [{script}]"), 1, 40.0).segments
    solids = rows["solids"].astype(float)
    assert np.all(solids[: 2 * 25] == pytest.approx(0.66))
    assert np.all(solids[2 * 28 :] == pytest.approx(0.63, abs=1e-3))
    between = np.flatnonzero((solids > 0.631) & (solids < 0.659))
    assert len(between) <= 3


def test_laboratory_tells_late_what_the_mixer_does_not() -> None:
    script = "{at: {time: 60 s}, do: slurry_batch, solids: 0.63}"
    line = VirtualLine(parse_scenario(f"name: b\nactions: [{script}]"), 1)
    out = advanced(line, 1300)
    results = [r for r in out.results if r.parameter == "solids_content" and r.batch == 2]
    assert results[0].value == pytest.approx(63.0, abs=0.4)
    assert results[0].published_ns - results[0].sampled_ns == 20 * 60 * SECOND
    shown = [v.value for v in out.variables if v.name == "Mixer.SolidsContent"]
    assert shown[-1] == pytest.approx(66.0)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("freeze", lambda v: np.ptp(v) == 0.0),
        ("spikes", lambda v: np.ptp(v) > 30.0),
        ("bias", lambda v: np.mean(v) > 200.0),
    ],
)
def test_gauge_faults(fault: str, check: object) -> None:
    script = f"{{at: {{time: 300 s}}, do: gauge, gauge: mass_loading, fault: {fault}, amount: 40}}"
    line = VirtualLine(parse_scenario(f"name: g\nactions: [{script}]"), 1)
    advanced(line, 300)
    out = advanced(line, 200)
    values = np.array([r.value for r in out.readings if r.gauge == "mass_loading"])
    assert callable(check)
    assert check(values)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_scenario_runs(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.description
    line = VirtualLine(scenario, 1, metres=8.0)
    line.run_out()
    assert line.truth().segments["segment"].size == 16


def test_truth_files(finished: VirtualLine, tmp_path: Path) -> None:
    finished.truth().write(tmp_path)
    segments = pq.read_table(tmp_path / "segments.parquet")
    readings = pq.read_table(tmp_path / "readings.parquet")
    assert segments.num_rows == 120
    assert {"roll", "metre", "mass_loading", "porosity", "calendered"} <= set(segments.column_names)
    assert set(readings["gauge"].to_pylist()) == set(finished.plant.gauges)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["readings.parquet", "segments.parquet"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "YAML"),
        ("- 1", "mapping"),
        ("name: a\nmeters: 3", "meters"),
        ("name: a\nactions: [{at: {time: 3 days}, do: splice}]", "no duration"),
        ("name: a\nactions: [{at: {}, do: splice}]", "either time or metre"),
        ("name: a\nactions: [{at: {metre: 1}, do: dance}]", "do"),
        (
            "name: a\nactions: [{at: {metre: 1}, do: set, signal: Coater.Gap.Actual, value: 1}]",
            "is no setpoint",
        ),
        (
            "name: a\nactions: [{at: {metre: 1}, do: set, signal: Coater.Gap.Setpoint, value: 1}]",
            "outside",
        ),
        ("name: a\nactions: [{at: {metre: 1}, do: zone_failure, zone: 4}]", "zone 4 of 3"),
        ("name: a\nplant: {recipe: {zone_temperatures_c: [100]}}", "zone_temperatures_c"),
        ("name: a\nplant: {gauges: {sonar: {topic: a}}}", "gauges"),
    ],
)
def test_wrong_scenarios_are_refused(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        parse_scenario(text, "file.yaml")


def test_another_layout_runs() -> None:
    text = """
name: short
plant:
  layout:
    zones: [{start: 0.8, end: 3.8}, {start: 3.8, end: 6.8}]
    rewinder: 9
  recipe: {zone_temperatures_c: [120, 125], coater_speed_m_min: 1.5}
  gauges:
    web_temperature: {position: 6.8}
    mass_loading: {position: 7.5}
    dry_thickness: {position: 8}
"""
    rows = run_headless(parse_scenario(text), 1, 10.0).segments
    assert rows["mass_loading"][-1] == pytest.approx(180, rel=0.05)
    assert rows["residual_solvent"].max() < 0.005


def test_the_gap_sets_the_loading_of_a_comma_bar_and_not_of_a_slot_die() -> None:
    loadings = {}
    for mode in ("slot_die", "comma_bar"):
        for gap in (180, 220):
            text = (
                f"name: gap\nplant: {{coater: {{mode: {mode}}}, recipe: {{coating_gap_um: {gap}}}}}"
            )
            truth = run_headless(parse_scenario(text), 1, 6.0)
            loadings[mode, gap] = float(truth.segments["mass_loading"][6:].mean())
    ratio = {mode: loadings[mode, 220] / loadings[mode, 180] for mode in ("slot_die", "comma_bar")}
    assert ratio["slot_die"] == pytest.approx(1.0, abs=0.005)
    assert ratio["comma_bar"] == pytest.approx(220 / 180, rel=0.03)
