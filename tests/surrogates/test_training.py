"""Training and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surrogates.card import Card
from surrogates.design import DESIGNS, sample
from surrogates.export import check, export
from surrogates.onnx_model import OnnxSurrogate
from surrogates.training import train, train_models
from twin.files import card_path


@pytest.mark.parametrize("step", sorted(DESIGNS))
def test_designs_repeat_and_stay_physical(step: str) -> None:
    first, again, other = (sample(DESIGNS[step], seed, 64) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.outputs, again.outputs)
    assert not np.array_equal(first.inputs, other.inputs)
    assert np.isfinite(first.inputs).all()
    assert np.isfinite(first.outputs).all()


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "again"):
        train_models(tmp_path / name, ["mixing"], 3, 128, lambda _step, _share: None)
    for file in ("mixing.onnx", "mixing.card.yaml"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    train_models(tmp_path / "other", ["mixing"], 4, 128, lambda _step, _share: None)
    assert (tmp_path / "other" / "mixing.onnx").read_bytes() != (
        tmp_path / "first" / "mixing.onnx"
    ).read_bytes()


@pytest.mark.parametrize("step", sorted(DESIGNS))
def test_onnx_equals_scikit_learn(step: str, tmp_path: Path) -> None:
    trained = train(step, 7, 128)
    card = export(trained, tmp_path / "model.onnx")
    model = OnnxSurrogate.load(tmp_path / "model.onnx")
    rows = trained.held_out.inputs
    predicted = model.predict(rows)
    expected = trained.model.predict(rows)
    np.testing.assert_allclose(
        predicted.mean, expected, rtol=1e-4, atol=1e-10 * np.abs(expected).max()
    )
    np.testing.assert_allclose(
        predicted.std,
        trained.model.predict_std(rows),
        rtol=1e-3,
        atol=1e-9 * np.abs(expected).max(),
    )
    assert model.card == card
    assert model.inputs == tuple(entry.name for entry in DESIGNS[step].inputs)
    assert model.outputs == tuple(target.name for target in DESIGNS[step].targets)


def test_a_model_that_departs_is_refused(tmp_path: Path) -> None:
    trained = train("mixing", 7, 128)
    export(trained, tmp_path / "model.onnx")
    model = OnnxSurrogate.load(tmp_path / "model.onnx")
    trained.model.linear_.intercept_ = trained.model.linear_.intercept_ + 2e-4
    with pytest.raises(ValueError, match="departs from scikit-learn in slurry_density"):
        check(model, trained.model, trained.held_out.inputs)


def test_progress_is_told_and_rises_to_one(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    cards = train_models(
        tmp_path, ["mixing", "coating"], 1, 64, lambda step, share: told.append((step, share))
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert [card.step for card in cards] == ["mixing", "coating"]
    written = Card.parse(card_path(tmp_path / "coating.onnx").read_text(encoding="utf-8"), "card")
    assert written == cards[1]
    assert written.training is not None
    assert written.training.samples == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "coating.card.yaml",
        "coating.onnx",
        "mixing.card.yaml",
        "mixing.onnx",
    ]


def test_an_unknown_step_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no step welding to train; choose from mixing"):
        train_models(tmp_path / "new", ["mixing", "welding"], 1, 64, lambda _step, _share: None)
    assert not (tmp_path / "new").exists()
