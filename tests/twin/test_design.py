"""Machine parameters for wanted structure: the virtual line makes what was asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from connectors.recorder import RecordingWriter
from simulators.line import VirtualLine
from simulators.scenario import load_scenario
from tests.in_process import EPOCH, ROOT, LineInProcess, line_configuration
from twin.app.line import load_surrogates
from twin.chain import Chain, Standing, standing
from twin.cli.commands import app
from twin.design import (
    Design,
    Free,
    Preference,
    Problem,
    Solver,
    Target,
    movable,
    specification,
    starting,
)
from twin.sensitivity import sobol

LINE = line_configuration()
MODELS = load_surrogates(LINE, ROOT)
NAMES = ("coating.mass_loading", "calendering.porosity")
NODES = {
    "coating.pump_flow": "Coater.PumpFlow.Setpoint",
    "calendering.roll_gap": "Calender.RollGap.Setpoint",
}


@dataclass(frozen=True)
class Followed:
    """A plant that a twin has followed through 60 m of the recipe."""

    seed: int
    standing: Standing
    recording: Path


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("design") / "recording"
    used = {step: (model.version, model.file) for step, model in MODELS.items()}
    with RecordingWriter(folder, LINE, "test", used) as recorder:
        plant = LineInProcess("nominal", 1, 60, LINE, accept=False, recorder=recorder)
        plant.run(5.0)
    return Followed(1, standing(plant.core), folder)


def asked(
    targets: dict[str, float],
    known: Standing | None = None,
    preferences: tuple[Preference, ...] = (),
    vary: dict[str, tuple[float, float]] | None = None,
) -> Design:
    """The answer for targets, SI, each within 1 %; without the configured specification."""
    known = known or Standing()
    chain = Chain(LINE, MODELS, targets, known.corrections)
    start, _ = starting(chain, {}, known.values)
    free = movable(chain, {chain.variable(n): r for n, r in (vary or {}).items()}, [])
    limits = [each for each in specification(chain, ()) if each.why != "specification"]
    wanted = tuple(Target(name, value, 0.01 * value) for name, value in targets.items())
    return Solver(Problem(chain, wanted, free, start, tuple(limits), preferences)).solve()


def feasible_targets(known: Standing, count: int) -> list[dict[str, float]]:
    """What random setpoints within limits and domain give, as the corrected chain says."""
    chain = Chain(LINE, MODELS, NAMES, known.corrections)
    start, _ = starting(chain, {}, known.values)
    rng, found = np.random.default_rng(7), list[dict[str, float]]()
    while len(found) < count:
        row = start.copy()
        for each in movable(chain, {}, []):
            row[each.column] = rng.uniform(each.low, each.high)
        said = chain(row[None, :])
        margin = said.mean[0, chain.outputs.index("coating.coating_window_margin")]
        values = {name: float(said.mean[0, chain.outputs.index(name)]) for name in NAMES}
        if said.in_domain.all() and margin > 0:
            found.append(values)
    return found


def settings(found: Design) -> dict[str, float]:
    """The proposal as setpoints of the virtual line, in their units."""
    chain = found.problem.chain
    moving = [(chain.variables[each.column], each.column) for each in found.problem.free]
    return {
        NODES[each.name]: each.from_si(float(found.best.values[column])) for each, column in moving
    }


def reached(seed: int, found: Design) -> bool:
    """Whether the virtual line truly makes loading and porosity within the stated intervals."""
    scenario = load_scenario(ROOT / "config" / "scenarios" / "nominal.yaml")
    line = VirtualLine(scenario, seed, EPOCH, 28.0, publish=False)
    for name, value in settings(found).items():
        line.write_setpoint(name, value)
    line.run_out()
    segments = line.truth().segments
    chain = found.problem.chain
    for name, column, scale in zip(NAMES, ("mass_loading", "porosity"), (1e-3, 1.0), strict=True):
        made = scale * float(np.nanmean(np.asarray(segments[column], np.float64)[16:50]))
        low, high = found.best.interval(chain.outputs.index(name))
        if not low <= made <= high:
            return False
    return True


def test_a_line_that_was_followed_makes_what_is_wanted(followed: Followed) -> None:
    """At once in most cases, and in all once the trial that missed has been learnt from."""
    targets = feasible_targets(followed.standing, 6)
    missed = []
    for target in targets:
        found = asked(target, followed.standing)
        assert found.feasible
        if not reached(followed.seed, found):
            missed.append((target, found))
    assert len(missed) <= 2
    for target, found in missed:
        trial = LineInProcess("nominal", followed.seed, 30, LINE, accept=False)
        for name, value in settings(found).items():
            trial.line.write_setpoint(name, value)
        trial.run(5.0)
        assert reached(followed.seed, asked(target, standing(trial.core)))


def test_without_measurements_the_zero_of_the_gap_stays_unknown(followed: Followed) -> None:
    target = {"coating.mass_loading": 0.18, "calendering.porosity": 0.30}
    alone, learnt = asked(target), asked(target, followed.standing)
    assert alone.feasible
    assert learnt.feasible
    column = alone.problem.chain.variable("roll_gap")
    # the virtual line's first plant has its zero at -20 um
    assert learnt.best.values[column] - alone.best.values[column] > 15e-6


def test_an_infeasible_target_names_the_limit_that_binds() -> None:
    thin = asked({"coating.mass_loading": 0.20, "calendering.porosity": 0.15})
    assert not thin.feasible
    assert [(each.name, each.side) for each in thin.binding] == [("calendering.roll_gap", "low")]
    assert thin.best.miss[1] > 0.03
    assert thin.best.allowed
    heavy = asked({"coating.mass_loading": 0.40})
    assert [(each.kind, each.name, each.side) for each in heavy.binding] == [
        ("range", "coating.pump_flow", "high")
    ]


def test_a_domain_that_binds_is_named_with_the_model_whose_it_is() -> None:
    found = asked(
        {"coating.mass_loading": 0.20, "drying.dry_thickness": 125e-6},
        vary={"coating.pump_flow": (1e-7, 1e-5)},
    )
    assert not found.feasible
    heavier = asked({"drying.dry_thickness": 200e-6}, vary={"coating.pump_flow": (1e-7, 1e-5)})
    assert not heavier.feasible
    assert {each.kind for each in heavier.binding} == {"domain"}


def test_targets_in_conflict_give_a_front_between_them() -> None:
    found = asked({**dict.fromkeys(["coating.mass_loading"], 0.20), "drying.dry_thickness": 60e-6})
    assert not found.feasible
    assert found.binding == ()
    assert len(found.front) > 5
    misses = np.abs([each.miss for each in found.front])
    order = np.argsort(misses[:, 0])
    assert (np.diff(misses[order, 1]) <= 1e-9).all()


def test_what_is_preferred_is_traded_against_the_targets() -> None:
    found = asked(
        {"coating.mass_loading": 0.20},
        preferences=(Preference("coating.line_speed", most=True),),
        vary={"coating.line_speed": (0.02, 0.16)},
    )
    assert found.feasible
    column = found.problem.chain.variable("line_speed")
    fastest = max(each.values[column] for each in found.front)
    assert fastest > 0.12
    assert all(each.allowed for each in found.front)


def test_a_range_that_is_empty_and_a_chain_that_nothing_moves_are_refused() -> None:
    chain = Chain(LINE, MODELS, ["mixing.viscosity"])
    with pytest.raises(ValueError, match="--vary"):
        movable(chain, {}, [])
    with pytest.raises(ValueError, match="empty"):
        movable(chain, {0: (0.6, 0.6)}, [])


def test_an_additive_output_has_the_indices_of_its_variances() -> None:
    chain = Chain(LINE, MODELS, ["coating.mass_loading"])
    start, _ = starting(chain, {}, {})
    pump, width, gap = (chain.variable(n) for n in ("pump_flow", "coating_width", "coating_gap"))
    flow, across = 2e-6, 0.2
    free = [
        Free(pump, 0.98 * flow, 1.02 * flow),
        Free(width, 0.99 * across, 1.01 * across),
        Free(gap, 1e-4, 3e-4),
    ]
    found = sobol(chain, ["coating.mass_loading", "mixing.viscosity"], free, start, 512)
    # loading is flow over width: variances as 2 % squared to 1 % squared
    np.testing.assert_allclose(found.total[0], [0.8, 0.2, 0.0], atol=0.01)
    np.testing.assert_allclose(found.first[0], [0.8, 0.2, 0.0], atol=0.03)
    assert np.isnan(found.total[1]).all()


def invoked(*words: str, code: int = 0) -> dict[str, Any]:
    """The JSON that a command prints."""
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == code, result.output
    said: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return said


def test_the_command_takes_units_and_says_what_it_assumed(tmp_path: Path) -> None:
    picture = tmp_path / "front.svg"
    said = invoked(
        "design", "--target", "loading=20mg/cm^2", "--target", "porosity=30±0.2", "--no-limits",
        "--fix", "drying.line_speed=3", "--plot", str(picture),
    )  # fmt: skip
    assert said["feasible"]
    assert said["targets"]["coating.mass_loading"]["value"] == pytest.approx(200)
    assert said["targets"]["calendering.porosity"]["tolerance"] == pytest.approx(0.2)
    assert set(said["proposal"]["machine"]) == {"coating.pump_flow", "calendering.roll_gap"}
    assert said["held"]["coating.line_speed"] == {
        "value": pytest.approx(3.0),
        "unit": "m/min",
        "from": "given",
    }
    assert said["held"]["coating.coating_width"]["from"] == "configured"
    assert said["held"]["coating.coating_gap"]["from"] == "middle of the model's domain"
    assert picture.stat().st_size > 1000


def test_the_command_says_what_binds_and_fails() -> None:
    said = invoked("design", "--target", "loading=180", "--target", "porosity=15", code=1)
    assert not said["feasible"]
    assert {each["name"] for each in said["binding"]} == {
        "calendering.roll_gap",
        "calendering.calendered_thickness",
    }
    assert any("porosity comes to" in sentence for sentence in said["verdict"])
    assert said["front"]


def test_the_command_learns_from_a_recording(followed: Followed) -> None:
    said = invoked(
        "design", "--target", "loading=180", "--target", "porosity=30", "--no-limits",
        "--after", str(followed.recording),
    )  # fmt: skip
    assert said["learnt_from_recording"]
    assert said["held"]["coating.line_speed"]["from"] == "last on the line"
    here = asked({"coating.mass_loading": 0.18, "calendering.porosity": 0.30}, followed.standing)
    column = here.problem.chain.variable("roll_gap")
    gap = said["proposal"]["machine"]["calendering.roll_gap"]
    assert gap == pytest.approx(here.best.values[column] * 1e6, abs=0.01)


def test_the_command_says_what_structure_depends_on(tmp_path: Path) -> None:
    picture = tmp_path / "indices.svg"
    said = invoked(
        "sensitivity", "porosity", "--width", "0.1", "--samples", "256", "--plot", str(picture)
    )
    total = said["outputs"]["calendering.porosity"]["total"]
    assert total["calendering.roll_gap"] > 0.2
    assert total["coating.pump_flow"] > 0.1
    assert total["mixing.mixing_temperature"] < 0.05
    assert 0 < said["in_domain"] <= 1
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target", "loading"], "write NAME=VALUE"),
        (["--target", "thickness=60"], "may be"),
        (["--target", "loading=180±0"], "above 0"),
        (["--target", "loading=abc"], "'abc' is no quantity"),
        (["--target", "loading=180", "--vary", "coating_gap=100"], "LOW..HIGH"),
        (["--target", "loading=180", "--prefer", "pump_flow=more"], "most"),
    ],
)
def test_what_cannot_be_read_is_said(words: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["design", *words])
    assert isinstance(result.exception, ValueError)
    assert sentence in str(result.exception)
