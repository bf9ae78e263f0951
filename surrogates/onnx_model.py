"""A surrogate in ONNX Runtime: ours and other people's alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from surrogates.card import METADATA_KEY, Card, Quantity
from twin.files import card_path
from twin.ports import SurrogateOutput
from twin.samples import Bools, Floats
from twin.units import to_si

_DTYPES: dict[str, type[np.float32] | type[np.float64]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}
_TOLERANCE = 1e-9
_OUTPUT_SLACK = 2e-3
"""Share of the range seen in training by which a prediction may lie beyond it: model error."""


class OnnxSurrogate:
    """An ONNX model with its card; takes and gives SI whatever units the model works in.

    The model has one input (n, inputs) and either one output (n, outputs), whose uncertainty is the
    held-out error of the card, or outputs named `mean` and `std`. It runs on one thread.
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: Card, file: Path) -> None:
        self.card = card
        self.file = file
        self._session = session
        self._origin = str(file)
        self._input, self._dtype, self._fetch = self._check_graph()
        self._input_scale, self._input_offset = _scales(card.inputs)
        self._output_scale, self._output_offset = _scales(card.outputs)
        self._low = np.array([quantity.low for quantity in card.inputs])
        self._high = np.array([quantity.high for quantity in card.inputs])
        self._output_low = np.array([quantity.low for quantity in card.outputs])
        self._output_high = np.array([quantity.high for quantity in card.outputs])
        self._powers = np.array(
            [[product.powers.get(name, 0.0) for name in self.inputs] for product in card.products]
        ).reshape(len(card.products), len(card.inputs))
        self._product_low = np.array([product.low for product in card.products])
        self._product_high = np.array([product.high for product in card.products])
        self._constant_std = np.array(
            [
                card.errors[quantity.name].rmse if quantity.name in card.errors else 0.0
                for quantity in card.outputs
            ]
        )
        self._run(0.5 * (self._low + self._high)[None, :])

    @staticmethod
    def load(path: Path) -> OnnxSurrogate:
        """The model of an .onnx file with the card beside it, else with the card inside it.

        Raises:
            ValueError: no model, no card, or a card that does not fit the graph.
        """
        if not path.is_file():
            raise ValueError(f"there is no model at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no public base class
            raise ValueError(f"{path} is no ONNX model that can run here: {error}") from error
        beside = card_path(path)
        if beside.is_file():
            card = Card.parse(beside.read_text(encoding="utf-8"), str(beside))
        else:
            inside = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            if inside is None:
                raise ValueError(
                    f"{path} has no model card; write {beside.name} beside it, "
                    f"or put it into the ONNX metadata under {METADATA_KEY!r}"
                )
            card = Card.parse(inside, f"the card inside {path}")
        return OnnxSurrogate(session, card, path)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns."""
        return tuple(quantity.name for quantity in self.card.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output columns."""
        return tuple(quantity.name for quantity in self.card.outputs)

    @property
    def version(self) -> str:
        """Of the model."""
        return self.card.version

    @property
    def domain(self) -> NDArray[np.float64]:
        """(inputs, 2) lowest and highest value of the training range, SI."""
        bounds = np.stack([self._low, self._high], axis=1)
        return bounds * self._input_scale[:, None] + self._input_offset[:, None]

    def predict(self, inputs: Floats) -> SurrogateOutput:
        """Predict n rows of inputs (n, inputs), SI.

        A row with a missing input gives NaN and lies outside the domain, and so does a row whose
        prediction leaves the range of outputs seen in training.
        """
        rows = np.asarray(inputs, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.card.inputs):
            raise ValueError(
                f"{self._origin} takes rows of {len(self.card.inputs)} inputs "
                f"({', '.join(self.inputs)}), not an array of shape {rows.shape}"
            )
        mean = np.full((len(rows), len(self.card.outputs)), np.nan)
        std = np.full_like(mean, np.nan)
        known: Bools = np.asarray(np.isfinite(rows).all(axis=1))
        own = (rows - self._input_offset) / self._input_scale
        if known.any():
            mean[known], std[known] = self._run(own[known])
        in_domain = self._in_domain(own, mean)
        return SurrogateOutput(
            mean * self._output_scale + self._output_offset, std * self._output_scale, in_domain
        )

    def _in_domain(self, own: Floats, mean: Floats) -> Bools:
        """Inputs and their products within the training range, and outputs no further out."""
        slack = _TOLERANCE * np.maximum(self._high - self._low, np.abs(self._high))
        inside = (own >= self._low - slack) & (own <= self._high + slack)
        room = _OUTPUT_SLACK * (self._output_high - self._output_low)
        reached = (mean >= self._output_low - room) & (mean <= self._output_high + room)
        fits = inside.all(axis=1) & reached.all(axis=1)
        if len(self._powers):
            with np.errstate(all="ignore"):
                products = np.power(own[:, None, :], self._powers).prod(axis=2)
            fits &= (
                (products >= self._product_low * (1.0 - _TOLERANCE))
                & (products <= self._product_high * (1.0 + _TOLERANCE))
            ).all(axis=1)
        return np.asarray(fits)

    def _run(self, own: Floats) -> tuple[Floats, Floats]:
        """Mean and std in the units of the model."""
        shape = (len(own), len(self.card.outputs))
        try:
            raw: list[Any] = self._session.run(self._fetch, {self._input: own.astype(self._dtype)})
        except Exception as error:  # ONNX Runtime's errors share no public base class
            raise ValueError(
                f"{self._origin} cannot take {own.shape[1]} inputs: {error}"
            ) from error
        results = [np.asarray(result, np.float64) for result in raw]
        for name, result in zip(self._fetch, results, strict=True):
            if result.size != shape[0] * shape[1]:
                raise ValueError(
                    f"output {name!r} of {self._origin} has shape {result.shape}, "
                    f"the card names {shape[1]} outputs ({', '.join(self.outputs)})"
                )
        mean = results[0].reshape(shape)
        if len(results) == 1:
            return mean, np.broadcast_to(self._constant_std, shape)
        return mean, results[1].reshape(shape)

    def _check_graph(self) -> tuple[str, type[np.float32] | type[np.float64], list[str]]:
        """Name and type of the input, names of the outputs to fetch; refuses what does not fit."""
        taken = self._session.get_inputs()
        if len(taken) != 1:
            raise ValueError(
                f"{self._origin} has {len(taken)} graph inputs; "
                "a surrogate has one, with a column per input of its card"
            )
        entry = taken[0]
        if entry.type not in _DTYPES:
            raise ValueError(f"{self._origin} takes {entry.type}, not float or double")
        columns = entry.shape[1] if len(entry.shape) == 2 else None
        if len(entry.shape) != 2 or (isinstance(columns, int) and columns != len(self.card.inputs)):
            raise ValueError(
                f"{self._origin} takes an array of shape {entry.shape}, "
                f"the card names {len(self.card.inputs)} inputs ({', '.join(self.inputs)})"
            )
        given = [output.name for output in self._session.get_outputs()]
        if {"mean", "std"} <= set(given):
            fetch = ["mean", "std"]
        elif len(given) == 1:
            fetch = given
        else:
            raise ValueError(
                f"{self._origin} has outputs {', '.join(given)}; "
                "a surrogate has one output, or two named mean and std"
            )
        return entry.name, _DTYPES[entry.type], fetch


def _scales(quantities: tuple[Quantity, ...]) -> tuple[Floats, Floats]:
    pairs = np.array([to_si(quantity.unit) for quantity in quantities])
    return pairs[:, 0], pairs[:, 1]
