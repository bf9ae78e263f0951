"""Other people's ONNX files: used with a card, refused with a reason without a fitting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from surrogates.card import METADATA_KEY, Card
from surrogates.onnx_model import OnnxSurrogate

CARD: dict[str, Any] = {
    "name": "oven of another laboratory",
    "version": "2024-07",
    "step": "drying",
    "kind": "linear regression",
    "inputs": [
        {"name": "zone_1_temperature", "unit": "degC", "low": 60, "high": 150},
        {"name": "line_speed", "unit": "m/min", "low": 0.5, "high": 5},
    ],
    "outputs": [{"name": "dry_thickness", "unit": "um", "low": 20, "high": 200}],
    "errors": {"dry_thickness": {"r2": 0.97, "mae": 0.6, "rmse": 0.8, "max_abs": 3.0}},
}


def with_changes(**changes: Any) -> dict[str, Any]:
    return {**CARD, **changes}


def matrix(
    path: Path, inputs: int | str, outputs: int, kind: int = TensorProto.FLOAT, names: Any = ("y",)
) -> Path:
    """An ONNX model that multiplies its input with a matrix of ones."""
    rows = inputs if isinstance(inputs, int) else 2
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float64
    weights = numpy_helper.from_array(np.ones((rows, outputs), dtype), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [name]) for name in names],
        "foreign",
        [helper.make_tensor_value_info("x", kind, [None, inputs])],
        [helper.make_tensor_value_info(name, kind, [None, outputs]) for name in names],
        [weights],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def put_card(path: Path, card: dict[str, Any]) -> None:
    path.with_name(f"{path.stem}.card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")


def fitted(path: Path) -> LinearRegression:
    """A scikit-learn model in customary units (degC, m/min to um), exported in single precision."""
    random = np.random.default_rng(1)
    rows = random.uniform([60, 0.5], [150, 5], (200, 2)).astype(np.float32)
    model = LinearRegression().fit(rows, 100 - 0.1 * rows[:, 0] + 2 * rows[:, 1])
    path.write_bytes(to_onnx(model, rows[:1]).SerializeToString())
    return model


def test_a_model_in_customary_units_is_used_in_si(tmp_path: Path) -> None:
    fitted(tmp_path / "oven.onnx")
    put_card(tmp_path / "oven.onnx", CARD)
    model = OnnxSurrogate.load(tmp_path / "oven.onnx")
    assert model.inputs == ("zone_1_temperature", "line_speed")
    assert model.outputs == ("dry_thickness",)
    assert model.version == "2024-07"
    np.testing.assert_allclose(model.domain, [[333.15, 423.15], [0.5 / 60, 5 / 60]])
    predicted = model.predict(np.array([[373.15, 1 / 60], [473.15, 1 / 60], [np.nan, 1 / 60]]))
    assert predicted.mean[0, 0] == pytest.approx(92e-6, rel=1e-5)
    assert predicted.mean[1, 0] == pytest.approx(82e-6, rel=1e-5)
    assert np.isnan(predicted.mean[2, 0])
    assert predicted.std[0, 0] == pytest.approx(0.8e-6)
    assert predicted.in_domain.tolist() == [True, False, False]


def test_the_card_may_be_inside_the_model(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1)
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA_KEY: yaml.safe_dump(CARD)})
    onnx.save(model, path)
    assert OnnxSurrogate.load(path).card.name == "oven of another laboratory"


def test_the_card_beside_the_model_wins(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1)
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA_KEY: yaml.safe_dump(CARD)})
    onnx.save(model, path)
    put_card(path, with_changes(version="mine"))
    assert OnnxSurrogate.load(path).version == "mine"


def test_a_model_may_bring_its_own_std(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1, TensorProto.DOUBLE, ("std", "mean"))
    put_card(path, CARD)
    predicted = OnnxSurrogate.load(path).predict(np.array([[373.15, 1 / 60]]))
    assert predicted.mean[0, 0] == pytest.approx(101e-6)
    assert predicted.std[0, 0] == pytest.approx(101e-6)


def test_without_errors_the_std_is_zero_and_no_rows_are_fine(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", "columns", 1)
    put_card(path, with_changes(errors={}))
    model = OnnxSurrogate.load(path)
    assert model.predict(np.array([[373.15, 1 / 60]])).std[0, 0] == 0.0
    assert model.predict(np.empty((0, 2))).mean.shape == (0, 1)
    with pytest.raises(ValueError, match=r"takes rows of 2 inputs .*not an array of shape"):
        model.predict(np.ones((1, 3)))


def quantity(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "unit": "m", "low": 0, "high": 1, **changes}


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (with_changes(inputs=[quantity("a")]), r"the card names 1 inputs \(a\)"),
        (with_changes(outputs=[quantity("a"), quantity("b")], errors={}), "names 2 outputs"),
        (with_changes(inputs=[quantity("a"), quantity("a")]), "names input a twice"),
        (with_changes(outputs=[]), "names no output"),
        (with_changes(inputs=[quantity("a", unit="furlongs per")] * 2), "unknown unit"),
        (with_changes(inputs=[quantity("a", low=2), quantity("b")]), "low 2 is above high 1"),
        (with_changes(colour="red"), "colour: Extra inputs"),
        ({"name": "x"}, "version: Field required"),
        (
            with_changes(errors={"loading": CARD["errors"]["dry_thickness"]}),
            "errors are given for loading, no output",
        ),
        (
            with_changes(products=[{"name": "p", "powers": {"z": 1}, "low": 0, "high": 1}]),
            "product p uses z, no input",
        ),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    card: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1)
    put_card(path, card)
    with pytest.raises(ValueError, match=reason):
        OnnxSurrogate.load(path)


def test_columns_that_the_graph_leaves_open_are_tried(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", "columns", 1)
    put_card(path, with_changes(inputs=[quantity(name) for name in "abc"]))
    with pytest.raises(ValueError, match="cannot take 3 inputs"):
        OnnxSurrogate.load(path)


def test_other_outputs_than_mean_and_std_are_refused(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1, names=("a", "b"))
    put_card(path, CARD)
    with pytest.raises(ValueError, match="has outputs a, b; a surrogate has one output"):
        OnnxSurrogate.load(path)


def test_no_card_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = matrix(tmp_path / "oven.onnx", 2, 1)
    with pytest.raises(ValueError, match=r"no model card; write oven\.card\.yaml beside it"):
        OnnxSurrogate.load(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no model at"):
        OnnxSurrogate.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match="no ONNX model that can run here"):
        OnnxSurrogate.load(tmp_path / "text.onnx")


def test_a_card_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(ValueError, match="my card is no YAML"):
        Card.parse("{", "my card")
