"""A smooth ensemble of small networks around a linear model, for scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from surrogates.card import Errors
from surrogates.design import Samples, StepDesign
from twin.samples import Floats

_NEGLIGIBLE = 1e-7
"""Share of a target's spread below which what the linear part leaves is rounding."""


class SmoothEnsemble(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A linear model in transformed inputs and targets, plus networks on what it leaves.

    Mass balances are products, linear in logarithms: the linear part has them exactly, and their
    gradients; the networks learn the rest and disagree where they know little.
    """

    def __init__(self, design: StepDesign, members: int = 4, seed: int = 0) -> None:
        self.design = design
        self.members = members
        self.seed = seed

    def fit(
        self, inputs: Floats, outputs: Floats, progress: Callable[[float], None] | None = None
    ) -> Self:
        """Fit to rows of inputs and outputs, SI; tells the share of the members that are done."""
        self.scaler_ = StandardScaler().fit(self._features(inputs))
        features = self.scaler_.transform(self._features(inputs))
        targets = self._learnt(outputs)
        self.linear_ = LinearRegression().fit(features, targets)
        rest = targets - self.linear_.predict(features)
        self.rest_scale_ = rest.std(axis=0)
        negligible = self.rest_scale_ < _NEGLIGIBLE * targets.std(axis=0)
        self.rest_scale_[negligible] = 0.0
        scaled = rest / np.where(negligible, np.inf, self.rest_scale_)
        self.networks_ = []
        self.calibration_ = np.ones(targets.shape[1])
        for member in range(self.members):
            network = MLPRegressor(
                hidden_layer_sizes=(self.design.width, self.design.width),
                activation="tanh",
                solver="lbfgs",
                alpha=1e-6,
                max_iter=self.design.rounds,
                max_fun=2 * self.design.rounds,
                tol=1e-9,
                random_state=self.seed * 1000 + member,
            )
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.networks_.append(network.fit(features, scaled))
            if progress is not None:
                progress((member + 1) / self.members)
        return self

    def calibrate(self, inputs: Floats, outputs: Floats) -> Self:
        """Scale the spread of the members so that it is the error on rows not seen in training."""
        predicted = self._members(inputs)
        spread = predicted.std(axis=0)
        error = self.clipped(outputs) - predicted.mean(axis=0)
        typical = np.sqrt(np.mean(spread**2, axis=0))
        ratio = np.sqrt(np.mean(error**2, axis=0)) / np.where(typical > 0.0, typical, np.inf)
        self.calibration_ = np.clip(ratio, 1.0, 10.0)
        return self

    def predict(self, inputs: Floats) -> Floats:
        """Mean of the members, SI."""
        return np.asarray(self._members(inputs).mean(axis=0))

    def predict_std(self, inputs: Floats) -> Floats:
        """One sigma, SI."""
        return np.asarray(self._members(inputs).std(axis=0) * self.calibration_)

    def clipped(self, outputs: Floats) -> Floats:
        """Outputs within the limits that predictions keep to."""
        low = [target.low for target in self.design.targets]
        high = [target.high for target in self.design.targets]
        return np.clip(outputs, low, high)

    def _features(self, inputs: Floats) -> Floats:
        columns = [
            np.log(inputs[:, index]) if entry.logarithmic else inputs[:, index]
            for index, entry in enumerate(self.design.inputs)
        ]
        return np.column_stack(columns)

    def _learnt(self, outputs: Floats) -> Floats:
        columns = [
            np.log(outputs[:, index] + target.offset) if target.logarithmic else outputs[:, index]
            for index, target in enumerate(self.design.targets)
        ]
        return np.column_stack(columns)

    def _members(self, inputs: Floats) -> NDArray[np.float64]:
        """(members, n, outputs), SI."""
        features = self.scaler_.transform(self._features(inputs))
        base = self.linear_.predict(features)
        learnt = np.stack(
            [
                base + self.rest_scale_ * network.predict(features).reshape(base.shape)
                for network in self.networks_
            ]
        )
        logarithmic = np.array([target.logarithmic for target in self.design.targets])
        offset = np.array([target.offset for target in self.design.targets])
        with np.errstate(over="ignore"):
            back = np.where(logarithmic, np.exp(learnt) - offset, learnt)
        return self.clipped(back)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model with what a card says of it."""

    design: StepDesign
    model: Any
    """SmoothEnsemble; scikit-learn carries no types."""
    samples: Samples
    held_out: Samples
    seed: int
    errors: dict[str, Errors]
