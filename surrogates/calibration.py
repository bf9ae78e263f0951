"""Calibration: a model fitted to a plant's data, judged on blocks of material held out in turn.

Every output that enough segments were measured of is fitted by itself, in the unit of the model:

    bias       measured = bias + gain x what the champion says
    residual   the same, and ridge and small networks on what it leaves (delta learning)
    retrain    ridge and small networks on what was measured, beside designed samples of the
               physics where the step has a design

It is changed only where that is better on material that was not learnt from; other outputs keep
the champion's model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from surrogates.blocks import Folds, folds
from surrogates.card import Card, Errors, Method, Quantity
from surrogates.design import DESIGNS, Input, StepDesign, Target, sample
from surrogates.ensemble import SmoothEnsemble
from twin.dataset import StepData
from twin.samples import Bools, Floats, Ints
from twin.units import to_si

FEWEST_ROWS: Final = 60
"""Measured segments of an output below which it is not fitted."""
MARGIN: Final = 0.02
"""Share of the error by which a model must be better to be worth a change."""
FOLLOWED: Final = 0.5
"""Share of the expected correlation of what the champion says with the measurements below which
rows are mixed up."""
CLEAR: Final = 3.0
"""Standard errors by which the correlation must fall short for that to be said."""
HUBER: Final = 1.345
"""Residuals beyond this many sigma count less (95 % efficiency on normal noise)."""
MEMBERS: Final = 3
PHYSICS_ROWS: Final = 1024
_PENALTIES: Final = {"residual": (30.0, 10.0), "retrain": (1.0, 1.0)}
"""On slopes and on weights of networks, for standardised inputs and residuals of unit variance.
What a champion leaves is mostly noise that neighbours share: a roll counts like a few rows."""


@dataclass(frozen=True, slots=True)
class Affine:
    """Bias and gain behind the champion."""

    bias: float
    gain: float

    def predict(self, taken: Floats, said: Floats, column: int) -> Floats:
        if not self.gain:
            return np.full(len(said), self.bias)
        return self.bias + self.gain * said[:, column]


@dataclass(frozen=True, slots=True)
class Networks:
    """Ridge and networks on the inputs: on top of the champion, or in its place."""

    model: SmoothEnsemble
    on: Affine | None
    """What they are added to; their inputs are those of the step and then what the champion says
    of the output."""

    def predict(self, taken: Floats, said: Floats, column: int) -> Floats:
        if self.on is None:
            return np.asarray(self.model.predict(taken)[:, 0])
        features = np.column_stack([taken, said[:, column]])
        rest = self.model.predict(features)[:, 0]
        return np.asarray(self.on.predict(taken, said, column) + rest)


Learnt = Affine | Networks


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a step in the units of its model."""

    taken: Floats
    said: Floats
    measured: Floats

    def where(self, rows: Ints) -> Rows:
        return Rows(self.taken[rows], self.said[rows], self.measured[rows])


@dataclass(frozen=True, slots=True)
class Judged:
    """One output on held-out blocks, in the unit of the model."""

    output: str
    rows: int
    champion: Errors | None
    calibrated: Errors | None
    """None where it was not fitted."""
    better: bool
    reason: str
    """A sentence."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found for one step."""

    step: str
    method: Method
    card: Card
    """Of the champion, or of a model with the names and units that are wanted."""
    champion: bool
    """Whether there is one."""
    data: StepData
    rows: Rows
    folds: Folds
    seed: int
    judged: tuple[Judged, ...]
    learnt: dict[str, Learnt]
    """By output that is better, fitted to all rows; without a champion the others are the mean of
    what was measured."""
    physics_rows: int
    objection: str
    """Why nothing is to be exported, as a sentence; empty where the model is better."""


class Fit(Protocol):
    def __call__(self, rows: Rows, column: int) -> Learnt: ...


def calibrate(
    data: StepData,
    card: Card,
    champion: bool,
    method: Method,
    relative: Sequence[str] = (),
    seed: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Calibration:
    """Fit and judge every output of a step. The same data and seed give the same model.

    Args:
        data: of the step.
        card: of the champion; without one, names and units of what is wanted.
        champion: whether there is one.
        method: see the module.
        relative: outputs that are wrong by a factor rather than by an offset.
        seed: of the networks.
        progress: is told the share of the work that is done.

    Raises:
        ValueError: nothing can be learnt from these data by this method.
    """
    if not champion and method != "retrain":
        raise ValueError(
            f"{data.step} has no model that a {method} could be put on; say --method retrain"
        )
    usable: Bools = np.asarray(np.isfinite(data.taken).all(axis=1))
    usable = usable & np.isfinite(data.measured).any(axis=1)
    if champion:
        usable &= np.isfinite(data.said).all(axis=1)
        if method != "retrain":
            usable &= data.in_domain
    data = data.where(usable)
    if not len(data):
        raise ValueError(
            f"no segment of {data.step} has all its inputs, a measurement and a model that is at "
            "home there; look at the recording with: twin replay"
        )
    rows = in_units(data, card)
    design = _physics(card) if method == "retrain" else None
    split = folds(data)
    judged: list[Judged] = []
    learnt: dict[str, Learnt] = {}
    objections: list[str] = []
    for column, quantity in enumerate(card.outputs):
        correlation = _astray(rows.said[:, column], rows.measured[:, column])
        if correlation is not None:
            objections.append(
                f"what was measured of {quantity.name} does not follow what the champion says of "
                f"the same material (correlation {correlation:.2f}): a gauge that is wrong, or "
                "rows that are mixed up"
            )
        fit = _fit(method, card, column, design, quantity.name in relative, seed)
        told = _judge(rows, column, quantity.name, split, fit, champion)
        judged.append(told)
        if told.better:
            measured = np.flatnonzero(np.isfinite(rows.measured[:, column]))
            learnt[quantity.name] = fit(rows.where(measured), column)
        elif not champion and told.rows >= FEWEST_ROWS:
            learnt[quantity.name] = Affine(float(np.nanmean(rows.measured[:, column])), 0.0)
        elif not champion:
            objections.append(f"there is no model of {quantity.name}, and {told.reason}")
        if progress is not None:
            progress((column + 1) / len(card.outputs))
    if not any(told.better for told in judged):
        objections.append("no output is predicted better on held-out material")
    count = PHYSICS_ROWS if design is not None else 0
    return Calibration(
        data.step,
        method,
        card,
        champion,
        data,
        rows,
        split,
        seed,
        tuple(judged),
        learnt,
        count,
        "; ".join(objections),
    )


def in_units(data: StepData, card: Card) -> Rows:
    """The rows in the units in which a model works."""

    def own(values: Floats, quantities: Sequence[Quantity]) -> Floats:
        scales = np.array([to_si(quantity.unit) for quantity in quantities])
        return np.asarray((values - scales[:, 1]) / scales[:, 0])

    return Rows(
        own(data.taken, card.inputs), own(data.said, card.outputs), own(data.measured, card.outputs)
    )


def errors(truth: Floats, predicted: Floats) -> Errors:
    """Errors of predictions; R2 is NaN where the truth does not vary."""
    missed = truth - predicted
    total = float(np.sum((truth - truth.mean()) ** 2))
    return Errors(
        r2=1.0 - float(np.sum(missed**2)) / total if total > 0.0 else float("nan"),
        mae=float(np.abs(missed).mean()),
        rmse=float(np.sqrt(np.mean(missed**2))),
        max_abs=float(np.abs(missed).max()),
    )


def _judge(rows: Rows, column: int, output: str, split: Folds, fit: Fit, champion: bool) -> Judged:
    """Fit to what is not held out, and compare on what is."""
    known = np.isfinite(rows.measured[:, column])
    count = int(known.sum())
    if count < FEWEST_ROWS:
        why = f"{count} segments were measured, {FEWEST_ROWS} are needed"
        return Judged(output, count, None, None, False, why if count else "it is not measured")
    predicted = np.full(len(known), np.nan)
    constant = np.full(len(known), np.nan)
    parts: list[Ints] = []
    for fold in split.folds:
        learn, held_out = fold.learn[known[fold.learn]], fold.held_out[known[fold.held_out]]
        if not len(held_out):
            continue
        if len(learn) < FEWEST_ROWS // 2:
            why = "too few segments are left to learn from when a block is held out"
            return Judged(output, count, None, None, False, why)
        model = fit(rows.where(learn), column)
        predicted[held_out] = model.predict(rows.taken[held_out], rows.said[held_out], column)
        constant[held_out] = rows.measured[learn, column].mean()
        parts.append(held_out)
    truth, said = rows.measured[:, column], rows.said[:, column]
    found = errors(truth[known], predicted[known])
    always = errors(truth[known], constant[known])
    before = errors(truth[known], said[known]) if champion else None
    rival = said if champion else constant
    won = sum(
        np.abs(truth - predicted)[part].mean() < np.abs(truth - rival)[part].mean()
        for part in parts
    )
    against = before or always
    who = "the champion" if champion else "the mean of what was measured"
    why = ""
    if not (
        found.mae < (1.0 - MARGIN) * against.mae and found.rmse < (1.0 - MARGIN) * against.rmse
    ):
        why = f"it is not better than {who} on held-out material"
    elif won * 2 <= len(parts):
        why = f"it is better than {who} on {won} of {len(parts)} held-out blocks only"
    return Judged(output, count, before, found, not why, why or f"better than {who}")


def _astray(said: Floats, measured: Floats) -> float | None:
    """The correlation of both where it is far too low for rows of the same material, else None.

    Were what was said right, and the rest noise, it would be the ratio of their spreads.
    """
    known = np.isfinite(said) & np.isfinite(measured)
    said, measured = said[known], measured[known]
    if len(said) < FEWEST_ROWS or not np.ptp(said) > 0.0:
        return None
    if not np.ptp(measured) > 0.0:
        return 0.0
    expected = min(1.0, float(said.std() / measured.std()))
    least = expected - CLEAR / np.sqrt(_counting(measured - said))
    correlation = float(np.corrcoef(said, measured)[0, 1])
    return correlation if correlation < min(FOLLOWED * expected, least) else None


def _counting(left: Floats) -> float:
    """How many rows count as independent: neighbours share their error."""
    left = left - left.mean()
    noise = float(np.mean(left**2))
    if not noise > 0.0:
        return float(len(left))
    alike = float(np.clip(np.mean(left[1:] * left[:-1]) / noise, 0.0, 0.99))
    return len(left) * (1.0 - alike) / (1.0 + alike)


def _fit(
    method: Method,
    card: Card,
    column: int,
    design: StepDesign | None,
    relative: bool,
    seed: int,
) -> Fit:
    if method == "bias":
        return lambda rows, column: _affine(rows, column, relative)
    if design is not None:
        with_physics = replace(design, targets=(design.targets[column],), width=16, rounds=400)
        drawn = sample(design, seed, PHYSICS_ROWS)

        def beside_physics(rows: Rows, column: int) -> Learnt:
            model = SmoothEnsemble(with_physics, MEMBERS, seed, ridge=1e-6, alpha=1e-3)
            count = len(rows.taken)
            shares = np.repeat([1.0 / PHYSICS_ROWS, 1.0 / count], [PHYSICS_ROWS, count])
            return Networks(
                model.fit(
                    np.concatenate([drawn.inputs, rows.taken]),
                    np.concatenate([drawn.outputs[:, [column]], rows.measured[:, [column]]]),
                    weights=0.5 * (PHYSICS_ROWS + count) * shares,
                ),
                None,
            )

        return beside_physics
    inputs = tuple(Input(quantity.name, quantity.unit) for quantity in card.inputs)
    name, unit = card.outputs[column].name, card.outputs[column].unit
    added = method == "residual"
    if added:
        inputs = (*inputs, Input(f"{name} of the champion", unit))
    plain = StepDesign(card.step, {}, inputs, (Target(name, unit),), (), _no_physics, 8, 300)

    def on_rows(rows: Rows, column: int) -> Learnt:
        features, targets, on = rows.taken, rows.measured[:, column], None
        if added:
            on = _affine(rows, column, relative)
            features = np.column_stack([features, rows.said[:, column]])
            targets = targets - on.predict(rows.taken, rows.said, column)
        bounds = features.min(axis=0), features.max(axis=0)
        model = SmoothEnsemble(plain, MEMBERS, seed, *_PENALTIES[method], bounds)
        return Networks(model.fit(features, targets[:, None]), on)

    return on_rows


def _no_physics(_: object) -> tuple[dict[str, Floats], dict[str, Floats]]:
    raise ValueError("a plant's rows are not drawn from a design")


def _physics(card: Card) -> StepDesign | None:
    """The design of a step, where it is of the same quantities in the same units."""
    design = DESIGNS.get(card.step)
    if design is None:
        return None
    wanted = [(quantity.name, quantity.unit) for quantity in (*card.inputs, *card.outputs)]
    drawn = [(entry.name, entry.unit) for entry in design.inputs]
    drawn += [(target.name, target.unit) for target in design.targets]
    return design if wanted == drawn else None


def _affine(rows: Rows, column: int, relative: bool) -> Affine:
    """Bias and gain where what was said varies enough to tell them apart, else one of them."""
    said, measured = rows.said[:, column], rows.measured[:, column]
    if relative:
        one = Affine(0.0, _robust(said[:, None], measured)[0])
    else:
        one = Affine(_robust(np.ones((len(said), 1)), measured - said)[0], 1.0)
    centre = float(said.mean())
    centred = said - centre
    spread = float(np.sqrt(np.mean(centred**2)))
    level, slope = _robust(np.column_stack([np.ones(len(said)), centred]), measured)
    left = measured - level - slope * centred
    noise = float(left.std())
    if spread <= noise:
        return one
    doubt = noise / (spread * np.sqrt(_counting(left)))
    if abs(slope - one.gain) <= 2.0 * doubt:
        return one
    return Affine(level - slope * centre, slope)


def _robust(design: Floats, target: Floats) -> tuple[float, ...]:
    """Coefficients by iteratively reweighted least squares with Huber's weights."""
    weights = np.ones(len(target))
    coefficients: Floats = np.zeros(design.shape[1])
    for _ in range(20):
        root = np.sqrt(weights)
        coefficients = np.asarray(
            np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0], np.float64
        )
        left = np.abs(target - design @ coefficients)
        scale = 1.4826 * float(np.median(left))
        if not scale > 0.0:
            break
        weights = np.minimum(1.0, HUBER * scale / np.maximum(left, 1e-300))
    return tuple(float(each) for each in coefficients)
