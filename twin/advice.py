"""The advisor: the setpoints that bring the corrected chain of steps to its targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear
from scipy.special import ndtr

from twin.configuration.models import LineConfiguration, SetpointConfiguration
from twin.estimation import BiasEstimator
from twin.guard import Guard
from twin.ports import Surrogate
from twin.prediction import TRANSIENT, Predictor
from twin.recommendation import Change, Effect, Recommendation
from twin.samples import Bools, Floats
from twin.tags import TagTable
from twin.tracking import Tracker
from twin.units import to_si

ITERATIONS = 3
SETTLED = 1e-6
"""Share of the largest steps below which an iteration is the last."""
SIGNIFICANT = 3.0
"""Misses of the target within this many sigma of the bias are noise, not worth a move."""
WORTH = 0.4
"""Misses within this share of the specification's half width are not worth a move either."""
PATIENT = 0.2
"""Misses beyond this share are, once they last: the last `PATIENCE` segments all said so, or as
many of another web that come next say so in the mean."""
PATIENCE = 40
MOVING = 0.2
"""Share of the specification's half width by which the state of the machines at this moment and its
mean over the last material must not differ in what they make: then a machine is on the move."""
ON_ITS_WAY = 10_000_000_000
"""Time that a machine has to follow its setpoint before advice counts on it, ns."""
SHARES = np.array([1.0, 0.75, 0.5, 0.25])
"""Of a move, the largest of which is made that no model on the way has to extrapolate for."""
SAVED = 0.1
"""Share of the next material that a move must keep inside the specification to be worth it."""


@dataclass(frozen=True, slots=True)
class _Handle:
    """A setpoint in SI."""

    step: str
    input: str
    tag: int
    max_step: float
    deadband: float
    cost: float


@dataclass(frozen=True, slots=True)
class _Goal:
    """A target in SI; the error is measured in `tolerance`."""

    step: str
    output: str
    target: float
    tolerance: float
    weight: float

    @property
    def name(self) -> str:
        """As `step.output`."""
        return f"{self.step}.{self.output}"


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a web would make next if nobody moved a setpoint; SI."""

    time: int
    """As of which, ns."""
    steps: tuple[str, ...]
    """The chain to the goals, in order."""
    inputs: Mapping[str, Floats]
    """Of the next material, by step of the chain as far as they are known, (k,) or (n, k)."""
    fed: frozenset[str]
    """Steps whose next material comes from another web and is known already."""
    handles: tuple[_Handle, ...]
    """The setpoints that may be moved."""
    room: Floats
    """Lowest and highest that each may be moved to, (2, handles)."""
    now: Floats
    """Where they are, (handles,)."""
    goals: tuple[_Goal, ...]
    doubts: Floats
    """Sigma of what is not known of each goal, (goals,)."""

    @property
    def targets(self) -> Floats:
        return np.array([goal.target for goal in self.goals])

    @property
    def tolerances(self) -> Floats:
        return np.array([goal.tolerance for goal in self.goals])

    def outside(self, outputs: Floats) -> Floats:
        """Probability that material with these outputs misses its target by more than allowed."""
        missed, tolerance = np.abs(outputs - self.targets), self.tolerances
        beyond = ndtr((missed - tolerance) / self.doubts) + ndtr(
            (-missed - tolerance) / self.doubts
        )
        return np.asarray(beyond, np.float64)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _settled(usual: Floats, present: Floats) -> bool:
    """Whether inputs are known, and at this moment what they were while material passed."""
    moved = np.abs(present - usual)
    return bool((moved <= TRANSIENT * np.maximum(np.abs(usual), 1e-12)).all())


class Advisor:
    """Constrained least squares over all setpoints of the steps on one web.

    Minimises the weighted squares of (corrected output - target) / tolerance plus the cost of
    moving, within limits and largest steps, by Gauss-Newton on the surrogates: gradients by finite
    differences in one call, box constraints by bounded-variable least squares (Stark and Parker,
    1995).
    The bias is added to what the model says of the *next* material, with the setpoints as they are
    now: material still on its way to a gauge does not call for a second correction. What machines
    say is smoothed over the last material, unless they are on the move.
    """

    def __init__(
        self,
        line: LineConfiguration,
        tags: TagTable,
        surrogates: Mapping[str, Surrogate],
        predictor: Predictor,
        estimators: Mapping[str, BiasEstimator],
        tracker: Tracker,
        guard: Guard,
    ) -> None:
        self._line = line
        self._tags = tags
        self._surrogates = surrogates
        self._predictor = predictor
        self._estimators = estimators
        self._tracker = tracker
        self._guard = guard
        self._controlling = [tags.index(name) for name in line.controlling()]
        self._sources = {
            step: {name: line.source_of(step, name) for name in surrogates[step].inputs}
            for step in line.steps
        }
        self._handles: dict[str, list[_Handle]] = {}
        self._goals: dict[str, list[_Goal]] = {}
        for name, step in line.steps.items():
            for input_name, setpoint in step.setpoints.items():
                self._handles.setdefault(step.runs_on, []).append(
                    self._handle(name, input_name, setpoint)
                )
            for output_name, output in step.outputs.items():
                if output.target is None:
                    continue
                scale, offset = to_si(output.unit)
                target = output.target * scale + offset
                low, high = output.limits or (output.target * 0.98, output.target * 1.02)
                tolerance = abs(high - low) * scale / 2 or abs(target) * 0.02 or 1.0
                self._goals.setdefault(step.runs_on, []).append(
                    _Goal(name, output_name, target, tolerance, math.sqrt(output.weight))
                )

    def _handle(self, step: str, name: str, setpoint: SetpointConfiguration) -> _Handle:
        index = self._tags.index(setpoint.tag)
        scale, _ = to_si(self._tags[index].unit)
        return _Handle(
            step,
            name,
            index,
            setpoint.max_step * scale,
            setpoint.deadband * scale,
            math.sqrt(setpoint.cost),
        )

    def goals(self, web: str) -> set[str]:
        """Structure parameters with a target on a web, as `step.output`."""
        return {goal.name for goal in self._goals.get(web, ())}

    def watched(self, web: str) -> set[str]:
        """Structure parameters whose measurement may call for advice on a web."""
        found = self.goals(web)
        for name in tuple(found):
            while (name := self._predictor.foundations.get(name, "")) and name not in found:
                found.add(name)
        return found

    def advise(
        self, web: str, time: int, wrong: Sequence[tuple[int, int]] = ()
    ) -> Recommendation | None:
        """Advice for a web as of event time `time` (ns), or None where nothing is worth a move.

        `wrong` says since when gauges were wrong and when that was found, ns: if the last move was
        made between, what it did is taken back, however small.
        No advice while a machine is between two states, an input is missing, the model is asked
        outside its domain, or no measurement has confirmed it yet.
        """
        found = self._situation(web, time)
        if found is None:
            return None
        here, expected = found
        misled = self._misled(web, time, wrong)
        significant = self._significant(here, expected, misled)
        outside = here.outside(expected)
        if not (significant or (outside > SAVED).any()):
            return None

        def outputs(setpoints: Floats) -> Floats:
            return self._chain(here, setpoints)[0]

        best = self._optimise(here, outputs)
        left = here.outside(outputs(best[None, :])[0])
        if not (significant or (outside - left > SAVED).any()):
            return None
        change = best - here.now
        moved = (np.abs(change) >= [each.deadband for each in here.handles]) & (change != 0.0)
        if not moved.any():
            return None
        best = np.where(moved, best, here.now)
        # no further than the models know
        share = SHARES[self._chain(here, here.now + SHARES[:, None] * (best - here.now))[1]]
        if not len(share):
            return None
        if share[0] < 1.0:
            best = here.now + share[0] * (best - here.now)
        before, after = outputs(np.vstack([here.now, best]))
        if not np.isfinite([before, after]).all():
            return None
        effects = tuple(
            Effect(
                goal.step,
                goal.output,
                float(before[index]),
                float(after[index]),
                self._sigma(goal.name, time),
                goal.target,
            )
            for index, goal in enumerate(here.goals)
        )
        changes = tuple(
            Change(handle.step, handle.tag, float(here.now[index]), float(best[index]))
            for index, handle in enumerate(here.handles)
            if moved[index]
        )
        reason = self._reason(effects, time)
        if misled:
            reason += "; the last move followed a gauge that has been found wrong since"
        return Recommendation(f"{web}-{time // 1_000_000}", time, web, changes, effects, reason)

    def _situation(self, web: str, time: int) -> tuple[_Situation, Floats] | None:
        """How a web stands as of `time`, and what it would make next, (goals,).

        None where that is not known well enough.
        """
        rooms = self._rooms(web, time)
        handles = list(rooms)
        goals = self._goals.get(web, [])
        if not handles or not goals:
            return None
        steps = self._chain_to({goal.step for goal in goals}, web)
        usual: dict[str, Floats] = {}
        present: dict[str, Floats] = {}
        fed = set()
        for step in steps:
            last = self._predictor.last(step, time)
            if last is None:
                continue
            inputs, in_domain, _ = last
            to_come = self._predictor.to_come(step, time)
            if to_come is None:
                return None
            usual[step] = np.where(np.isnan(to_come), inputs, to_come)
            if np.isfinite(to_come).any():
                fed.add(step)
            present[step] = self._present(step, usual[step], time)
            needed = any(goal.step == step for goal in goals)
            if needed and not (in_domain and _settled(usual[step], present[step])):
                return None
        goals = [goal for goal in goals if goal.step in usual]
        moment = np.array([time])
        if not goals or any(
            np.isnan(self._predictor.state(goal.name, moment)[1][0]) for goal in goals
        ):
            return None
        now, lately = (
            np.array([self._tracker.value_at(handle.tag, at) for handle in handles])
            for at in (time, time - ON_ITS_WAY)
        )
        known = np.isfinite(lately)
        if not (np.isfinite(now).all() and _settled(lately[known], now[known])):
            return None
        here = _Situation(
            time,
            tuple(steps),
            usual,
            frozenset(fed),
            tuple(handles),
            np.array(list(rooms.values())).T,
            now,
            tuple(goals),
            np.array([self._estimators[goal.name].at(moment)[1][0] for goal in goals]),
        )
        both = {step: np.vstack([usual[step], present[step]]) for step in usual}
        expected, at_present = self._chain(replace(here, inputs=both), np.vstack([now, now]))[0]
        if (np.abs(at_present - expected) > MOVING * here.tolerances).any():
            return replace(here, inputs=present), at_present
        return here, expected

    def _misled(self, web: str, time: int, wrong: Sequence[tuple[int, int]]) -> bool:
        """Whether the last move was made while a gauge was wrong that was not known to be."""
        moved_at = self._guard.last_write(handle.tag for handle in self._handles[web])
        return moved_at is not None and any(
            since < moved_at <= found <= time for since, found in wrong
        )

    def _significant(self, here: _Situation, expected: Floats, misled: bool) -> bool:
        """Whether a goal will be missed by more than is noise, and by more than is left alone."""
        missed, noise = expected - here.targets, SIGNIFICANT * here.doubts
        worth = 0.0 if misled else WORTH * here.tolerances
        if (np.abs(missed) > np.maximum(noise, worth)).any():
            return True
        # what comes from another web need not be like what lasted, and is known
        lasting = self._coming(here, missed) if here.fed else np.zeros(len(missed))
        for index, goal in enumerate(here.goals):
            if goal.step not in here.fed:
                lasting[index] = self._lasting(goal, float(missed[index]), here.time)
        return bool((lasting > np.maximum(noise, PATIENT * here.tolerances)).any())

    def _coming(self, here: _Situation, missed: Floats) -> Floats:
        """By how much the next `PATIENCE` segments miss in the mean, (goals,) SI.

        Zero where fewer come, or where the very next, which miss by `missed`, do so to the other
        side.
        """
        inputs = dict(here.inputs)
        for step in here.fed:
            to_come = self._predictor.to_come(step, here.time, PATIENCE)
            if to_come is None:
                return np.zeros(len(missed))
            inputs[step] = np.where(np.isnan(to_come), inputs[step], to_come)
        later = self._chain(replace(here, inputs=inputs), here.now[None, :])[0][0] - here.targets
        return np.where(later * missed > 0.0, np.abs(later), 0.0)

    def _lasting(self, goal: _Goal, miss: float, time: int) -> float:
        """By how much all that was known since the last `PATIENCE` segments would miss, SI.

        Nothing lasts of which a gauge has said nothing meanwhile, or nothing that holds.
        """
        left = self._predictor.left(goal.step, time, PATIENCE)
        if len(left) < PATIENCE or self._estimators[goal.name].learned < left[0]:
            return 0.0
        moments = np.append(left, time)
        missed = miss + self._predictor.drift(goal.name, moments)
        return max(0.0, float((missed * np.sign(miss)).min())) if np.isfinite(missed).all() else 0.0

    def _sigma(self, name: str, time: int) -> float:
        """Of a measurement against what is expected, as `Prediction.sigma`."""
        at = np.array([time])
        sigma = self._predictor.state(name, at)[1] * self._predictor.margins[name].at(at)
        return float(sigma[0])

    def _chain_to(self, wanted: set[str], web: str) -> list[str]:
        """These steps and those before them on a web that they depend on, in order."""
        needed = set(wanted)
        on_web = [name for name, step in self._line.steps.items() if step.runs_on == web]
        for step in reversed(on_web):
            if step in needed:
                outputs = (source.output or "" for source in self._sources[step].values())
                needed |= {output.partition(".")[0] for output in outputs}
        return [step for step in on_web if step in needed]

    def _present(self, step: str, base: Floats, time: int) -> Floats:
        """These inputs with what the machines say at this moment, (k,) SI."""
        found = base.copy()
        for column, name in enumerate(self._surrogates[step].inputs):
            source = self._sources[step][name]
            if source.tag is not None and source.at is None:
                found[column] = self._tracker.value_at(self._tags.index(source.tag), time)
        return found

    def _chain(self, here: _Situation, setpoints: Floats) -> tuple[Floats, Bools]:
        """Corrected outputs (n, goals) of the chain for n sets of setpoints (n, handles).

        And whether every model on the way is asked inside its domain (n).
        """
        made: dict[str, Floats] = {}
        inside = np.ones(len(setpoints), np.bool_)
        for step in here.steps:
            if step not in here.inputs:
                continue
            surrogate = self._surrogates[step]
            shape = len(setpoints), len(surrogate.inputs)
            inputs = np.broadcast_to(here.inputs[step], shape).copy()
            for column, name in enumerate(surrogate.inputs):
                upstream = self._sources[step][name].output
                if upstream is not None and upstream in made:
                    inputs[:, column] = made[upstream]
                for index, handle in enumerate(here.handles):
                    if handle.step == step and handle.input == name:
                        inputs[:, column] = setpoints[:, index]
            said = surrogate.predict(inputs)
            known = np.full(len(inputs), here.time)
            corrected, _, at_home = self._predictor.corrected(
                step, inputs, said.mean, said.in_domain, known
            )
            inside &= at_home
            for column, output in enumerate(surrogate.outputs):
                name = f"{step}.{output}"
                made[name] = self._predictor.coating(name, corrected[:, column], known)
        return np.column_stack([made[goal.name] for goal in here.goals]), inside

    def _rooms(self, web: str, time: int) -> dict[_Handle, tuple[float, float]]:
        """The setpoints of a web that may be moved as of `time`, and how far, SI."""
        latest = np.full(len(self._tags), np.nan)
        told = np.zeros(len(self._tags), np.int64)
        for tag in self._controlling:
            latest[tag], told[tag] = self._tracker.last(tag, time)
        found = {}
        for handle in self._handles.get(web, ()):
            room = self._guard.room(handle.step, handle.tag, latest, told, time)
            if room is not None:
                found[handle] = room
        return found

    @staticmethod
    def _optimise(here: _Situation, outputs: Callable[[Floats], Floats]) -> Floats:
        """The best of the settings within the room that there is, (handles,) SI."""
        span = np.array([handle.max_step for handle in here.handles])
        now, low, high = here.now, here.room[0], here.room[1] + 1e-12 * span
        scale = np.array([goal.weight for goal in here.goals]) / here.tolerances
        cost = np.diag([handle.cost for handle in here.handles])
        best = np.clip(now, low, high)
        for _ in range(ITERATIONS):
            probe = 0.02 * span * np.where(best + 0.02 * span <= high, 1.0, -1.0)
            said = outputs(np.vstack([best, best + np.diag(probe)]))
            if not np.isfinite(said).all():
                return now
            gradient = (said[1:] - said[0]).T / probe * span * scale[:, None]
            matrix = np.vstack([gradient, cost])
            aim = np.concatenate([(here.targets - said[0]) * scale, cost @ ((now - best) / span)])
            reach = (low - best) / span, (high - best) / span + 1e-12
            asked = np.column_stack([matrix, aim])
            if not (np.isfinite(asked).all() and (reach[0] < reach[1]).all()):
                return now
            step = lsq_linear(matrix, aim, reach)
            better = np.clip(best + step.x * span, low, high)
            settled = np.abs(better - best) <= SETTLED * span
            best = better
            if settled.all():
                break
        return best

    def _reason(self, effects: tuple[Effect, ...], time: int) -> str:
        """Which structure parameter calls for it, and which gauges say so."""
        worst = max(effects, key=lambda effect: abs(effect.before - effect.target) / effect.sigma)
        output = self._line.steps[worst.step].outputs[worst.output]
        scale, offset = to_si(output.unit)
        name = f"{worst.step}.{worst.output}"
        found = [
            f"the next {_words(worst.output)} would be {(worst.before - offset) / scale:.4g} "
            f"instead of {(worst.target - offset) / scale:.4g} {output.unit}"
        ]
        at = np.array([time])
        below = self._predictor.foundations.get(name)
        if below is not None:
            said = self._corrects(below, float(self._estimators[below].state(at)[0][0]))
            found.append(f"{_words(below.partition('.')[2])} of the same material says {said}")
        if self._estimators[name].shared(at)[1][0]:
            bias = self._estimators[name].at(at)[0][0] / scale
            against = "the model" if below is None else "the model that is so corrected"
            found.append(
                f"gauges of the same material read {bias:+.3g} {output.unit} against {against}"
            )
        else:
            found.append(f"no gauge has read {_words(worst.output)} yet")
        expected = np.array([worst.before])
        foil = float((expected - self._predictor.coating(name, expected, at))[0])
        if abs(foil) > worst.sigma:
            found.append(f"{foil / scale:+.3g} {output.unit} of what they read are the foil's")
        return "; ".join(found)

    def _corrects(self, name: str, state: float) -> str:
        """What an output's gauge corrects, in words."""
        step = name.partition(".")[0]
        column = self._predictor.wrong_inputs.get(name)
        if column is None:
            return f"{100 * state:+.2g} %"
        wrong = self._surrogates[step].inputs[column]
        tag = self._sources[step][wrong].tag
        unit = self._line.tags[tag].unit if tag is not None else ""
        off = state / (to_si(unit)[0] if unit else 1.0)
        return f"the {_words(wrong)} is off by {off:+.3g} {unit}"
