"""Inverse design: the machine parameters that bring a chain of steps to wanted structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from twin.chain import DRAWS, Chain
from twin.samples import Bools, Floats
from twin.units import to_si

Z90: Final = 1.6449
"""Half width of a 90 % interval in sigmas."""
PENALTY: Final = 100.0
"""Of a violated constraint, above every miss that is possible: logarithms of squares."""
MOVE: Final = 1e-4
"""Weight of a move through the whole range: decides only where the targets leave freedom."""
GENERATIONS: Final = 120
SNAP: Final = 1e-6
"""Share of a range within which an end of it is meant."""
NUDGES: Final = 256
NUDGE: Final = 0.005
"""Share of its range by which a variable is nudged to learn what binds."""
POINTS: Final = 9
"""Weights between two ends of a Pareto front."""
WINDOW_MARGIN: Final = "coating_window_margin"
"""Output that is below 0 where the film is not stable."""


@dataclass(frozen=True, slots=True)
class Target:
    """A wanted structure parameter."""

    output: str
    """`step.output`."""
    value: float
    """SI."""
    tolerance: float
    """How far from the value is still met, SI."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a structure parameter has to lie, SI."""

    output: str
    low: float
    high: float
    why: str


@dataclass(frozen=True, slots=True)
class Free:
    """A variable that may move, SI."""

    column: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Preference:
    """What is wanted besides the targets: much or little of a variable or structure parameter."""

    name: str
    most: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked."""

    chain: Chain
    targets: tuple[Target, ...]
    free: tuple[Free, ...]
    start: Floats
    """(variables) SI: where those that may not move stand, and those that may begin."""
    limits: tuple[Limit, ...] = ()
    preferences: tuple[Preference, ...] = ()

    def rows(self, points: Floats) -> Floats:
        """Variables (n, variables), SI, for points (n, free) between 0 and 1."""
        rows = np.tile(self.start, (len(points), 1))
        for index, each in enumerate(self.free):
            rows[:, each.column] = each.low + points[:, index] * (each.high - each.low)
        return rows

    @property
    def origin(self) -> Floats:
        """The start as a point."""
        return np.array(
            [
                np.clip((self.start[each.column] - each.low) / (each.high - each.low), 0.0, 1.0)
                for each in self.free
            ]
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A set of machine parameters and what it is to give, SI."""

    values: Floats
    """(variables)."""
    mean: Floats
    """(outputs)."""
    sigma: Floats
    """(outputs) as far as the models and their corrections know."""
    miss: Floats
    """(targets) mean less target."""
    allowed: bool
    """Within all limits and domains."""

    def interval(self, column: int) -> tuple[float, float]:
        """The 90 % interval of an output, SI."""
        middle, reach = float(self.mean[column]), Z90 * float(self.sigma[column])
        return middle - reach, middle + reach


@dataclass(frozen=True, slots=True)
class Binding:
    """A constraint beyond which the targets would be missed by less."""

    kind: Literal["range", "domain", "limit"]
    """Of a variable, of a model, of a structure parameter."""
    name: str
    """`step.parameter`, or the step where only the model as a whole says so."""
    side: Literal["low", "high", ""]
    bound: float
    """SI; NaN where it is no single value."""
    why: str


@dataclass(frozen=True, slots=True)
class Design:
    """The answer."""

    problem: Problem
    best: Proposal
    feasible: bool
    binding: tuple[Binding, ...]
    """Empty where it is feasible, or where the targets contradict each other."""
    objectives: tuple[str, ...]
    """What the front trades against each other; empty where there is nothing to trade."""
    front: tuple[Proposal, ...]


class Solver:
    """Differential evolution over the free variables, whole populations in one call of the chain.

    The population begins as Sobol points over all ranges, and its best member is refined by Nelder
    and Mead's simplex: neither needs gradients, so a domain that a model only answers yes or no to
    is as good as a box. (Storn and Price 1997; Nelder and Mead 1965.)
    """

    def __init__(self, problem: Problem, seed: int = 1) -> None:
        self.problem = problem
        self._seed = seed
        chain = problem.chain
        self._targets = [chain.outputs.index(target.output) for target in problem.targets]
        self._value = np.array([target.value for target in problem.targets])
        self._tolerance = np.array([target.tolerance for target in problem.targets])
        self._steps = np.array([chain.steps.index(n.partition(".")[0]) for n in chain.inputs])
        self._constraints = self._named()

    def _named(self) -> list[Binding]:
        """One per column of `_broken`."""
        chain = self.problem.chain
        names = [chain.variables[each.column].name for each in self.problem.free]
        found: list[Binding] = []
        for name, each in zip(names, self.problem.free, strict=True):
            found.append(Binding("range", name, "low", each.low, "range of the variable"))
            found.append(Binding("range", name, "high", each.high, "range of the variable"))
        for name, (low, high) in zip(chain.inputs, chain.domain.tolist(), strict=True):
            why = f"domain of the model of {name.partition('.')[0]}"
            found.append(Binding("domain", name, "low", low, why))
            found.append(Binding("domain", name, "high", high, why))
        for limit in self.problem.limits:
            found.append(Binding("limit", limit.output, "low", limit.low, limit.why))
            found.append(Binding("limit", limit.output, "high", limit.high, limit.why))
        for step in chain.steps:
            why = f"inputs that go together, or outputs, as the model of {step} was trained on"
            found.append(Binding("domain", step, "", np.nan, why))
        return found

    def _judge(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Misses in tolerances (n, targets), broken constraints (n, c), outputs (n, outputs)."""
        problem, chain = self.problem, self.problem.chain
        said = chain(problem.rows(points))
        miss = (said.mean[:, self._targets] - self._value) / self._tolerance
        low, high = chain.domain[:, 0], chain.domain[:, 1]
        width = np.where(high > low, high - low, 1.0)
        slack = 1e-9
        below = np.maximum((low - said.inputs) / width - slack, 0.0)
        above = np.maximum((said.inputs - high) / width - slack, 0.0)
        boxes = np.stack([below, above], axis=2).reshape(len(points), -1)
        ranges = np.stack([np.maximum(-points, 0.0), np.maximum(points - 1.0, 0.0)], axis=2)
        limits = [np.empty((len(points), 0))]
        for limit in problem.limits:
            value = said.mean[:, chain.outputs.index(limit.output)]
            scale = _scale(limit)
            limits.append(np.maximum((limit.low - value) / scale, 0.0)[:, None])
            limits.append(np.maximum((value - limit.high) / scale, 0.0)[:, None])
        boxed = (np.maximum(below, above) > 0)[:, None, :] & (
            self._steps == np.arange(len(chain.steps))[:, None]
        )
        rest: Bools = ~said.in_domain & ~boxed.any(axis=2)
        broken = np.column_stack(
            [ranges.reshape(len(points), -1), boxes, *limits, rest.astype(np.float64)]
        )
        return miss, np.nan_to_num(broken, nan=1.0), said.mean

    def look(self, points: Floats) -> tuple[Floats, Bools, Bools]:
        """Outputs (n, outputs) at points (n, free), whether all limits are kept, and domains."""
        _, broken, mean = self._judge(points)
        domain = np.array([each.kind == "domain" for each in self._constraints])
        kept, inside = ((broken[:, of] <= 0).all(axis=1) for of in (~domain, domain))
        return mean, np.asarray(kept, np.bool_), np.asarray(inside, np.bool_)

    def solve(self) -> Design:
        """The best proposal, what binds where it is not good enough, and the front."""
        best = self._minimise(self._nearest)
        miss, broken, _ = self._judge(best[None, :])
        feasible = bool((np.abs(miss) <= 1.0).all() and not broken.any())
        binding = () if feasible else self._binding(best)
        objectives, front = self._front(best, feasible)
        return Design(
            self.problem, self._proposal(best), feasible, binding, objectives, tuple(front)
        )

    def _nearest(self, miss: Floats, points: Floats, mean: Floats) -> Floats:
        moved = ((points - self.problem.origin) ** 2).sum(axis=1)
        nearest: Floats = np.log1p((miss**2).sum(axis=1) + MOVE * moved)
        return nearest

    def _minimise(self, objective: Callable[[Floats, Floats, Floats], Floats]) -> Floats:
        """The point that minimises an objective of misses, points and outputs."""
        from scipy.optimize import Bounds, differential_evolution, minimize  # slow to load

        def score(points: Floats) -> Floats:
            miss, broken, mean = self._judge(points)
            total = broken.sum(axis=1)
            value = np.nan_to_num(objective(miss, points, mean), nan=PENALTY)
            return np.where(total > 0, PENALTY * (1.0 + total) + value, value)

        def population(columns: Floats) -> Any:
            return score(np.atleast_2d(columns.T))

        bounds = Bounds(np.zeros(len(self.problem.free)), np.ones(len(self.problem.free)))
        found = differential_evolution(
            population,
            bounds,
            maxiter=GENERATIONS,
            popsize=24,
            tol=1e-9,
            init="sobol",
            rng=self._seed,
            polish=False,
            updating="deferred",
            vectorized=True,
            x0=self.problem.origin,
        )

        def one(point: Floats) -> float:
            return float(score(point[None, :])[0])

        refined = minimize(
            one,
            np.asarray(found.x, np.float64),
            method="Nelder-Mead",
            bounds=bounds,
            options={"xatol": 1e-7, "fatol": 1e-10, "maxfev": 200},
        )
        point = np.asarray(refined.x if refined.fun <= found.fun else found.x, np.float64)
        snapped = np.where(point < SNAP, 0.0, np.where(point > 1.0 - SNAP, 1.0, point))
        return snapped if score(snapped[None, :])[0] < PENALTY else point

    def _binding(self, best: Floats) -> tuple[Binding, ...]:
        """Constraints that nudges away from the best point break where they come nearer."""
        directions = np.random.default_rng(self._seed).standard_normal((NUDGES, len(best)))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        here, broken_here, _ = self._judge(best[None, :])
        miss, broken, _ = self._judge(best + NUDGE * directions)
        already = broken_here[0] > 0
        nearer = (miss**2).sum(axis=1) < (here**2).sum() * (1.0 - 1e-6)
        breaks = (broken > 0) & ~already
        alone = nearer & (breaks.sum(axis=1) == 1)
        chosen = breaks[alone if alone.any() else nearer].any(axis=0) | already
        return tuple(self._constraints[index] for index in np.flatnonzero(chosen).tolist())

    def _front(self, best: Floats, feasible: bool) -> tuple[tuple[str, ...], list[Proposal]]:
        """Pareto-optimal proposals between the misses of the targets and what is preferred.

        By the weighted Chebyshev norm between the best of each objective (Bowman 1976), which
        finds the points of a front that is not convex as well.
        """
        problem = self.problem
        objectives = [
            *([] if feasible else [f"miss of {target.output}" for target in problem.targets]),
            *(["miss of the targets"] if feasible and problem.preferences else []),
            *(f"{'most' if each.most else 'least'} {each.name}" for each in problem.preferences),
        ]
        if len(objectives) < 2:
            return (), []

        def values(miss: Floats, points: Floats, mean: Floats) -> Floats:
            size = np.abs(miss)
            columns = [size.max(axis=1, keepdims=True)] if feasible else [size]
            rows = problem.rows(points)
            for each in problem.preferences:
                column = self._preferred(each, rows, mean)[:, None]
                columns.append(-column if each.most else column)
            return np.column_stack(columns)

        reach = [1.0] * (len(objectives) - len(problem.preferences))
        reach += [self._reach(each.name) for each in problem.preferences]

        def single(index: int) -> Callable[[Floats, Floats, Floats], Floats]:
            # the others decide where one alone leaves freedom
            return lambda *at: (
                values(*at) @ np.where(np.arange(len(objectives)) == index, 1.0, 1e-3)
                if not problem.preferences
                else values(*at)[:, index] / reach[index]
            )

        ends = [self._minimise(single(index)) for index in range(len(objectives))]
        table = np.array([values(*self._at(end))[0] for end in (*ends, best)])
        ideal = table.min(axis=0)
        misses = np.arange(len(objectives)) < len(objectives) - len(problem.preferences)
        width = np.maximum(table.max(axis=0) - ideal, np.where(misses, 1.0, 1e-12))

        def norm(weights: Floats) -> Callable[[Floats, Floats, Floats], Floats]:
            def chebyshev(miss: Floats, points: Floats, mean: Floats) -> Floats:
                parts = weights * (values(miss, points, mean) - ideal) / width
                value: Floats = parts.max(axis=1) + 1e-3 * parts.sum(axis=1)
                return value

            return chebyshev

        points = [best, *ends, *(self._minimise(norm(w)) for w in _weights(len(objectives)))]
        found = np.array([values(*self._at(point))[0] for point in points])
        kept = _not_dominated(found, 1e-3 * width)
        order = sorted(kept, key=lambda index: tuple(found[index]))
        return tuple(objectives), [self._proposal(points[index]) for index in order]

    def _at(self, point: Floats) -> tuple[Floats, Floats, Floats]:
        miss, _, mean = self._judge(point[None, :])
        return miss, point[None, :], mean

    def _preferred(self, preference: Preference, rows: Floats, mean: Floats) -> Floats:
        chain = self.problem.chain
        known = preference.name in chain.outputs
        value: Floats = (
            mean[:, chain.outputs.index(preference.name)]
            if known
            else rows[:, [each.name for each in chain.variables].index(preference.name)]
        )
        return value

    def _reach(self, name: str) -> float:
        """A size of what is preferred, so that it compares with penalties."""
        column = self._preferred(
            Preference(name, True), self.problem.start[None, :],
            self.problem.chain(self.problem.start[None, :]).mean,
        )  # fmt: skip
        return max(abs(float(np.nan_to_num(column[0]))), 1e-9)

    def _proposal(self, point: Floats) -> Proposal:
        problem = self.problem
        row = problem.rows(point[None, :])
        said = problem.chain(row)
        spread = problem.chain(row, 4 * DRAWS)
        _, broken, _ = self._judge(point[None, :])
        return Proposal(
            row[0],
            said.mean[0],
            spread.sigma[0],
            said.mean[0, self._targets] - self._value,
            not broken.any(),
        )


def _scale(limit: Limit) -> float:
    sizes = [abs(each) for each in (limit.low, limit.high) if np.isfinite(each) and each]
    return max(sizes, default=1.0)


def _weights(count: int) -> list[Floats]:
    """Weights between the ends of a front: evenly for two objectives, else pairs and the middle."""
    if count == 2:
        shares = np.linspace(0.0, 1.0, POINTS + 2)[1:-1]
        return [np.array([share, 1.0 - share]) for share in shares]
    middle = [np.full(count, 1.0 / count)]
    for one in range(count):
        for other in range(one):
            weights = np.full(count, 0.1 / count)
            weights[[one, other]] = 0.45
            middle.append(weights)
    return middle


def _not_dominated(found: Floats, resolution: Floats) -> list[int]:
    kept: list[int] = []
    rounded = np.round(found / resolution)
    for index, row in enumerate(rounded):
        better = (rounded <= row).all(axis=1) & (rounded < row).any(axis=1)
        same = (rounded[:index] == row).all(axis=1)
        if not better.any() and not same.any():
            kept.append(index)
    return kept


def specification(chain: Chain, besides: Sequence[str]) -> list[Limit]:
    """The limits that the configuration sets to structure parameters other than the targets.

    A coating window's margin has to be above 0 wherever a model gives it.
    """
    found = []
    for name in chain.outputs:
        step, _, output = name.partition(".")
        made = chain.line.steps[step].outputs.get(output)
        if name in besides:
            continue
        if made is not None and made.limits is not None:
            scale, offset = to_si(made.unit)
            low, high = (each * scale + offset for each in made.limits)
            found.append(Limit(name, low, high, "specification"))
        elif output == WINDOW_MARGIN:
            found.append(Limit(name, 0.0, np.inf, "edge of the coating window"))
    return found


def starting(
    chain: Chain, given: Mapping[int, float], known: Mapping[str, float]
) -> tuple[Floats, list[str]]:
    """Where every variable stands, SI, and where each value is from.

    Args:
        chain: the steps that are needed.
        given: by variable what a person fixed, SI.
        known: by `step.input` what a line told last, SI.
    """
    values, origins = np.empty(len(chain.variables)), []
    for column, each in enumerate(chain.variables):
        if column in given:
            values[column], origin = given[column], "given"
        elif each.constant is not None:
            values[column], origin = each.constant, "configured"
        elif each.name in known:
            values[column], origin = known[each.name], "last on the line"
        else:
            low, high = each.limits or (each.low, each.high)
            low, high = max(low, each.low), min(high, each.high)
            values[column], origin = 0.5 * (low + high), "middle of the model's domain"
        origins.append(origin)
    return values, origins


def movable(
    chain: Chain, vary: Mapping[int, tuple[float, float]], fixed: Sequence[int]
) -> tuple[Free, ...]:
    """The variables that may move: setpoints within their limits, and what a person lets vary.

    Raises:
        ValueError: nothing may move, or a range is empty.
    """
    found = []
    for column, each in enumerate(chain.variables):
        bounds = vary.get(column, None if column in fixed else each.limits)
        if bounds is None:
            continue
        if not bounds[0] < bounds[1]:
            raise ValueError(f"the range of {each.name} is empty")
        found.append(Free(column, *bounds))
    if not found:
        names = ", ".join(each.name for each in chain.variables if each.constant is None)
        raise ValueError(
            "no setpoint acts on the targets; let something vary with --vary NAME=LOW..HIGH: "
            f"{names}"
        )
    return tuple(found)
