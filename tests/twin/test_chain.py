"""The chain is what one gets by asking the models one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.in_process import ROOT, line_configuration
from twin.app.line import load_surrogates
from twin.chain import Chain, Correction
from twin.ports import Surrogate, SurrogateOutput
from twin.samples import Floats

LINE = line_configuration()
MODELS = load_surrogates(LINE, ROOT)


class Unsure:
    """A model that is unsure by a share of what it says."""

    def __init__(self, model: Surrogate, share: float) -> None:
        self._model = model
        self._share = share

    @property
    def inputs(self) -> tuple[str, ...]:
        return self._model.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self._model.outputs

    @property
    def version(self) -> str:
        return self._model.version

    @property
    def domain(self) -> NDArray[np.float64]:
        return self._model.domain

    def predict(self, inputs: Floats) -> SurrogateOutput:
        said = self._model.predict(inputs)
        return SurrogateOutput(said.mean, self._share * np.abs(said.mean), said.in_domain)


def recipe(chain: Chain, count: int = 1) -> Floats:
    """The recipe of the virtual line, and others near it."""
    values = {
        "mixing.solids_content": 0.66,
        "mixing.mixer_speed": 209.4,
        "mixing.mixing_time": 3600.0,
        "mixing.mixing_temperature": 298.15,
        "coating.pump_flow": 1.305e-6,
        "coating.line_speed": 0.05,
        "coating.coating_gap": 190e-6,
        "coating.coating_width": 0.2,
        "drying.zone_1_temperature": 383.15,
        "drying.zone_2_temperature": 398.15,
        "drying.zone_3_temperature": 398.15,
        "drying.air_speed": 10.0,
        "calendering.roll_gap": 60e-6,
        "calendering.roll_temperature": 333.15,
        "calendering.line_speed": 0.0833,
    }
    row = np.array([values[each.name] for each in chain.variables])
    return row * np.random.default_rng(3).uniform(0.99, 1.01, (count, len(row)))


def test_the_chain_is_the_models_one_after_the_other() -> None:
    chain = Chain(LINE, MODELS)
    rows = recipe(chain, 5)
    said = chain(rows)
    known = {name: rows[:, i] for i, each in enumerate(chain.variables) for name in each.inputs}
    made: dict[str, Floats] = {}
    for step in LINE.steps:
        columns = []
        for name in MODELS[step].inputs:
            source = LINE.source_of(step, name).output
            if source is None:
                columns.append(known[f"{step}.{name}"])
            else:
                columns.append(made[source] if source in made else known[source])
        alone = MODELS[step].predict(np.column_stack(columns))
        for index, output in enumerate(MODELS[step].outputs):
            made[f"{step}.{output}"] = alone.mean[:, index]
        assert alone.in_domain.all()
    for index, name in enumerate(chain.outputs):
        np.testing.assert_allclose(said.mean[:, index], made[name], rtol=1e-12)
    assert said.in_domain.all()
    assert not said.sigma.any()


def test_inputs_of_one_tag_are_one_variable_and_steps_not_needed_are_left_out() -> None:
    chain = Chain(LINE, MODELS, ["coating.mass_loading"])
    assert chain.steps == ["mixing", "coating"]
    whole = Chain(LINE, MODELS)
    column = whole.variable("drying.line_speed")
    assert whole.variables[column].name == "coating.line_speed"
    assert column == whole.variable("coating.line_speed")
    with pytest.raises(ValueError, match="may be"):
        whole.variable("line_speed")
    assert whole.find("loading") == "coating.mass_loading"
    assert whole.find("porosity") == "calendering.porosity"
    with pytest.raises(ValueError, match="there is no structure parameter colour"):
        whole.find("colour")


def test_drawn_uncertainty_is_linear_propagation_where_it_is_small() -> None:
    share = 2e-4
    models = {step: Unsure(model, share) for step, model in MODELS.items()}
    chain = Chain(LINE, models)
    row = recipe(chain)
    plain = chain(row).mean[0]
    drawn = chain(row, 4000)
    variance = np.zeros(len(chain.outputs))
    for index, name in enumerate(chain.outputs):
        moved = {name: Correction("offset", share * abs(plain[index]))}
        variance += (Chain(LINE, models, corrections=moved)(row).mean[0] - plain) ** 2
    np.testing.assert_allclose(drawn.sigma[0], np.sqrt(variance), rtol=0.08)
    assert (np.abs(drawn.mean[0] - plain) < 0.2 * drawn.sigma[0]).all()


@pytest.mark.parametrize(
    ("corrections", "name", "expected"),
    [
        ({"coating.mass_loading": Correction("factor", 0.02)}, "coating.mass_loading", 1.02),
        ({"coating.mass_loading": Correction("offset", 0.01)}, "coating.mass_loading", None),
        ({"mixing.solids_content": Correction("factor", 0.01)}, "coating.mass_loading", 1.01),
    ],
)
def test_a_correction_is_read_by_later_steps(
    corrections: Mapping[str, Correction], name: str, expected: float | None
) -> None:
    chain, corrected = Chain(LINE, MODELS), Chain(LINE, MODELS, None, corrections)
    row = recipe(chain)
    column = chain.outputs.index(name)
    before, after = chain(row).mean[0], corrected(row).mean[0]
    if expected is None:
        assert after[column] - before[column] == pytest.approx(0.01)
    else:
        assert after[column] / before[column] == pytest.approx(expected)
    thickness = chain.outputs.index("calendering.calendered_thickness")
    assert after[thickness] > before[thickness]


def test_the_offset_of_an_input_is_as_if_the_machine_stood_there() -> None:
    column = MODELS["calendering"].inputs.index("roll_gap")
    zero = Correction("input", -20e-6, 0.0, column)
    name = "calendering.calendered_thickness"
    corrected = Chain(LINE, MODELS, None, {name: zero})
    row = recipe(corrected)
    shifted = row.copy()
    shifted[:, corrected.variable("roll_gap")] -= 20e-6
    index = corrected.outputs.index(name)
    assert corrected(row).mean[0, index] == Chain(LINE, MODELS)(shifted).mean[0, index]


def test_what_is_missing_is_missing_in_all_that_follows() -> None:
    chain = Chain(LINE, MODELS)
    row = recipe(chain)
    row[:, chain.variable("pump_flow")] = np.nan
    said = chain(row)
    assert np.isnan(said.mean[0, chain.outputs.index("calendering.porosity")])
    assert np.isfinite(said.mean[0, chain.outputs.index("mixing.viscosity")])
    assert not said.in_domain[0, chain.steps.index("coating")]
