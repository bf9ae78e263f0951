"""Training: designed samples of the physics, a smooth ensemble on them, an ONNX file with card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from surrogates.card import Card, Errors
from surrogates.design import DESIGNS, StepDesign, sample
from surrogates.ensemble import SmoothEnsemble, Trained
from surrogates.export import export
from twin.samples import Floats

_HELD_OUT = 2048
_HELD_OUT_SEED = 1_000_003
"""Added to the seed, so that held-out samples are of another design than those of training."""


def score(design: StepDesign, truth: Floats, predicted: Floats) -> dict[str, Errors]:
    """Errors by output."""
    return {
        target.name: Errors(
            r2=float(r2_score(truth[:, column], predicted[:, column])),
            mae=float(mean_absolute_error(truth[:, column], predicted[:, column])),
            rmse=float(root_mean_squared_error(truth[:, column], predicted[:, column])),
            max_abs=float(np.max(np.abs(truth[:, column] - predicted[:, column]))),
        )
        for column, target in enumerate(design.targets)
    }


def train(
    step: str, seed: int, samples: int, progress: Callable[[float], None] | None = None
) -> Trained:
    """Draw samples, fit, and score on samples of another seed. The same seed gives the same model.

    Raises:
        ValueError: there is no such step.
    """
    if step not in DESIGNS:
        raise ValueError(f"there is no step {step!r} to train; choose from {', '.join(DESIGNS)}")
    design = DESIGNS[step]
    drawn = sample(design, seed, samples)
    held_out = sample(design, seed + _HELD_OUT_SEED, _HELD_OUT)
    model = SmoothEnsemble(design, seed=seed).fit(drawn.inputs, drawn.outputs, progress)
    model.calibrate(held_out.inputs, held_out.outputs)
    errors = score(design, model.clipped(held_out.outputs), model.predict(held_out.inputs))
    return Trained(design, model, drawn, held_out, seed, errors)


def train_models(
    output: Path,
    steps: Sequence[str],
    seed: int,
    samples: int,
    progress: Callable[[str, float], None],
    here: bool = True,
) -> list[Card]:
    """Train, check and write the models of these steps, as `<step>.onnx` with its card.

    Args:
        output: folder to write to.
        steps: names of steps.
        seed: of the designs and the networks.
        samples: per step.
        progress: is told the step at work and the share of all the work that is done.
        here: one step after the other in this process; else all at once, wherever joblib's
            backend of the moment computes.

    Raises:
        ValueError: an unknown step, or an ONNX model that departs from scikit-learn.
    """
    if unknown := [step for step in steps if step not in DESIGNS]:
        raise ValueError(
            f"there is no step {', '.join(unknown)} to train; choose from {', '.join(DESIGNS)}"
        )
    output.mkdir(parents=True, exist_ok=True)
    cards: list[Card] = []
    if not here:
        work = (delayed(train)(step, seed, samples) for step in steps)
        trained: Iterator[Trained] = Parallel(-1, return_as="generator")(work)
        for step, each in zip(steps, trained, strict=True):
            cards.append(export(each, output / f"{step}.onnx"))
            progress(step, len(cards) / len(steps))
        return cards
    for number, step in enumerate(steps):

        def tell(share: float, step: str = step, number: int = number) -> None:
            progress(step, (number + share) / len(steps))

        tell(0.0)
        cards.append(export(train(step, seed, samples, tell), output / f"{step}.onnx"))
    return cards
