"""Export: a fitted ensemble as one ONNX graph, checked against scikit-learn."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import sklearn
from onnx import TensorProto, helper, numpy_helper

from surrogates.card import METADATA_KEY, Card, Quantity, Training
from surrogates.ensemble import SmoothEnsemble, Trained
from surrogates.onnx_model import OnnxSurrogate
from twin.files import card_path
from twin.samples import Floats

AGREEMENT = 1e-4
"""Largest departure of ONNX from scikit-learn, relative to the value."""
OPSET = 17
IR_VERSION = 8
_KIND = "linear model in transformed inputs and targets, plus an ensemble of tanh networks"


def export(trained: Trained, path: Path) -> Card:
    """Write the model to `path` and its card beside it and inside it; return the card.

    Raises:
        ValueError: the ONNX model departs from scikit-learn; nothing stays at `path`.
    """
    graph = to_graph(trained.model)
    card = _card(trained, hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())
    model = helper.make_model(
        graph,
        producer_name="linetwin",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    helper.set_model_props(model, {METADATA_KEY: card.text()})
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(model.SerializeToString(deterministic=True))
    try:
        check(OnnxSurrogate.load(draft), trained.model, trained.held_out.inputs)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    card_path(path).write_text(card.text(), encoding="utf-8")
    return card


def check(surrogate: OnnxSurrogate, model: SmoothEnsemble, inputs: Floats) -> None:
    """Compare both on these rows.

    Raises:
        ValueError: an output departs by more than `AGREEMENT`.
    """
    ours = surrogate.predict(inputs).mean
    theirs = model.predict(inputs)
    scale = np.maximum(np.abs(theirs), 1e-6 * np.abs(theirs).max(axis=0))
    worst = (np.abs(ours - theirs) / scale).max(axis=0)
    for name, departure in zip(surrogate.outputs, worst, strict=True):
        if not departure <= AGREEMENT:
            raise ValueError(
                f"ONNX departs from scikit-learn in {name} by {departure:.1e} of the value, "
                f"more than {AGREEMENT:.0e}; the model is not exported"
            )


def to_graph(model: SmoothEnsemble, opset: int = OPSET) -> onnx.GraphProto:
    """The ensemble as a graph in double precision; all members run in one batched product."""
    design = model.design
    constants: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: object, dtype: type = np.float64) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def mean_of_members(values: str, output: str) -> str:
        # where the axes stand changed with version 18 of the operators
        if opset < 18:
            return node("ReduceMean", [values], output, axes=[0], keepdims=0)
        return node("ReduceMean", [values, "members_axis"], output, keepdims=0)

    if opset >= 18:
        constant("members_axis", [0], np.int64)
    taken = "X"
    if model.bounds is not None:
        lowest, highest = constant("lowest", model.bounds[0]), constant("highest", model.bounds[1])
        taken = node("Min", [node("Max", ["X", lowest], "not_below"), highest], "within")
    logged = [entry.logarithmic for entry in design.inputs]
    safe = node(
        "Where", [constant("logged", logged, np.bool_), taken, constant("one", 1.0)], "safe"
    )
    logs = node("Log", [safe], "logs")
    features = node("Where", ["logged", logs, taken], "features")
    centred = node("Sub", [features, constant("centre", model.scaler_.mean_)], "centred")
    scaled = node("Div", [centred, constant("scale", model.scaler_.scale_)], "scaled")

    slope = constant("linear_slope", model.linear_.coef_.reshape(len(design.targets), -1).T)
    product = node("MatMul", [scaled, slope], "linear_product")
    offset = constant("linear_offset", model.linear_.intercept_)
    linear = node("Add", [product, offset], "linear")

    layer = scaled
    depth = len(model.networks_[0].coefs_)
    for index in range(depth):
        weights = np.stack([network.coefs_[index] for network in model.networks_])
        biases = np.stack([network.intercepts_[index] for network in model.networks_])[:, None, :]
        if index == depth - 1:
            weights = weights * model.rest_scale_
            biases = biases * model.rest_scale_
        slope = constant(f"slope_{index}", weights)
        product = node("MatMul", [layer, slope], f"product_{index}")
        layer = node("Add", [product, constant(f"bias_{index}", biases)], f"layer_{index}")
        if index < depth - 1:
            layer = node("Tanh", [layer], f"active_{index}")
    learnt = node("Add", [linear, layer], "learnt")

    curved = constant("curved", [target.logarithmic for target in design.targets], np.bool_)
    exponent = node("Where", [curved, learnt, constant("nought", 0.0)], "exponent")
    grown = node("Exp", [exponent], "grown")
    shift = constant("shift", [target.offset for target in design.targets])
    shifted = node("Sub", [grown, shift], "shifted")
    restored = node("Where", [curved, shifted, learnt], "restored")
    low = constant("low", [target.low for target in design.targets])
    high = constant("high", [target.high for target in design.targets])
    clipped = node("Min", [node("Max", [restored, low], "raised"), high], "members")

    mean = mean_of_members(clipped, "mean")
    departure = node("Sub", [clipped, mean], "departure")
    square = node("Mul", [departure, departure], "square")
    variance = mean_of_members(square, "variance")
    spread = node("Sqrt", [variance], "spread")
    node("Mul", [spread, constant("calibration", model.calibration_)], "std")

    def value(name: str, columns: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", columns])

    return helper.make_graph(
        nodes,
        design.step,
        [value("X", len(design.inputs))],
        [value("mean", len(design.targets)), value("std", len(design.targets))],
        constants,
    )


def _card(trained: Trained, digest: str) -> Card:
    design = trained.design
    outputs = trained.model.clipped(trained.samples.outputs)
    return Card(
        name=f"{design.step} of the default line",
        version=digest[:12],
        step=design.step,
        kind=_KIND,
        inputs=tuple(
            Quantity(
                name=entry.name,
                unit=entry.unit,
                low=float(design.ranges[entry.name].low)
                if entry.name in design.ranges
                else float(trained.samples.inputs[:, column].min()),
                high=float(design.ranges[entry.name].high)
                if entry.name in design.ranges
                else float(trained.samples.inputs[:, column].max()),
            )
            for column, entry in enumerate(design.inputs)
        ),
        outputs=tuple(
            Quantity(
                name=target.name,
                unit=target.unit,
                low=float(outputs[:, column].min()),
                high=float(outputs[:, column].max()),
            )
            for column, target in enumerate(design.targets)
        ),
        products=design.products,
        errors=trained.errors,
        training=Training(
            design=design.description,
            seed=trained.seed,
            samples=len(trained.samples.inputs),
            held_out=len(trained.held_out.inputs),
        ),
        code_versions=code_versions(),
    )


def code_versions() -> dict[str, str]:
    """Of the programs that make a model."""
    try:
        own = version("linetwin")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "linetwin": own,
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "scikit-learn": sklearn.__version__,
    }
