"""The estimator: what the models get wrong on this line at this time, per structure parameter."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot
from twin.watermark import NEVER

STEADY_GAIN: Final = 0.05
"""Share of a new residual that the bias takes over on a line where nothing happens."""
PACE: Final = 10_000_000_000
"""Time in which the offset of a machine moves as it does from one reading to the next, ns."""
OUTLIER: Final = 3.5
"""Innovations beyond this many sigma are set aside until a second one confirms them."""
SLACK: Final = 0.5
"""Sigma that the cumulative sums forgive per residual: half of the shift they look for."""
ALARM: Final = 8.0
"""Cumulative sum, in sigma, that says that the process has shifted: by chance once in 10^6."""
MISMATCH: Final = 0.1
"""Share of a change of the model's output by which the change may be another."""
HISTORY: Final = 8192
"""Measurements whose states are kept: twice what predictions are remembered for."""

ROWS: Final = 7
"""Numbers of a state: bias, its variance, noise, scale, shared, the foil's part, its covariance."""


class BiasEstimator:
    """A slow, robust bias: a scalar Kalman filter on residuals of the same material.

    The bias is a random walk (Kalman 1960, scalar form) whose steady gain is `STEADY_GAIN`.
    What is a machine's own, the offset of an input, moves with time and not with the material
    (`PACE`): a machine that stands warms up or cools down all the same. A
    single outlier (spike, splice) changes nothing; a second one on the same side is a step of the
    process, and the filter starts again from there. Smaller steps are found by two cumulative sums
    of the innovations (Page 1954), which also say since when and how large. The noise of the
    residuals is learned as it goes, and is never below the stated uncertainty of the measurement.

    What other outputs build on is the `shared` state: it follows the bias, but not a confirmed
    outlier, which only this gauge has seen.

    Another foil shifts what is read for good, whatever is coated on it: from a splice on the bias
    is the sum of two states, of which one is the foil's (`coating`). A Kalman filter divides each
    innovation between them by their covariances; what changes after some segments is the process.

    Args:
        uncertainty: one sigma of a measurement of one segment, SI.
        relative: the model is wrong by a factor (a pump, a concentration), not by an offset.
        prior: one sigma of the model before the first measurement, SI; infinite where unknown.
        foil: one sigma by which another foil shifts what is read, SI.
    """

    def __init__(
        self,
        uncertainty: float,
        relative: bool = False,
        prior: float = math.inf,
        foil: float = 0.0,
    ) -> None:
        self._floor = uncertainty**2
        self._relative = relative
        self._prior = prior
        self._foil = foil
        self._noise = self._floor
        self._bias = 0.0
        self._variance = math.inf
        self._alone = 0.0
        self._tare = 0.0
        self._covariance = 0.0
        self._level = math.nan
        self._suspect = 0.0
        self._sums = [0.0, 0.0]
        self._lengths = [0, 0]
        self._scale = 1.0
        self._times = np.empty(1024, np.int64)
        self._states = np.zeros((ROWS, 1024))
        self._count = 0
        self._updates = 0
        self._learned = NEVER

    @property
    def updates(self) -> int:
        """Residuals taken so far."""
        return self._updates

    @property
    def learned(self) -> int:
        """When the last residual was known that was taken and is not forgotten, ns."""
        return self._learned

    def update(
        self,
        time: Ints,
        measured: Floats,
        mean: Floats,
        slope: Floats | None = None,
        level: Floats | None = None,
        fresh: Bools | None = None,
        spliced: Bools | None = None,
    ) -> None:
        """Take n measurements in order of time with what the model says of them.

        Args:
            time: when each was known, ns.
            measured: SI.
            mean: what is said without this correction, SI.
            slope: where given the state is what the measured less the said is divided by: the
                offset of an input of the model, whose output rises by `slope` per unit of it.
            level: what the model alone says, SI; `mean` where it is not given. Where it changes,
                as after a move, the bias may change by a share of that: slopes are wrong, too.
            fresh: material of another batch or roll, for which the prior holds anew.
            spliced: the first material on another foil.
        """
        slopes = mean if self._relative else np.ones_like(mean) if slope is None else slope
        levels = mean if level is None else level
        news, foils = (
            np.zeros(len(time), np.bool_) if each is None else each for each in (fresh, spliced)
        )
        for now, value, said, scale, there, new, foil in zip(
            time.tolist(), measured.tolist(), mean.tolist(), slopes.tolist(), levels.tolist(),
            news.tolist(), foils.tolist(), strict=True,
        ):  # fmt: skip
            if not abs(scale) > 0.0:
                continue
            self._scale = scale
            open_ = MISMATCH * (there - self._level)
            if new and math.isfinite(self._prior):
                open_ = math.hypot(open_, self._prior)
            if math.isfinite(open_):
                self._variance += (open_ / scale) ** 2
            self._level = there
            if foil:
                self._variance += (self._foil / scale) ** 2
                self._covariance += (self._foil / scale) ** 2
            if slope is not None:
                stood = max(0.0, (now - self._learned) / PACE - 1.0)
                self._variance += stood * self._walk / scale**2
            self._take(value - said)
            self._updates += 1
            self._learned = now
            self._remember(now)

    @property
    def _walk(self) -> float:
        """Variance by which the bias moves from one reading to the next, of the output."""
        return self._noise * STEADY_GAIN**2 / (1 - STEADY_GAIN)

    def _remember(self, now: int) -> None:
        if self._count == len(self._times):
            keep = min(self._count, HISTORY)
            self._times = np.concatenate([self._times[-keep:], np.empty(keep + 1024, np.int64)])
            self._states = np.concatenate(
                [self._states[:, -keep:], np.empty((ROWS, keep + 1024))], axis=1
            )
            self._count = keep
        self._times[self._count] = now
        shared = self._bias - self._alone - self._tare
        self._states[:, self._count] = (
            self._bias, self._variance, self._noise, self._scale, shared, self._tare,
            self._covariance,
        )  # fmt: skip
        self._count += 1

    def _take(self, residual: float) -> None:
        """One step of the filter; bias and variance are those of the factor where it is one."""
        scale = self._scale
        if math.isinf(self._variance):
            open_, noise = self._prior**2, self._noise
            gain = 1.0 if math.isinf(open_) else open_ / (open_ + noise)
            self._bias, self._variance = gain * residual / scale, gain * noise / scale**2
            return
        variance = self._variance * scale**2 + self._walk
        innovation = residual - self._bias * scale
        sigma = math.sqrt(variance + self._noise)
        outlying = abs(innovation) > OUTLIER * sigma
        if outlying and innovation * self._suspect <= 0:
            self._suspect = innovation
            self._variance = variance / scale**2
            return
        if outlying:
            variance = innovation**2
            self._clear()
        else:
            self._noise = max(
                self._floor, self._noise + 0.05 * (innovation**2 - variance - self._noise)
            )
        self._suspect = innovation if outlying else 0.0
        gain = variance / (variance + self._noise)
        self._bias += gain * innovation / scale
        if outlying:
            self._alone += gain * innovation / scale
            self._covariance = 0.0
        else:
            self._tare += self._covariance * scale / (variance + self._noise) * innovation
            self._covariance *= 1 - gain
        self._variance = variance * (1 - gain) / scale**2
        if not outlying:
            self._watch(innovation / sigma, sigma)

    def _watch(self, innovation: float, sigma: float) -> None:
        for side, sign in enumerate((1.0, -1.0)):
            self._sums[side] = max(0.0, self._sums[side] + sign * innovation - SLACK)
            self._lengths[side] = self._lengths[side] + 1 if self._sums[side] else 0
            if self._sums[side] > ALARM:
                # the filter has followed a part of the shift; what is left is open again
                left = self._noise / self._lengths[side] / self._scale**2
                shift = sign * (self._sums[side] / self._lengths[side] + SLACK) * sigma
                self._bias += shift * (1 - STEADY_GAIN) ** self._lengths[side] / self._scale
                self._variance = max(self._variance, left)
                self._clear()
                return

    def _clear(self) -> None:
        self._sums, self._lengths = [0.0, 0.0], [0, 0]

    def forget_since(self, since: int, time: int) -> None:
        """What was learned since a time (ns) does not hold; that is known at `time`."""
        index = int(np.searchsorted(self._times[: self._count], since)) - 1
        if not self._count or int(self._times[self._count - 1]) < since:
            return
        self._suspect = 0.0
        self._clear()
        self._learned = NEVER if index < 0 else int(self._times[index])
        if index < 0:
            self._bias, self._variance, self._noise = 0.0, math.inf, self._floor
            self._alone = self._tare = self._covariance = 0.0
        else:
            forgotten = self._count - 1 - index
            state = self._states[:, index].tolist()
            self._bias, self._variance, self._noise, self._scale, shared, *foil = state
            self._tare, self._covariance = foil
            self._alone = self._bias - shared - self._tare
            self._variance += self._walk * forgotten / self._scale**2
        self._remember(time)

    def shift(self, time: int, before: float, after: float) -> None:
        """The model's input was revised: where it said `before` it says `after`, all else equal."""
        if math.isinf(self._variance):
            return
        if not self._relative:
            self._bias += before - after
        elif after > 0:
            self._bias = before * (1 + self._bias) / after - 1
        self._remember(time)

    def correct(self, mean: Floats, time: Ints) -> tuple[Floats, Floats]:
        """What the model says with the bias known at these times, and its sigma, SI.

        The sigma is that of a measurement against it; before the first one the bias is 0 and the
        sigma that of the prior, NaN where there is none.
        """
        known, (bias, variance, noise, *_) = self._known(time)
        scale = mean if self._relative else np.ones_like(mean)
        sigma = np.sqrt(variance * scale**2 + noise)
        return mean + np.where(known, bias, 0.0) * scale, np.where(known, sigma, self._unread())

    def at(self, time: Ints) -> tuple[Floats, Floats]:
        """Bias and its own sigma, SI, for material as it was; 0 and the prior before the first."""
        known, (bias, variance, _, scale, *_) = self._known(time)
        prior = self._prior if math.isfinite(self._prior) else math.nan
        return (
            np.where(known, bias * scale, 0.0),
            np.where(known, np.sqrt(variance) * np.abs(scale), prior),
        )

    def state(self, time: Ints) -> tuple[Floats, Floats]:
        """The bare state, and the sigma of a measurement against what is made of it, SI."""
        known, (bias, variance, noise, scale, *_) = self._known(time)
        sigma = np.sqrt(variance * scale**2 + noise)
        return np.where(known, bias, 0.0), np.where(known, sigma, self._unread())

    def foil(self, time: Ints) -> tuple[Floats, Floats]:
        """The foil's part of the bare state, and the output per unit of the state, SI."""
        known, states = self._known(time)
        return np.where(known, states[5], 0.0), states[3]

    def coating(self, read: Floats, time: Ints) -> Floats:
        """What readings, or predictions of them, say without what the foil shifts them by, SI."""
        if not self._foil:
            return read
        known, states = self._known(time)
        bias, tare = np.where(known, states[[0, 5]], 0.0)
        made: Floats = read * (1.0 - tare / (1.0 + bias)) if self._relative else read - tare
        return made

    def shared(self, time: Ints) -> tuple[Floats, Bools]:
        """The state that other outputs build on, and whether anything has been measured."""
        known, states = self._known(time)
        return np.where(known, states[4], 0.0), known

    def _unread(self) -> float:
        """Sigma of the first measurement against the model, SI."""
        return math.sqrt(self._prior**2 + self._floor) if math.isfinite(self._prior) else math.nan

    def snapshot(self) -> Snapshot:
        """What it has learned; rows once remembered stay, so that a view of them will do."""
        return {
            "numbers": [
                self._noise,
                self._bias,
                self._variance,
                self._alone,
                self._tare,
                self._covariance,
                self._suspect,
                self._scale,
                self._level,
            ],
            "sums": list(self._sums),
            "lengths": list(self._lengths),
            "updates": self._updates,
            "learned": self._learned,
            "times": self._times[: self._count],
            "states": self._states[:, : self._count],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave, which may have been told another uncertainty."""
        noise, self._bias, self._variance, self._alone, *others = state["numbers"]
        self._tare, self._covariance, self._suspect, self._scale, self._level = others
        self._noise = max(self._floor, noise)
        self._sums, self._lengths = list(state["sums"]), list(state["lengths"])
        self._updates, self._count = state["updates"], len(state["times"])
        self._learned = state["learned"]
        self._times = np.append(state["times"], np.empty(1024, np.int64))
        self._states = np.append(state["states"], np.zeros((ROWS, 1024)), axis=1)

    def _known(self, time: Ints) -> tuple[Bools, Floats]:
        index = np.searchsorted(self._times[: self._count], time, "right") - 1
        states = self._states[:, np.maximum(index, 0)]
        # nothing is known either once all that was learned is forgotten
        return (index >= 0) & np.isfinite(states[1]), states
