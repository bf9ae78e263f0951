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
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from surrogates.card import Errors
from surrogates.design import Samples, StepDesign
from twin.samples import Floats

_NEGLIGIBLE = 1e-7
"""Share of a target's spread below which what the linear part leaves is rounding."""


class SmoothEnsemble(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is not typed
    """A linear model in transformed inputs and targets, plus networks on what it leaves.

    Mass balances are products, linear in logarithms: the linear part has them exactly, and their
    gradients; the networks learn the rest and disagree where they know little.

    Args:
        design: what is learnt, and how.
        members: networks.
        seed: of their first weights.
        ridge: penalty on the slopes of the linear model, in rows; 0 for exact samples.
        alpha: penalty on the weights of the networks; more for noisy rows.
        bounds: lowest and highest value of every input beyond which it counts as that value.
    """

    def __init__(
        self,
        design: StepDesign,
        members: int = 4,
        seed: int = 0,
        ridge: float = 0.0,
        alpha: float = 1e-6,
        bounds: tuple[Floats, Floats] | None = None,
    ) -> None:
        self.design = design
        self.members = members
        self.seed = seed
        self.ridge = ridge
        self.alpha = alpha
        self.bounds = bounds

    def fit(
        self,
        inputs: Floats,
        outputs: Floats,
        progress: Callable[[float], None] | None = None,
        weights: Floats | None = None,
    ) -> Self:
        """Fit to rows of inputs and outputs, SI, each with its weight (mean 1).

        Tells the share of the members that are done.
        """
        self.scaler_ = StandardScaler().fit(self._features(inputs))
        features = self.scaler_.transform(self._features(inputs))
        targets = self._learnt(outputs)
        linear = Ridge(self.ridge) if self.ridge else LinearRegression()
        self.linear_ = linear.fit(features, targets, weights)
        rest = targets - self.linear_.predict(features).reshape(targets.shape)
        self.rest_scale_ = rest.std(axis=0)
        negligible = self.rest_scale_ < _NEGLIGIBLE * targets.std(axis=0)
        self.rest_scale_[negligible] = 0.0
        scaled = rest / np.where(negligible, np.inf, self.rest_scale_)
        if scaled.shape[1] == 1:
            scaled = scaled[:, 0]
        self.networks_ = []
        self.calibration_ = np.ones(targets.shape[1])
        for member in range(self.members):
            network = MLPRegressor(
                hidden_layer_sizes=(self.design.width, self.design.width),
                activation="tanh",
                solver="lbfgs",
                alpha=self.alpha,
                max_iter=self.design.rounds,
                max_fun=2 * self.design.rounds,
                tol=1e-9,
                random_state=self.seed * 1000 + member,
            )
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted = network.fit(features, scaled, weights)
                self.networks_.append(fitted)
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
        if self.bounds is not None:
            inputs = np.clip(inputs, *self.bounds)
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
        base = self.linear_.predict(features).reshape(len(features), -1)
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
