"""Composition: a champion's graph with what was learnt behind it, as one ONNX file with its card.

The champion's nodes stay as they are, whoever made them; every output that was learnt gets nodes of
its own between the champion's and the graph's outputs. What the plant's data alone make has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from surrogates.calibration import Affine, Calibration, Networks
from surrogates.card import (
    METADATA_KEY,
    Card,
    Comparison,
    Errors,
    Lineage,
    Parent,
    Product,
    Quantity,
    Source,
)
from surrogates.export import AGREEMENT, IR_VERSION, OPSET, code_versions, to_graph
from surrogates.onnx_model import OnnxSurrogate
from twin.files import card_path
from twin.samples import Floats
from twin.units import to_si

_CHAMPION: Final = "champion/"
_KINDS: Final = {
    "bias": "bias and gain behind",
    "residual": "bias, gain and networks on the residual behind",
    "retrain": "networks on the plant's data in place of outputs of",
}


def export_calibrated(
    calibration: Calibration, champion: Path | None, recordings: Sequence[Source], folder: Path
) -> Path:
    """Write `<step>-<version>.onnx` with its card to a folder; the same model has the same version.

    Args:
        calibration: what was found; its objection is not looked at.
        champion: file of the champion's model; None where there is none.
        recordings: where the rows are from.
        folder: is created.

    Raises:
        ValueError: the champion's graph cannot be composed, or the model in ONNX departs from what
            was fitted; nothing is written.
    """
    content = None if champion is None else champion.read_bytes()
    model = _model(calibration, content)
    onnx.checker.check_model(model)
    version = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:12]
    card = _card(calibration, version, content, recordings)
    helper.set_model_props(model, {METADATA_KEY: card.text()})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{calibration.step}-{version}.onnx"
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(model.SerializeToString(deterministic=True))
    try:
        _check(OnnxSurrogate.load(draft), calibration)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    card_path(path).write_text(card.text(), encoding="utf-8")
    return path


class _Graph:
    """Nodes and constants that are added one by one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, values: object, dtype: type = np.float64) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def column(self, table: str, index: int, output: str) -> str:
        """One column of a table, (n, 1)."""
        return self.node(
            "Gather", [table, self.constant(f"{output}/index", [index], np.int64)], output, axis=1
        )

    def doubles(self, table: str, columns: int, output: str) -> str:
        """Whatever stands there as (n, columns) in double precision."""
        shape = self.constant(f"{output}/shape", [-1, columns], np.int64)
        shaped = self.node("Reshape", [table, shape], f"{output}/shaped")
        return self.node("Cast", [shaped], output, to=TensorProto.DOUBLE)


def _model(calibration: Calibration, champion: bytes | None) -> onnx.ModelProto:
    """The whole model, without its card."""
    card, graph = calibration.card, _Graph()
    count = len(card.outputs)
    opset, ir_version = OPSET, IR_VERSION
    opsets = [helper.make_opsetid("", OPSET)]
    before: onnx.GraphProto | None = None
    functions: list[onnx.FunctionProto] = []
    if champion is None:
        entry = helper.make_tensor_value_info("X", TensorProto.DOUBLE, ["n", len(card.inputs)])
        taken = "X"
        first = graph.column("X", 0, "first")
        nothing = graph.constant("nothing", np.zeros((1, count)))
        said = spread = graph.node("Mul", [first, nothing], "said")
    else:
        parent = compose.add_prefix(onnx.load_from_string(champion), _CHAMPION)
        before, functions = parent.graph, list(parent.functions)
        ir_version, opsets = parent.ir_version, list(parent.opset_import)
        opset = next(each.version for each in opsets if each.domain in ("", "ai.onnx"))
        constants = {each.name for each in before.initializer}
        entry = next(each for each in before.input if each.name not in constants)
        taken = graph.doubles(entry.name, len(card.inputs), "taken")
        given = [each.name for each in before.output]
        named = f"{_CHAMPION}mean" in given
        said = graph.doubles(f"{_CHAMPION}mean" if named else given[0], count, "said")
        if named:
            spread = graph.doubles(f"{_CHAMPION}std", count, "spread")
        else:
            known = [
                card.errors[q.name].rmse if q.name in card.errors else 0.0 for q in card.outputs
            ]
            nought = graph.node("Sub", [said, said], "nought")
            spread = graph.node("Add", [nought, graph.constant("stated", [known])], "spread")
    means, stds = [], []
    for column, quantity in enumerate(card.outputs):
        mean, std = _output(calibration, graph, quantity.name, column, taken, said, spread, opset)
        means.append(mean)
        stds.append(std)
    graph.node("Concat", means, "mean", axis=1)
    graph.node("Concat", stds, "std", axis=1)
    made = helper.make_graph(
        [*(before.node if before else ()), *graph.nodes],
        calibration.step,
        [entry],
        [
            helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["n", count])
            for n in ("mean", "std")
        ],
        [*(before.initializer if before else ()), *graph.constants],
        sparse_initializer=list(before.sparse_initializer) if before else None,
    )
    return helper.make_model(
        made,
        producer_name="linetwin",
        opset_imports=opsets,
        ir_version=ir_version,
        functions=functions,
    )


def _output(
    calibration: Calibration,
    graph: _Graph,
    name: str,
    column: int,
    taken: str,
    said: str,
    spread: str,
    opset: int,
) -> tuple[str, str]:
    """Mean and std of one output, each (n, 1)."""
    its_mean = graph.column(said, column, f"{name}/said")
    its_std = graph.column(spread, column, f"{name}/spread")
    learnt = calibration.learnt.get(name)
    if learnt is None:
        return its_mean, its_std
    parts = [its_std]
    if isinstance(learnt, Affine):
        its_mean, parts = _affine(graph, learnt, name, its_mean, its_std)
    else:
        prefix = f"{name}/networks/"
        inside = compose.add_prefix_graph(to_graph(learnt.model, opset), prefix)
        features = taken
        if learnt.on is not None:
            features = graph.node("Concat", [taken, its_mean], f"{name}/features", axis=1)
        graph.node("Identity", [features], f"{prefix}X")
        graph.nodes.extend(inside.node)
        graph.constants.extend(inside.initializer)
        if learnt.on is None:
            its_mean, parts = f"{prefix}mean", [f"{prefix}std"]
        else:
            level, parts = _affine(graph, learnt.on, name, its_mean, its_std)
            its_mean = graph.node("Add", [level, f"{prefix}mean"], f"{name}/mean")
            parts = [*parts, f"{prefix}std"]
    judged = next(each for each in calibration.judged if each.output == name)
    noise = judged.calibrated.rmse if judged.calibrated is not None else 0.0
    total = graph.constant(f"{name}/noise", [[noise**2]])
    for number, part in enumerate(parts):
        square = graph.node("Mul", [part, part], f"{name}/square_{number}")
        total = graph.node("Add", [total, square], f"{name}/total_{number}")
    return its_mean, graph.node("Sqrt", [total], f"{name}/std")


def _affine(
    graph: _Graph, affine: Affine, name: str, its_mean: str, its_std: str
) -> tuple[str, list[str]]:
    """Bias and gain behind a mean; what its std becomes."""
    gain = graph.constant(f"{name}/gain", [[affine.gain]])
    bias = graph.constant(f"{name}/bias", [[affine.bias]])
    grown = graph.node("Mul", [its_mean, gain], f"{name}/grown")
    level = graph.node("Add", [grown, bias], f"{name}/level")
    return level, [graph.node("Mul", [its_std, gain], f"{name}/grown_std")]


def predict(calibration: Calibration, taken: Floats, said: Floats) -> Floats:
    """What the calibrated model says, by the fitted Python models, in its units."""
    return np.column_stack(
        [
            calibration.learnt[quantity.name].predict(taken, said, column)
            if quantity.name in calibration.learnt
            else said[:, column]
            for column, quantity in enumerate(calibration.card.outputs)
        ]
    )


def _check(surrogate: OnnxSurrogate, calibration: Calibration) -> None:
    """Compare ONNX with the Python models on the rows."""
    scales = np.array([to_si(quantity.unit) for quantity in calibration.card.outputs])
    ours = (surrogate.predict(calibration.data.taken).mean - scales[:, 1]) / scales[:, 0]
    theirs = predict(calibration, calibration.rows.taken, calibration.rows.said)
    scale = np.maximum(np.abs(theirs), 1e-6 * np.abs(theirs).max(axis=0))
    for name, departure in zip(
        surrogate.outputs, (np.abs(ours - theirs) / scale).max(axis=0), strict=True
    ):
        if not departure <= AGREEMENT:
            raise ValueError(
                f"ONNX departs from what was fitted in {name} by {departure:.1e} of the value, "
                f"more than {AGREEMENT:.0e}; the model is not exported"
            )


def _card(
    calibration: Calibration,
    version: str,
    champion: bytes | None,
    recordings: Sequence[Source],
) -> Card:
    card = calibration.card
    inputs, outputs, products = _domain(calibration)
    compared = {
        judged.output: Comparison(
            rows=judged.rows, champion=judged.champion, calibrated=judged.calibrated
        )
        for judged in calibration.judged
        if judged.output in calibration.learnt and judged.calibrated is not None
    }
    errors: dict[str, Errors] = dict(card.errors) if calibration.champion else {}
    errors |= {name: each.calibrated for name, each in compared.items()}
    parent = None
    if champion is not None:
        parent = Parent(version=card.version, sha256=hashlib.sha256(champion).hexdigest())
    what = _KINDS[calibration.method]
    kind = f"{what} model {card.version}" if parent else "networks on the plant's data alone"
    return Card(
        name=card.name,
        version=version,
        step=card.step,
        kind=kind,
        inputs=inputs,
        outputs=outputs,
        products=products,
        errors=errors,
        training=card.training,
        lineage=Lineage(
            method=calibration.method,
            parent=parent,
            recordings=tuple(recordings),
            rolls=calibration.folds.rolls,
            rows=len(calibration.data),
            physics_rows=calibration.physics_rows,
            seed=calibration.seed,
            blocks=calibration.folds.text,
            learnt=tuple(calibration.learnt),
            cross_validation=compared,
        ),
        code_versions=code_versions(),
    )


def _domain(
    calibration: Calibration,
) -> tuple[tuple[Quantity, ...], tuple[Quantity, ...], tuple[Product, ...]]:
    """Ranges after calibration, of inputs, outputs and products.

    Behind a champion its own domain stays. Retrained beside samples of the physics it is widened by
    the plant's data; on the plant's data alone it is their range.
    """
    card, rows = calibration.card, calibration.rows
    retrained = calibration.method == "retrain"
    alone = retrained and not calibration.physics_rows
    inputs, products = card.inputs, card.products
    if retrained:
        inputs = tuple(
            _range(quantity, rows.taken[:, column], alone) for column, quantity in enumerate(inputs)
        )
        products = () if alone else tuple(_widened(each, card, rows.taken) for each in products)
    now = predict(calibration, rows.taken, rows.said)
    outputs = []
    for column, quantity in enumerate(card.outputs):
        learnt = calibration.learnt.get(quantity.name)
        reached = now[:, column]
        if isinstance(learnt, Networks) and learnt.on is not None:
            # beyond the data the networks stay as they are at their edge
            rest = reached - learnt.on.predict(rows.taken, rows.said, column)
            ends = _ends(learnt.on, quantity)
            reached = np.array([ends.min() + rest.min(), ends.max() + rest.max(), *reached])
        elif isinstance(learnt, Affine) and calibration.champion:
            reached = np.concatenate([_ends(learnt, quantity), reached])
        outputs.append(_range(quantity, reached, alone and learnt is not None))
    return inputs, tuple(outputs), products


def _ends(affine: Affine, quantity: Quantity) -> Floats:
    return affine.bias + affine.gain * np.array([quantity.low, quantity.high])


def _range(quantity: Quantity, values: Floats, alone: bool) -> Quantity:
    low, high = float(values.min()), float(values.max())
    if not alone:
        low, high = min(low, quantity.low), max(high, quantity.high)
    return quantity.model_copy(update={"low": low, "high": high})


def _widened(product: Product, card: Card, taken: Floats) -> Product:
    powers = np.array([product.powers.get(quantity.name, 0.0) for quantity in card.inputs])
    found = np.power(taken, powers).prod(axis=1)
    low, high = min(float(found.min()), product.low), max(float(found.max()), product.high)
    return product.model_copy(update={"low": low, "high": high})
