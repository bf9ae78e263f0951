"""The models that ship, against fresh samples of the physics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import surrogates
from surrogates.card import METADATA_KEY, Card
from surrogates.design import DESIGNS, Samples, sample
from surrogates.onnx_model import OnnxSurrogate
from surrogates.training import score
from twin.files import card_path

MODELS = Path(surrogates.__file__).parent / "models"
FRESH_SEED = 424242
STEPS = sorted(DESIGNS)


def fresh(step: str) -> Samples:
    design = DESIGNS[step]
    drawn = sample(design, FRESH_SEED, 2048)
    low = [target.low for target in design.targets]
    high = [target.high for target in design.targets]
    return Samples(drawn.inputs, np.clip(drawn.outputs, low, high))


@pytest.mark.parametrize("step", STEPS)
def test_every_output_explains_the_physics(step: str) -> None:
    model = OnnxSurrogate.load(MODELS / f"{step}.onnx")
    samples = fresh(step)
    predicted = model.predict(samples.inputs)
    for name, errors in score(DESIGNS[step], samples.outputs, predicted.mean).items():
        assert errors.r2 >= 0.99, f"{name} has R2 {errors.r2:.4f}"
    assert predicted.in_domain.mean() > 0.98


@pytest.mark.parametrize(
    ("step", "output", "typical"),
    [
        ("mixing", "slurry_density", 0.0002),
        ("mixing", "viscosity", 0.003),
        ("coating", "wet_thickness", 1e-9),
        ("coating", "mass_loading", 1e-9),
        ("drying", "dry_thickness", 0.001),
        ("drying", "dry_porosity", 0.001),
        ("drying", "web_temperature", 0.001),
        ("calendering", "calendered_thickness", 0.001),
        ("calendering", "porosity", 0.003),
    ],
)
def test_structure_parameters_are_close_enough_for_advice(
    step: str, output: str, typical: float
) -> None:
    model = OnnxSurrogate.load(MODELS / f"{step}.onnx")
    samples = fresh(step)
    column = model.outputs.index(output)
    truth = samples.outputs[:, column]
    relative = np.abs(model.predict(samples.inputs).mean[:, column] / truth - 1.0)
    assert np.median(relative) < typical


@pytest.mark.parametrize("step", STEPS)
def test_one_sigma_is_of_the_size_of_the_error(step: str) -> None:
    model = OnnxSurrogate.load(MODELS / f"{step}.onnx")
    samples = fresh(step)
    predicted = model.predict(samples.inputs)
    error = np.sqrt(np.mean((predicted.mean - samples.outputs) ** 2, axis=0))
    sigma = np.sqrt(np.mean(predicted.std**2, axis=0))
    exact = error < 1e-9 * np.abs(samples.outputs).mean(axis=0)
    ratio = error[~exact] / sigma[~exact]
    assert (ratio > 0.2).all()
    assert (ratio < 2.0).all()


@pytest.mark.parametrize("step", STEPS)
def test_card_beside_and_inside_agree_and_the_file_is_small(step: str) -> None:
    path = MODELS / f"{step}.onnx"
    beside = Card.parse(card_path(path).read_text(encoding="utf-8"), "beside")
    model = OnnxSurrogate.load(path)
    inside = model._session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    assert Card.parse(inside, "inside") == beside == model.card
    assert yaml.safe_load(inside)["step"] == step
    assert path.stat().st_size < 300_000
    assert all(errors.r2 >= 0.99 for errors in beside.errors.values())


def test_loading_follows_pump_and_speed_with_the_right_gradient() -> None:
    model = OnnxSurrogate.load(MODELS / "coating.onnx")
    base = np.array([4.5e-7, 1 / 60, 200e-6, 0.2, 0.65, 2057.7, 2.25])
    rows = np.tile(base, (3, 1))
    rows[1, model.inputs.index("pump_flow")] *= 1.01
    rows[2, model.inputs.index("line_speed")] *= 1.01
    loading = model.predict(rows).mean[:, model.outputs.index("mass_loading")]
    assert loading[0] == pytest.approx(4.5e-7 / (0.2 / 60) * 2057.7 * 0.65, rel=1e-9)
    assert loading[1] / loading[0] == pytest.approx(1.01, rel=1e-9)
    assert loading[2] / loading[0] == pytest.approx(1 / 1.01, rel=1e-9)


def test_impossible_film_is_outside_the_domain_though_every_input_is_inside_its_range() -> None:
    model = OnnxSurrogate.load(MODELS / "coating.onnx")
    low, high = model.domain.T
    row = np.array([0.5 * high[0], 0.006, 200e-6, 0.06, 0.65, 2057.7, 2.25])
    assert (row >= low).all()
    assert (row <= high).all()
    assert not model.predict(row[None, :]).in_domain[0]


def test_rolls_that_do_not_touch_are_outside_the_domain() -> None:
    model = OnnxSurrogate.load(MODELS / "calendering.onnx")
    touching, open_ = 60e-6, 110e-6
    rows = np.array([[gap, 298.15, 0.0167, 0.180, 0.46] for gap in (touching, open_)])
    assert model.predict(rows).in_domain.tolist() == [True, False]


def test_rows_predicted_together_or_alone_are_the_same() -> None:
    model = OnnxSurrogate.load(MODELS / "drying.onnx")
    rows = fresh("drying").inputs[:50]
    together = model.predict(rows)
    alone = [model.predict(row[None, :]) for row in rows]
    np.testing.assert_allclose(
        together.mean, np.concatenate([each.mean for each in alone]), rtol=1e-9, atol=1e-12
    )
