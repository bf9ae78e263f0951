"""Assessment: the same virtual line under the twin and under its alternatives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simulators.line import VirtualLine
from simulators.scenario import Scenario, ScenarioError, parse_scenario
from tests.in_process import ROOT, line_configuration
from twin.alarms import Alarm, State
from twin.app.line import load_surrogates, read_line
from twin.cli.assessment.baselines import Ewma, Pi
from twin.cli.assessment.command import check_line, controllers, document, read_scenarios
from twin.cli.assessment.comparing import add_ratios, clauses
from twin.cli.assessment.loops import Gain, Loop, find_loops
from twin.cli.assessment.metrics import Coverage, metrics, violations
from twin.cli.assessment.page import page
from twin.cli.assessment.runs import EPOCH, NAMES, Name, Run, Task, run_task, summarise
from twin.cli.assessment.watch import AlarmWatch
from twin.cli.assessment.wire import Move, Wire
from twin.cli.commands import app
from twin.comparison import Comparison
from twin.prediction import Prediction

CONFIG = ROOT / "config"
STEP = """
name: thin slurry early
metres: 60
plant:
  coater: {roll_length_m: 20}
actions:
  - {at: {metre: 20}, do: slurry_batch, solids: 0.64, reported_solids: 0.66}
"""
OUT = "metres_out_of_specification"


def assessed(name: Name, scenario: Scenario | None = None) -> Run:
    task = Task(scenario or parse_scenario(STEP), 1, (name,))
    return run_task(task, line_configuration(), CONFIG, None)[0]


@pytest.fixture(scope="module")
def runs() -> dict[Name, Run]:
    task = Task(parse_scenario(STEP), 1, NAMES)
    made = run_task(task, line_configuration(), CONFIG, None)
    return {run.controller: run for run in made}


@pytest.mark.long
def test_whoever_acts_makes_less_waste_and_the_oracle_least(runs: dict[Name, Run]) -> None:
    waste = {name: run.figures[OUT] for name, run in runs.items()}
    assert waste["oracle"] == min(waste.values())
    for name in ("twin", "ewma", "pi"):
        assert waste[name] < waste["none"]


@pytest.mark.long
def test_limits_and_largest_steps_hold_for_all(runs: dict[Name, Run]) -> None:
    for run in runs.values():
        assert run.figures["constraint_violations"] == 0
        assert (run.figures["moves"] > 0) == (run.controller != "none")


@pytest.mark.long
def test_only_the_twin_states_intervals(runs: dict[Name, Run]) -> None:
    for name, run in runs.items():
        assert np.isfinite(run.figures["interval_coverage"]) == (name == "twin")
    assert 60 < runs["twin"].figures["interval_coverage"] <= 100


@pytest.mark.long
@pytest.mark.parametrize("name", ["pi", "oracle"])
def test_the_same_seed_gives_the_same_figures(runs: dict[Name, Run], name: Name) -> None:
    again = assessed(name)
    timed = {"milliseconds_per_decision"}
    assert {k: v for k, v in again.figures.items() if k not in timed} == pytest.approx(
        {k: v for k, v in runs[name].figures.items() if k not in timed}, rel=0, abs=0, nan_ok=True
    )
    for column, values in again.course.items():
        np.testing.assert_array_equal(values, runs[name].course[column])


@pytest.mark.long
def test_the_page_shows_every_controller(runs: dict[Name, Run]) -> None:
    line = line_configuration()
    made = list(runs.values())
    shown = page(line, made, summarise(made, [metric.name for metric in metrics(line)]))
    assert shown.count("<svg") == 1
    assert "http" not in shown
    for name in NAMES:
        assert f"</span>{name}</th>" in shown


def test_a_median_has_an_interval_where_there_are_seeds() -> None:
    def run(seed: int, waste: float) -> Run:
        return Run("day", seed, "twin", {OUT: waste, "moves": np.nan}, np.empty(0), {})

    one = document(summarise([run(1, 4.0)], [OUT, "moves"]))
    assert one == {"day": {"twin": {OUT: {"median": 4.0, "low": None, "high": None}}}}
    several = summarise([run(seed, float(seed)) for seed in range(1, 10)], [OUT])
    figure = several["day"]["twin"][OUT]
    assert figure.low is not None
    assert figure.high is not None
    assert 1 <= figure.low < figure.median == 5 < figure.high <= 9


def loading() -> Loop:
    return next(loop for loop in find_loops(line_configuration()) if loop.step == "coating")


def test_loops_are_as_long_as_the_web_between_machine_and_gauge() -> None:
    delays = {loop.output: loop.delay for loop in find_loops(line_configuration())}
    assert delays == pytest.approx({"mass_loading": 10.6, "calendered_thickness": 1.5})


def test_the_gain_of_a_loop_outlasts_a_coater_that_stands() -> None:
    line = line_configuration()
    surrogates = load_surrogates(line, CONFIG)
    domains = {step: dict(zip(s.inputs, s.domain, strict=True)) for step, s in surrogates.items()}
    latest = np.full(len(line.tags), np.nan)
    index = {name: number for number, name in enumerate(line.tags)}
    for step in line.steps:
        for name, domain in domains[step].items():
            tag = line.source_of(step, name).tag
            if tag is not None:
                latest[index[tag]] = np.mean(domain)
    loop = next(loop for loop in find_loops(line) if loop.step == "calendering")
    runs = Gain(line, surrogates).of(loop, latest)
    latest[index["coater.line_speed"]] = 0.0
    assert 0.1 < runs < 2
    assert 0.1 < Gain(line, surrogates).of(loop, latest) < 2


def test_ewma_moves_once_per_material_delay() -> None:
    loop, moves = loading(), []
    law = Ewma(loop)
    for length in np.arange(11.0, 100.0, 0.05).tolist():
        if law.read(1.0, length):
            assert law.wanted == pytest.approx(-0.3)
            law.wanted = 0.0
            law.moved(length)
            moves.append(length)
    assert min(np.diff(moves)) > loop.delay


def test_pi_settles_a_delayed_process_without_much_overshoot() -> None:
    loop = loading()
    law, output, error = Pi(loop), np.zeros(4000), []
    for index in range(4000):
        late = index - round(loop.delay / 0.05)
        error.append(-1.0 + output[late] if late >= 0 else -1.0)
        law.read(error[-1], index * 0.05)
        output[index] = law.wanted
    assert max(error) < 0.1
    assert abs(error[-1]) < 0.01


def test_a_setpoint_beyond_limits_or_step_is_a_violation() -> None:
    line = line_configuration()
    pump = loading()
    high, step = pump.high, pump.max_step

    def move(before: float, after: float, tag: int = pump.setpoint) -> Move:
        return Move(EPOCH, tag, before, after)

    assert violations(line, [move(high - step, high)]) == 0
    assert violations(line, [move(high, high + step)]) == 1
    assert violations(line, [move(high - 2 * step, high)]) == 1
    assert violations(line, [move(1.0, 1.0, tag=0)]) == 1


@pytest.mark.long
def test_scenario_and_line_from_elsewhere(tmp_path: Path) -> None:
    scenario = tmp_path / "theirs.yaml"
    scenario.write_text(STEP.replace("thin slurry early", "theirs").replace("60", "25"))
    text = (CONFIG / "line.yaml").read_text().replace("target: 180", "target: 170")
    text = text.replace("[176.4, 183.6]", "[166.6, 173.4]").replace("max_step: 10", "max_step: 3")
    line = tmp_path / "line.yaml"
    line.write_text(text)
    words = ["assess", str(scenario), "--line", str(line), "--seeds", "2", "--jobs", "1"]
    report = tmp_path / "report.html"
    said = CliRunner().invoke(
        app, [*words, "--against", "oracle", "--json", "--report", str(report)],
        catch_exceptions=False,
    )  # fmt: skip
    found = json.loads(said.stdout)
    assert list(found) == ["theirs"]
    assert list(found["theirs"]) == ["twin", "oracle"]
    for figures in found["theirs"].values():
        assert figures[OUT].keys() == {"median", "low", "high"}
        assert figures[OUT]["low"] <= figures[OUT]["median"] <= figures[OUT]["high"]
        assert figures["constraint_violations"]["median"] == 0
    assert found["theirs"]["oracle"]["moves"]["median"] >= 2  # its steps are small ones
    assert "theirs" in report.read_text()


@pytest.mark.long
def test_a_line_with_other_gauges_target_and_segments_is_assessed(tmp_path: Path) -> None:
    """Nothing knows where the bundled line has its gauges."""
    scenario = tmp_path / "moved.yaml"
    scenario.write_text(
        "name: moved\nmetres: 30\nplant:\n"
        "  segment_m: 0.3\n"
        "  recipe: {loading_g_m2: 170}\n"
        "  coater: {roll_length_m: 15}\n"
        "  layout: {rewinder: 14}\n"
        "  gauges:\n"
        "    wet_thickness: {topic: wet_thickness, unit: um, position: 0.8, rate_hz: 2}\n"
        "    mass_loading: {topic: mass_loading, unit: g/m^2, position: 12.5, rate_hz: 1,"
        " averaging_s: 1}\n"
        "    dry_thickness: {topic: dry_thickness, unit: um, position: 13, rate_hz: 2}\n"
        "    calendered_thickness: {topic: calendered_thickness, unit: um, position: 4.2,"
        " rate_hz: 2}\n"
    )
    text = (CONFIG / "line.yaml").read_text()
    for old, new in (
        ("segment: 0.5 m", "segment: 0.3 m"), ("wet_gauge: 0.5 m", "wet_gauge: 0.8 m"),
        ("beta: 10.6 m", "beta: 12.5 m"), ("caliper: 11 m", "caliper: 13 m"),
        ("rewinder: 12 m", "rewinder: 14 m"), ("exit_gauge: 3.5 m", "exit_gauge: 4.2 m"),
        ("target: 180", "target: 172"), ("[176.4, 183.6]", "[168.6, 175.4]"),
        ("target: 60", "target: 57.3"), ("[58.5, 61.5]", "[55.8, 58.8]"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "line.yaml").write_text(text)
    line = read_line(tmp_path / "line.yaml")
    day = read_scenarios([str(scenario)])[0]
    task = Task(day, 4, ("twin", "none", "oracle", "hindsight"))
    made = {run.controller: run for run in run_task(task, line, CONFIG, None)}
    assert len(made["none"].position) == 100
    waste = {name: run.figures[OUT] for name, run in made.items()}
    assert waste["oracle"] < waste["hindsight"] < waste["none"]
    assert waste["twin"] < waste["none"]
    loading = made["hindsight"].course["coating.mass_loading"]
    assert loading[-20:].mean() == pytest.approx(172, abs=1.0)


@pytest.mark.long
def test_hindsight_pays_for_the_way_to_the_gauge(runs: dict[Name, Run]) -> None:
    assert runs["oracle"].figures[OUT] < runs["hindsight"].figures[OUT] < runs["none"].figures[OUT]
    thin = runs["hindsight"].course["coating.mass_loading"]
    assert (np.abs(thin - 180.0) > 4.0).sum() * 0.5 == pytest.approx(10.6, abs=4.0)


def alarm(time: int, subject: str, state: State = "unacknowledged") -> Alarm:
    return Alarm(f"{time}", time, "diagnosis", "biased", subject, "high", subject, (), state, time)


def test_alarms_are_weighed_by_what_truly_went_wrong() -> None:
    line = line_configuration()
    day = parse_scenario(
        "name: bias\nactions:\n"
        "  - {at: {metre: 40}, do: gauge, gauge: mass_loading, fault: bias, amount: 9}\n"
    )
    segments = {"position": np.arange(0.25, 200, 0.5), "coated": EPOCH + np.arange(400) * 10**10}

    def watched(scenario: Scenario, *alarms: Alarm) -> dict[str, float]:
        watch = AlarmWatch(line, scenario, Wire(VirtualLine(scenario, 1), line))
        for each in alarms:
            watch.note(each)
        return watch.figures(segments, EPOCH)

    def at(metre: float) -> int:
        return EPOCH + int(metre / 0.5) * 10**10

    early, right = alarm(at(20), "gauges.mass_loading"), alarm(at(70), "gauges.mass_loading")
    wrong, over = alarm(at(60), "gauges.dry_thickness"), alarm(at(90), right.subject, "returned")
    found = watched(day, early, wrong, right, over)
    assert found["detection_delay"] == pytest.approx(30, abs=0.6)
    assert found["suspect_named"] == 1
    assert found["false_alarms_per_1000_m"] == pytest.approx(10, abs=0.1)
    never = watched(day)
    assert never["detection_delay"] == pytest.approx(159.5, abs=0.6)
    assert never["suspect_named"] == 0
    healthy = watched(parse_scenario("name: nominal"), wrong)
    assert healthy == {"false_alarms_per_1000_m": pytest.approx(5, abs=0.1)}
    process = watched(parse_scenario(STEP), early, wrong)
    assert process["detection_delay"] < 41
    assert "suspect_named" not in process


def test_the_worst_window_of_coverage_is_found() -> None:
    line = line_configuration()
    outputs = {step: tuple(config.outputs) for step, config in line.steps.items()}
    coverage = Coverage(outputs, line)
    segments = np.arange(800)
    sigma = np.ones((800, len(outputs["coating"])))
    when = segments * 10**10
    known = sigma[:, 0] > 0
    coverage.note(Prediction("coating", segments, when, sigma, sigma, sigma, sigma, known, known))
    one = np.ones(800)
    missed = np.where((segments >= 400) & (segments < 600) & (segments % 2 == 0), 3.0, 0.0)
    coverage.note(
        Comparison("coating", "mass_loading", segments, when, missed, missed, missed, one, one, one)
    )
    whole, lowest = coverage.percent()
    assert whole == pytest.approx(87.5)
    assert lowest == pytest.approx(75.0)
    # from here on every second reading is missed by a gauge that is known to be broken
    gauge = line.steps["coating"].outputs["mass_loading"].measured_by
    assert gauge is not None
    named = alarm(400 * 10**10, gauge)
    coverage.note(named)
    coverage.note(replace(named, active=False, changed=500 * 10**10))
    assert coverage.percent()[0] == pytest.approx(100 * 650 / 700)


def test_the_twin_is_judged_against_rivals_of_the_same_seeds() -> None:
    line = line_configuration()

    def run(name: Name, seed: int, waste: float) -> Run:
        return Run("day", seed, name, {OUT: waste}, np.empty(0), {})

    made = [run("twin", seed, 2.0 + seed) for seed in range(1, 6)]
    made += [run("none", seed, 10.0 * (2.0 + seed)) for seed in range(1, 6)]
    made += [run("ewma", seed, 9.0) for seed in range(1, 6)]
    made += [run("pi", seed, 8.0) for seed in range(1, 6)]
    found = summarise(made, [OUT])
    add_ratios(found, made, line)
    of_none = found["day"]["twin"]["waste_of_none"]
    assert (of_none.median, of_none.low, of_none.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found["day"]["twin"]["waste_of_feedback"].median == pytest.approx(5 / 8)
    judged = {clause.demand: clause for clause in clauses(made, line)}
    assert judged["metres out of specification, of none"].held
    assert judged["metres out of specification, of none"].sure
    better = judged["of the better of ewma and pi (pi)"]
    assert better.held
    assert not better.sure


def test_what_cannot_be_assessed_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no controller mpc; write some of none, ewma"):
        controllers("none,mpc")
    with pytest.raises(FileNotFoundError, match="no-such-day"):
        read_scenarios(["no-such-day"])
    with pytest.raises(ScenarioError):
        read_scenarios([str(tmp_path / "missing.yaml")])
    with pytest.raises(ValueError, match="two scenarios are named nominal"):
        read_scenarios(["nominal", "nominal"])
    line = line_configuration()
    nothing = line.model_copy(update={"steps": {"mixing": line.steps["mixing"]}})
    with pytest.raises(ValueError, match="nothing to assess"):
        check_line(nothing, [parse_scenario(STEP)])
