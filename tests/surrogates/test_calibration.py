"""Calibration on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.blocks import FOLDS, GAP, folds
from surrogates.calibration import Affine, calibrate
from surrogates.card import Card, Method, Quantity, Source
from surrogates.composition import export_calibrated, predict
from surrogates.onnx_model import OnnxSurrogate
from tests.in_process import ROOT
from twin.dataset import NO_ROLL, StepData
from twin.samples import Floats

CHAMPION = ROOT / "surrogates" / "models" / "coating.onnx"
SEGMENT = 0.5
ROLL = 50
"""Segments."""


def noise(draw: np.random.Generator, count: int, sigma: float, alike: float = 0.8) -> Floats:
    """Noise whose neighbours are alike, as that of a gauge and a pump."""
    found = np.empty(count)
    last = 0.0
    for index, value in enumerate(draw.normal(size=count).tolist()):
        last = alike * last + np.sqrt(1.0 - alike**2) * value
        found[index] = sigma * last
    return found


def made(seed: int = 1, rolls: int = 8, bend: float = 0.0) -> StepData:
    """Coated rolls, each at its own flow and speed; the plant is 4 g/m^2 and 6 % off.

    Args:
        seed: of machines and noise.
        rolls: how many.
        bend: g/m^2 by which the slurry's temperature, say, bends the loading over the gap.
    """
    draw = np.random.default_rng(seed)
    count = rolls * ROLL
    roll = np.repeat(np.arange(rolls), ROLL)
    model = OnnxSurrogate.load(CHAMPION)
    gap = draw.uniform(150e-6, 250e-6, count)
    taken = np.column_stack(
        [
            (1.4e-6 * draw.uniform(0.8, 1.2, rolls))[roll] * draw.normal(1.0, 0.002, count),
            (0.05 * draw.uniform(0.9, 1.1, rolls))[roll] * draw.normal(1.0, 0.001, count),
            gap,
            np.full(count, 0.2),
            np.full(count, 0.66),
            np.full(count, 2190.0),
            draw.normal(1.5, 0.03, count),
        ]
    )
    said = model.predict(taken).mean
    measured = np.full_like(said, np.nan)
    measured[:, 0] = said[:, 0]
    bent = bend * 1e-3 * np.tanh((gap - 200e-6) / 20e-6)
    measured[:, 1] = 0.004 + 0.94 * said[:, 1] + bent
    for column, sigma in ((0, 0.5e-6), (1, 0.5e-3)):
        measured[:, column] += noise(draw, count, sigma)
    return StepData(
        "coating",
        model.inputs,
        model.outputs,
        taken,
        said,
        measured,
        np.ones(count, np.bool_),
        np.zeros(count, np.int64),
        (np.arange(count) + 0.5) * SEGMENT,
        roll,
        SEGMENT,
    )


def card() -> Card:
    return OnnxSurrogate.load(CHAMPION).card


def test_bias_and_gain_are_found_again() -> None:
    found = calibrate(made(), card(), True, "bias")
    assert not found.objection
    assert set(found.learnt) == {"mass_loading"}
    learnt = found.learnt["mass_loading"]
    assert isinstance(learnt, Affine)
    assert learnt.gain == pytest.approx(0.94, abs=0.01)
    middle = float(np.median(found.rows.said[:, 1]))
    assert learnt.bias + learnt.gain * middle == pytest.approx(0.004 + 0.94 * middle, abs=2e-4)
    reasons = {judged.output: judged.reason for judged in found.judged}
    assert reasons["wet_thickness"] == "it is not better than the champion on held-out material"
    assert reasons["coating_window_margin"] == "it is not measured"


@pytest.mark.parametrize(("relative", "expected"), [(False, (-0.0072, 1.0)), (True, (0.0, 0.96))])
def test_where_the_machine_stands_still_one_number_is_learnt(
    relative: bool, expected: tuple[float, float]
) -> None:
    data = made()
    draw = np.random.default_rng(2)
    data.said[:, 1] = 0.18 + draw.normal(0.0, 1e-5, len(data))
    data.measured[:, 1] = 0.96 * 0.18 + noise(draw, len(data), 0.5e-3)
    names = ("mass_loading",) if relative else ()
    learnt = calibrate(data, card(), True, "bias", names).learnt["mass_loading"]
    assert isinstance(learnt, Affine)
    assert (learnt.bias, learnt.gain) == pytest.approx(expected, abs=1e-3)


def test_spikes_of_a_gauge_hardly_count() -> None:
    data = made()
    data.measured[::17, 1] += 0.05
    learnt = calibrate(data, card(), True, "bias").learnt["mass_loading"]
    assert isinstance(learnt, Affine)
    assert learnt.bias + learnt.gain * 0.18 == pytest.approx(0.004 + 0.94 * 0.18, abs=5e-4)


def test_a_residual_model_learns_what_bias_and_gain_cannot() -> None:
    data = made(bend=4.0)
    affine = calibrate(data, card(), True, "bias").judged[1].calibrated
    found = calibrate(data, card(), True, "residual")
    residual, champion = found.judged[1].calibrated, found.judged[1].champion
    assert affine is not None
    assert residual is not None
    assert champion is not None
    assert residual.mae < 0.5 * affine.mae
    assert residual.mae < 0.15 * champion.mae


@pytest.mark.parametrize("method", ["bias", "residual", "retrain"])
def test_it_is_better_on_other_rolls_and_the_same_in_onnx(method: Method, tmp_path: Path) -> None:
    data = made(bend=4.0)
    recordings = (Source(name="monday", manifest_sha256="00", samples=9),)
    found = calibrate(data, card(), True, method)
    file = export_calibrated(found, CHAMPION, recordings, tmp_path)
    if method != "retrain":  # it draws from the same seed, and takes its time
        again = calibrate(data, card(), True, method)
        assert file == export_calibrated(again, CHAMPION, (), tmp_path)
    model, champion = OnnxSurrogate.load(file), OnnxSurrogate.load(CHAMPION)
    other = made(seed=2, bend=4.0)
    said = model.predict(other.taken)
    ours = predict(found, other.taken, other.said)
    np.testing.assert_allclose(said.mean, ours, rtol=1e-4)
    missed = np.abs(other.measured - said.mean)[:, 1].mean()
    assert missed < 0.7 * np.abs(other.measured - other.said)[:, 1].mean()
    # what was not learnt is the champion's
    np.testing.assert_array_equal(said.mean[:, 2], other.said[:, 2])
    assert (said.std[:, 1] >= champion.predict(other.taken).std[:, 1]).all()
    assert said.in_domain.all()
    lineage = model.card.lineage
    assert lineage is not None
    assert lineage.parent is not None
    assert (lineage.parent.version, lineage.rolls, lineage.rows) == (champion.version, 8, 400)
    if method == "retrain":
        assert lineage.physics_rows > 0
        assert (model.domain[:, 0] <= champion.domain[:, 0]).all()
    else:
        np.testing.assert_allclose(model.domain, champion.domain)


def test_a_calibrated_model_can_be_calibrated_again(tmp_path: Path) -> None:
    first = export_calibrated(calibrate(made(), card(), True, "bias"), CHAMPION, (), tmp_path)
    model = OnnxSurrogate.load(first)
    data = made(seed=2)
    data.measured[:, 1] -= 0.003
    data = replace(data, said=model.predict(data.taken).mean)
    second = export_calibrated(calibrate(data, model.card, True, "residual"), first, (), tmp_path)
    missed = data.measured - OnnxSurrogate.load(second).predict(data.taken).mean
    assert np.abs(missed[:, 1]).mean() < 0.6e-3


def test_without_physics_the_data_of_the_plant_make_the_model(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    count = 400
    taken = draw.uniform(-1.0, 1.0, (count, 3)) * [1.0, 20.0, 0.0] + [0.0, 50.0, 7.0]
    measured = np.column_stack(
        [3.0 * taken[:, 0] + 0.1 * taken[:, 1], draw.normal(size=count), np.full(count, np.nan)]
    )
    measured[:, 0] += noise(draw, count, 0.1)
    none = np.full_like(measured, np.nan)
    data = StepData(
        "reactor",
        ("feed", "valve", "constant"),
        ("yield", "nothing", "unknown"),
        taken,
        none,
        measured,
        np.zeros(count, np.bool_),
        np.zeros(count, np.int64),
        np.arange(count) + 0.5,
        np.full(count, NO_ROLL),
        1.0,
    )
    wanted = Card(
        name="reactor",
        version="none",
        step="reactor",
        kind="none",
        inputs=tuple(Quantity(name=n, unit="dimensionless", low=0, high=0) for n in data.inputs),
        outputs=tuple(Quantity(name=n, unit="dimensionless", low=0, high=0) for n in data.outputs),
    )
    with pytest.raises(ValueError, match="no model that a bias could be put on"):
        calibrate(data, wanted, False, "bias")
    assert "no model of unknown" in calibrate(data, wanted, False, "retrain").objection
    measured[:, 2] = 2.0 * taken[:, 0]
    found = calibrate(data, wanted, False, "retrain")
    assert not found.objection
    assert [judged.better for judged in found.judged] == [True, False, True]
    model = OnnxSurrogate.load(export_calibrated(found, None, (), tmp_path))
    said = model.predict(taken)
    assert np.abs(said.mean[:, 0] - measured[:, 0]).mean() < 0.3
    assert np.ptp(said.mean[:, 1]) == 0.0
    assert said.std[:, 1].mean() == pytest.approx(1.0, abs=0.2)
    np.testing.assert_allclose(model.domain[:, 0], taken.min(axis=0))
    np.testing.assert_allclose(model.domain[:, 1], taken.max(axis=0))
    assert said.in_domain.mean() > 0.95
    assert not model.predict(taken + np.array([5.0, 0.0, 0.0])).in_domain.any()


@pytest.mark.parametrize("method", ["bias", "residual"])
def test_shuffled_labels_teach_nothing(method: Method) -> None:
    data = made()
    order = np.random.default_rng(1).permutation(len(data))
    found = calibrate(replace(data, measured=data.measured[order]), card(), True, method)
    assert "mass_loading does not follow what the champion says" in found.objection


def test_too_little_is_said() -> None:
    data = made()
    with pytest.raises(ValueError, match="no segment of coating"):
        calibrate(replace(data, measured=np.full_like(data.measured, np.nan)), card(), True, "bias")
    found = calibrate(data.where(np.arange(50)), card(), True, "bias")
    assert found.judged[1].reason == "50 segments were measured, 60 are needed"
    assert "no output is predicted better" in found.objection


@given(
    lengths=st.lists(st.integers(12, 60), min_size=1, max_size=9),
    known=st.booleans(),
    cut=st.integers(0, 3),
)
def test_what_is_held_out_is_whole_rolls_or_stretches(
    lengths: list[int], known: bool, cut: int
) -> None:
    """Rolls of these lengths, on one recording and the last `cut` rolls on another."""
    roll = np.repeat(np.arange(len(lengths)), lengths)
    count = len(roll)
    recording = (roll >= len(lengths) - cut).astype(np.int64)
    position = (np.arange(count) + 0.5) * SEGMENT
    nothing = np.zeros((count, 1))
    data = StepData(
        "coating",
        ("x",),
        ("y",),
        nothing,
        nothing,
        nothing,
        np.ones(count, np.bool_),
        recording,
        position,
        roll if known else np.full(count, NO_ROLL),
        SEGMENT,
    )
    if count < 4 * GAP and (not known or len(lengths) < 3):
        with pytest.raises(ValueError, match="too few"):
            folds(data)
        return
    found = folds(data)
    held_out = np.concatenate([fold.held_out for fold in found.folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(count))
    assert 2 <= len(found.folds) <= FOLDS
    for fold in found.folds:
        assert not set(fold.learn.tolist()) & set(fold.held_out.tolist())
        for one in np.unique(recording):
            learn = position[fold.learn[recording[fold.learn] == one]]
            out = position[fold.held_out[recording[fold.held_out] == one]]
            if len(learn) and len(out):
                assert np.abs(learn[:, None] - out).min() >= GAP * SEGMENT
        if known and len(lengths) >= 3:
            assert not set(roll[fold.learn].tolist()) & set(roll[fold.held_out].tolist())
        else:
            assert (np.diff(fold.held_out) == 1).all()
