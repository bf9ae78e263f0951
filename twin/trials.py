"""The next trial: Bayesian optimisation that starts from what the models already know.

What a trial makes is what the (corrected) chain says plus a Gaussian process, so that the first
trial is the models' own proposal and every result bends them where it was found. The distance from
the targets is a function of these (Astudillo and Frazier 2019); the next trial is where it is
expected to improve most (Jones et al. 1998), by the library bayesian-optimization.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from twin.chain import DRAWS
from twin.design import Problem, Solver
from twin.samples import Bools, Floats

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

LENGTH: Final = 0.5
"""Share of a range over which the models are wrong by about the same."""
SHARE: Final = 0.02
"""Of an output that the models are expected to be wrong by at least, before any result."""
CANDIDATES: Final = 4000
"""Random points among which the search for the next trial starts."""
STARTS: Final = 5
"""Best of these from which it goes on."""
OUTSIDE: Final = 2.0
"""Times the doubt where a model is asked outside its domain: a trial may go there, limits allow."""
FORBIDDEN: Final = -1e9
"""Score of what breaks a limit."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was set, and what came of it."""

    values: Floats
    """(variables) SI."""
    made: Floats
    """(targets) SI; NaN where it was not measured."""


@dataclass(frozen=True, slots=True)
class Reach:
    """From where, and how far, a trial may go; SI."""

    start: Floats
    """(free) where the line stands."""
    furthest: Floats
    """(free) largest change from one trial to the next."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A trial that is worth making."""

    values: Floats
    """(variables) SI."""
    mean: Floats
    """(targets) what it is to give, SI."""
    sigma: Floats
    """(targets) SI."""
    chance: float
    """That all targets are met within their tolerances."""


class Planner:
    """Proposes trials for the targets of a problem.

    Args:
        problem: chain, targets, what may vary and limits.
        trials: all results so far.
        noise: (targets) one sigma of a result, SI.
        seed: of the search.
    """

    def __init__(
        self, problem: Problem, trials: Sequence[Trial], noise: Floats, seed: int = 1
    ) -> None:
        self.problem = problem
        self._seed = seed
        self._noise = noise
        self._columns = [problem.chain.outputs.index(each.output) for each in problem.targets]
        self._target = np.array([each.value for each in problem.targets])
        self._tolerance = np.array([each.tolerance for each in problem.targets])
        self._free = [each.column for each in problem.free]
        self._low = np.array([each.low for each in problem.free])
        self._width = np.array([each.high - each.low for each in problem.free])
        self._rules = Solver(problem, seed)
        self._rows = np.array([each.values for each in trials]).reshape(
            -1, len(problem.chain.variables)
        )
        self._made = np.array([each.made for each in trials]).reshape(-1, len(self._columns))
        self._prior = self._learn_prior()
        self._processes = self._learn()

    def _learn_prior(self) -> Floats:
        """(targets) how far the models are from results, SI: seen, and expected before any."""
        start = self.problem.start[None, :]
        expected = np.hypot(
            self.problem.chain(start, DRAWS).sigma[0, self._columns],
            SHARE * np.abs(self._target),
        )
        expected = np.where(np.isfinite(expected), expected, SHARE * np.abs(self._target))
        if not len(self._rows):
            return np.asarray(expected, np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a target that nothing measured yet
            seen = np.sqrt(np.nanmean(self._residuals() ** 2, axis=0))
        return np.asarray(np.hypot(expected, np.nan_to_num(seen)), np.float64)

    def _residuals(self) -> Floats:
        """(trials, targets) result less what the chain says."""
        residuals: Floats = self._made - self.problem.chain(self._rows).mean[:, self._columns]
        return residuals

    def _learn(self) -> list[GaussianProcessRegressor | None]:
        """Per target how wrong the chain is, in units of the prior; None where nothing is known."""
        from sklearn.gaussian_process import GaussianProcessRegressor  # slow to load
        from sklearn.gaussian_process.kernels import RBF

        processes: list[GaussianProcessRegressor | None] = []
        residuals, places = self._residuals(), self._scaled(self._rows)
        for column, prior in enumerate(self._prior.tolist()):
            known: Bools = np.isfinite(residuals[:, column])
            process = GaussianProcessRegressor(
                RBF(LENGTH), alpha=(self._noise[column] / prior) ** 2 + 1e-8, optimizer=None
            )
            processes.append(
                process.fit(places[known], residuals[known, column] / prior)
                if known.any()
                else None
            )
        return processes

    def expect(self, rows: Floats) -> tuple[Floats, Floats]:
        """What trials (n, variables) are to give: mean and sigma (n, targets), SI."""
        return self._bent(rows, self.problem.chain(rows).mean[:, self._columns])

    def _bent(self, rows: Floats, said: Floats) -> tuple[Floats, Floats]:
        """What the chain says of rows, as results bend it, and its sigma."""
        mean, sigma = said.copy(), np.tile(self._prior, (len(rows), 1))
        places = self._scaled(rows)
        for column, process in enumerate(self._processes):
            if process is not None:
                wrong, doubt = process.predict(places, return_std=True)
                mean[:, column] += self._prior[column] * wrong
                sigma[:, column] = self._prior[column] * doubt
        return mean, sigma

    def _scaled(self, rows: Floats) -> Floats:
        places: Floats = (rows[:, self._free] - self._low) / self._width
        return places

    @property
    def nearest(self) -> int | None:
        """The trial that came nearest to the targets; None where none was measured wholly."""
        distance = self._distance()
        return int(np.nanargmin(distance)) if np.isfinite(distance).any() else None

    @property
    def met(self) -> bool:
        """Whether a trial has met all targets."""
        missed = np.abs(self._made - self._target) <= self._tolerance
        return bool(missed.all(axis=1).any())

    def _distance(self) -> Floats:
        """(trials) from the targets, in tolerances."""
        squares: Floats = (((self._made - self._target) / self._tolerance) ** 2).sum(axis=1)
        return np.sqrt(squares)

    def propose(self, count: int, reach: Reach | None = None) -> list[Planned]:
        """The next trials, in the order in which to make them.

        Each believes of those before it what is expected of them (Ginsbourger et al. 2010).
        """
        found: list[Planned] = []
        told = self._rows, self._made
        for number in range(count):
            values = self._next(self._seed + number, reach)
            mean, sigma = self.expect(values[None, :])
            found.append(Planned(values, mean[0], sigma[0], self._chance(mean[0], sigma[0])))
            self._rows = np.vstack([self._rows, values])
            self._made = np.vstack([self._made, mean])
            self._processes = self._learn()
            if reach is not None:
                reach = replace(reach, start=values[self._free])
        self._rows, self._made = told
        self._processes = self._learn()
        return found

    def _chance(self, mean: Floats, sigma: Floats) -> float:
        from scipy.stats import norm

        high = norm.cdf((self._target + self._tolerance - mean) / sigma)
        low = norm.cdf((self._target - self._tolerance - mean) / sigma)
        return float(np.prod(high - low))

    def _next(self, seed: int, reach: Reach | None) -> Floats:
        from bayes_opt import TargetSpace

        from twin.improvement import LogExpectedImprovement  # loads scikit-learn

        low, high = np.zeros(len(self._free)), np.ones(len(self._free))
        if reach is not None:
            start, step = (reach.start - self._low) / self._width, reach.furthest / self._width
            low, high = np.clip(start - step, 0.0, 1.0), np.clip(start + step, 0.0, 1.0)
        if not len(self._rows):
            ends = [
                replace(
                    each,
                    low=self._low[i] + low[i] * self._width[i],
                    high=self._low[i] + high[i] * self._width[i],
                )
                for i, each in enumerate(self.problem.free)
            ]
            return Solver(replace(self.problem, free=tuple(ends)), seed).solve().best.values
        names = [self.problem.chain.variables[column].name for column in self._free]
        space = TargetSpace(
            None, {n: (a, b) for n, a, b in zip(names, low.tolist(), high.tolist(), strict=True)}
        )
        # the library looks up the best so far; where that was plays no part
        space.register(0.5 * (low + high), float(np.nanmax(-self._distance(), initial=FORBIDDEN)))
        point = LogExpectedImprovement(xi=0.0).suggest(
            _Score(self),
            space,
            n_random=CANDIDATES,
            n_smart=STARTS,
            fit_gp=False,
            random_state=seed,
        )
        row: Floats = self.problem.rows(np.asarray(point, np.float64)[None, :])[0]
        return row

    def score(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and sigma of the negative distance from the targets, in tolerances, of points."""
        outputs, allowed, inside = self._rules.look(points)
        mean, sigma = self._bent(self.problem.rows(points), outputs[:, self._columns])
        sigma = np.where(inside[:, None], sigma, OUTSIDE * sigma)
        miss, doubt = (mean - self._target) / self._tolerance, sigma / self._tolerance
        squares = (miss**2 + doubt**2).sum(axis=1)
        value = -np.sqrt(squares)
        # the sigma of a root by that of what is under it
        spread = np.sqrt((miss**2 * doubt**2 + 0.5 * doubt**4).sum(axis=1) / squares)
        allowed &= np.isfinite(value)
        return np.where(allowed, value, FORBIDDEN), np.where(allowed, spread, 1e-9)


class _Score:
    """What the library asks of a Gaussian process: mean and sigma at points."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.X_train_ = np.zeros((1, len(planner.problem.free)))

    def predict(self, points: Floats, return_std: bool = True) -> tuple[Floats, Floats]:
        """Of the score that is to be as high as possible."""
        return self._planner.score(points)
