"""The estimator: what the models get wrong on this line at this time, per structure parameter."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from twin.samples import Floats, Ints

STEADY_GAIN: Final = 0.15
"""Share of a new residual that the bias takes over on a line where nothing happens."""
OUTLIER: Final = 3.5
"""Innovations beyond this many sigma are set aside until a second one confirms them."""
HISTORY: Final = 50_000


class BiasEstimator:
    """A slow, robust bias: a scalar Kalman filter on residuals of the same material.

    The bias is a random walk (Kalman 1960, scalar form) whose steady gain is `STEADY_GAIN`. A
    single outlier (spike, splice) changes nothing; a second one on the same side is a step of the
    process, and the filter starts again from there. The noise of the residuals is learned as it
    goes, and is never below the stated uncertainty of the measurement.

    Args:
        uncertainty: one sigma of a measurement of one segment, SI.
    """

    def __init__(self, uncertainty: float) -> None:
        self._floor = uncertainty**2
        self._noise = self._floor
        self._bias = 0.0
        self._variance = math.inf
        self._suspect = 0.0
        self._times = np.empty(1024, np.int64)
        self._states = np.empty((3, 1024))
        self._count = 0

    @property
    def updates(self) -> int:
        """Residuals taken so far."""
        return self._count

    def update(self, time: Ints, residual: Floats) -> None:
        """Take residuals (measured minus uncorrected prediction, SI) in order of time."""
        for now, value in zip(time.tolist(), residual.tolist(), strict=True):
            self._take(value)
            self._remember(now)

    def _remember(self, now: int) -> None:
        if self._count == len(self._times):
            keep = min(self._count, HISTORY)
            self._times = np.concatenate([self._times[-keep:], np.empty(keep + 1024, np.int64)])
            self._states = np.concatenate(
                [self._states[:, -keep:], np.empty((3, keep + 1024))], axis=1
            )
            self._count = keep
        self._times[self._count] = now
        self._states[:, self._count] = self._bias, self._variance, self._noise
        self._count += 1

    def _take(self, residual: float) -> None:
        if math.isinf(self._variance):
            self._bias, self._variance = residual, self._noise
            return
        self._variance += self._noise * STEADY_GAIN**2 / (1 - STEADY_GAIN)
        innovation = residual - self._bias
        sigma = math.sqrt(self._variance + self._noise)
        if abs(innovation) > OUTLIER * sigma:
            if innovation * self._suspect <= 0:
                self._suspect = innovation
                return
            self._variance = innovation**2
        else:
            self._noise = max(
                self._floor,
                self._noise + 0.05 * (innovation**2 - self._variance - self._noise),
            )
        self._suspect = innovation if abs(innovation) > OUTLIER * sigma else 0.0
        gain = self._variance / (self._variance + self._noise)
        self._bias += gain * innovation
        self._variance *= 1 - gain

    def shift(self, time: int, by: float) -> None:
        """Move the bias where the model's input was revised, so that the corrected value stays."""
        if self._count:
            self._bias += by
            self._remember(time)

    def at(self, time: Ints) -> tuple[Floats, Floats]:
        """Bias and sigma of a corrected prediction, SI, as known at these times.

        Before the first residual the bias is 0 and the sigma NaN.
        """
        index = np.searchsorted(self._times[: self._count], time, "right") - 1
        known = index >= 0
        bias, variance, noise = self._states[:, np.maximum(index, 0)]
        return np.where(known, bias, 0.0), np.where(known, np.sqrt(variance + noise), np.nan)
