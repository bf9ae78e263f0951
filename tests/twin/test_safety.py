"""Ten thousand decisions at random: whatever line, models, people and advice, rails are kept.

Not the stream but what the advisor sees of it is made up: machines, models, histories, all wrong in
every way that anybody thought of. Half of what the guard judges is advice, half was never advised.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.in_process import line_configuration, make_core
from twin.advice import Advisor
from twin.configuration.models import (
    InterlockConfiguration,
    LineConfiguration,
    SetpointConfiguration,
)
from twin.core import Core
from twin.guard import Guard
from twin.ports import SurrogateOutput, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.samples import Floats
from twin.trust import Trust
from twin.units import to_si

S = 1_000_000_000
LINES, ROUNDS, ENOUGH = 130, 80, 10_000
LINE = line_configuration()
MODELS = make_core(LINE).surrogates
MOVED = {
    ("coating", "pump_flow"): "coater.pump_flow_setpoint",
    ("coating", "line_speed"): "coater.line_speed_setpoint",
    ("coating", "coating_gap"): "coater.coating_gap_setpoint",
    ("drying", "line_speed"): "coater.line_speed_setpoint",  # the same tag, on purpose
    ("drying", "zone_1_temperature"): "dryer.zone_1_temperature_setpoint",
    ("drying", "zone_2_temperature"): "dryer.zone_2_temperature_setpoint",
    ("drying", "zone_3_temperature"): "dryer.zone_3_temperature_setpoint",
    ("drying", "air_speed"): "dryer.air_speed_setpoint",
    ("calendering", "roll_gap"): "calender.roll_gap_setpoint",
    ("calendering", "roll_temperature"): "calender.roll_temperature_setpoint",
}
LOCKING = ["coater.web_tension", "coater.ambient_temperature", "calender.line_load"]
"""Tags of interlocks: no model asks for them."""
AIMED = {
    ("coating", "mass_loading"): 180.0,
    ("coating", "wet_thickness"): 130.0,
    ("drying", "dry_thickness"): 80.0,
    ("calendering", "calendered_thickness"): 60.0,
    ("calendering", "porosity"): 33.0,
}
USUAL = ["fair"] * 12
WRONG = ["wrong sign", "flat", "NaN", "infinite", "huge", "jumping"]
FAR = st.sampled_from([1e-300, 1e-12, 1e-3, 1e3, 1e12, 1e300])
ODD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0])


def sometimes(rare: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> Any:
    return st.integers(0, 9).flatmap(lambda drawn: usual if drawn else rare)


@st.composite
def interlocks(draw: st.DrawFn) -> tuple[InterlockConfiguration, ...]:
    """None mostly; else ranges and values of tags, now and then what no value satisfies."""
    return tuple(
        InterlockConfiguration.model_construct(
            tag=draw(st.sampled_from(LOCKING)),
            **draw(
                st.sampled_from(
                    [
                        {"within": (-1e9, 1e9), "equals": None},
                        {"within": (0.0, 10.0), "equals": None},
                        {"within": (0.0, math.nan), "equals": None},
                        {"within": None, "equals": 1.0},
                    ]
                )
            ),
            max_age=draw(st.sampled_from([None, None, 5.0])),
        )
        for _ in range(draw(st.sampled_from([0] * 12 + [1, 2])))
    )


@st.composite
def setpoints(draw: st.DrawFn, tag: str) -> SetpointConfiguration:
    """Limits about the range of the tag, and steps in them; now and then what no check lets by."""
    low, high = LINE.tags[tag].limits or (0.0, 1.0)
    span = high - low
    ends = [low + span * draw(st.floats(0.0, 1.0)) for _ in range(2)]
    limits = tuple(ends) if draw(st.integers(0, 9)) == 0 else (min(ends), max(ends))
    if draw(st.integers(0, 9)) == 0:
        limits = draw(st.sampled_from([(limits[0], draw(ODD)), (draw(ODD), limits[1])]))
    max_step = span * draw(sometimes(st.just(2.0), st.floats(1e-3, 0.3)))
    rate = max_step * draw(st.sampled_from([0.5, 1.0, 1.5, 3.0]))
    return SetpointConfiguration.model_construct(
        max_rate=draw(sometimes(FAR | ODD, st.sampled_from([None, None, rate]))),
        interlocks=draw(interlocks()),
        tag=tag,
        limits=limits,
        max_step=draw(sometimes(FAR | ODD.filter(lambda v: v != 0), st.just(max_step))),
        deadband=draw(sometimes(ODD, st.sampled_from([0.0, 0.01, 0.5]))) * max_step,
        cost=draw(sometimes(FAR, st.sampled_from([0.0, 0.01, 1.0]))),
    )


@st.composite
def lines(draw: st.DrawFn) -> LineConfiguration:
    """The bundled line with other targets, setpoints, weights, pauses and modes."""
    steps = {}
    for name, step in LINE.steps.items():
        outputs = dict(step.outputs)
        for (of, output), usual in AIMED.items():
            if of != name:
                continue
            target = usual * draw(sometimes(FAR, st.floats(0.9, 1.1)))
            limits = draw(
                st.sampled_from(
                    [None, (0.98 * usual, 1.02 * usual), (2 * usual, 3 * usual), (usual, 0.0)]
                )
            )
            outputs[output] = outputs[output].model_copy(
                update={
                    "target": draw(sometimes(st.none(), st.just(target))),
                    "limits": limits,
                    "weight": draw(sometimes(FAR, st.sampled_from([0.0, 1.0, 10.0]))),
                }
            )
        moved = {
            key: draw(setpoints(tag))
            for (of, key), tag in MOVED.items()
            if of == name and draw(st.booleans())
        }
        steps[name] = step.model_copy(
            update={
                "outputs": outputs,
                "setpoints": moved,
                "interlocks": draw(interlocks()),
                "advise_every": draw(st.sampled_from([0.1, 10.0, 25.0])),
                "mode": draw(sometimes(st.just("shadow"), st.sampled_from(["advisory", "twin"]))),
            }
        )
    return LINE.model_copy(
        update={"steps": steps, "stale_after": draw(st.sampled_from([1.0, 30.0]))}
    )


@dataclass
class Wrong:
    """A model that is about right at the middle of its domain, and wrong as it is told."""

    step: str
    random: Random
    kind: str = "fair"
    extrapolates: bool = False
    miss: float = 0.0

    def __post_init__(self) -> None:
        real = MODELS[self.step]
        self.inputs, self.outputs, self.version = real.inputs, real.outputs, "0"
        self.domain = real.domain
        self.middle = self.domain.mean(axis=1)
        self.said = real.predict(self.middle[None, :]).mean[0]
        shape = len(self.inputs), len(self.outputs)
        self.slope = np.array([[self.random.gauss(0, 0.3) for _ in range(shape[1])]] * shape[0])

    def predict(self, inputs: Floats) -> SurrogateOutput:
        width = np.maximum(np.ptp(self.domain, axis=1), 1e-12)
        with np.errstate(all="ignore"):
            share = (inputs - self.middle) / width @ self.slope
            match self.kind:
                case "wrong sign":
                    share = -share
                case "flat":
                    share = 0 * share
                case "huge":
                    share = share * 1e200
                case "jumping":
                    share = np.floor(20 * share)
            mean = self.said * (1 + self.miss + share)
        if self.kind in ("NaN", "infinite"):
            mean[:, self.random.randrange(mean.shape[1])] = (
                math.nan if self.kind == "NaN" else math.inf
            )
        known = np.full(len(inputs), not self.extrapolates)
        return SurrogateOutput(mean, 0 * self.said + np.zeros_like(mean), known)


@dataclass
class Made:
    """A line as its advisor sees it, made up, and what was written to it."""

    line: LineConfiguration
    random: Random
    now: int = 1000 * S
    written: dict[int, int] = field(default_factory=dict)
    moves: list[tuple[int, int, float]] = field(default_factory=list)
    """Tag, time and size, SI."""
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.models = {step: Wrong(step, self.random) for step in self.line.steps}
        self.core = core = Core(self.line, self.models)
        self.values = core.latest.copy()
        # what the stream would have said
        core.tracker.value_at = lambda tag, _: float(self.values[tag])
        core.tracker.last = lambda tag, _: (float(self.values[tag]), int(core.latest_time[tag]))
        core.predictor.last = lambda step, _: (
            self.inputs[step],
            not self.models[step].extrapolates,
            0,
        )
        self.advisor = Advisor(
            self.line,
            core.tags,
            core.surrogates,
            core.predictor,
            core.estimators,
            core.tracker,
            core._guard,
        )
        self.setpoints = {
            (name, core.tags.index(setpoint.tag)): setpoint
            for name, step in self.line.steps.items()
            for setpoint in step.setpoints.values()
        }

    def in_si(self, tag: int, value: float) -> float:
        scale, offset = to_si(self.core.tags[tag].unit)
        return value * scale + offset

    def goes_on(self) -> None:
        """Time passes; models, machines and gauges do what they like."""
        draw = self.random
        self.now += int(draw.choice([0.01, 1, 10, 30, 30]) * S)
        self.inputs = {}
        for step, model in self.models.items():
            model.kind = draw.choice(USUAL + WRONG)
            model.extrapolates = draw.random() < 0.05
            model.miss = draw.gauss(0, 0.1)
            self.inputs[step] = inputs = model.middle.copy()
            if draw.random() < 0.03:
                inputs[draw.randrange(len(inputs))] = draw.choice([math.nan, 1e300])
            for name, value in zip(model.inputs, inputs.tolist(), strict=True):
                source = self.line.source_of(step, name)
                if source.tag is not None:
                    self.values[self.core.tags.index(source.tag)] = value
        for (_, tag), setpoint in self.setpoints.items():
            low, high = (self.in_si(tag, limit) for limit in setpoint.limits)
            at = draw.random()
            if at < 0.5:
                self.values[tag] = low + (high - low) * draw.random()
            elif at < 0.6:
                step = self.in_si(tag, setpoint.max_step) - self.in_si(tag, 0.0)
                self.values[tag] = draw.choice([low, high]) + step * draw.uniform(-2, 2)
            elif at < 0.61:
                self.values[tag] = draw.choice([math.nan, math.inf, 1e300, -1e300])
        for name, estimator in self.core.estimators.items():
            step, _, output = name.partition(".")
            said = self.models[step].said[[*self.models[step].outputs].index(output)]
            if draw.random() < 0.5:
                bias = draw.choice([0.0, 0.01, 0.1, 10.0]) * draw.gauss(0, 1)
                estimator.update(
                    np.array([self.now]), np.array([said * (1 + bias)]), np.array([said])
                )
        for name in LOCKING:
            tag = self.core.tags.index(name)
            if draw.random() < 0.5:
                self.core.latest_time[tag] = self.now - int(draw.choice([0.0, 1.0, 6.0]) * S)
                value = draw.choice([*[1.0] * 8, 5.0, 10.5, -1.0, math.nan, math.inf])
                self.values[tag] = self.in_si(tag, value)
        step = draw.choice([*self.line.steps])
        if draw.random() < 0.05:
            self.core.trust.doubt(step, "input", "an input is missing", self.now)
        elif draw.random() < 0.5:
            mode = draw.choice([*["advisory", "twin"] * 4, "shadow", "model"])
            self.core.set_mode(step, mode, "test", self.now)

    def never_advised(self, web: str) -> Recommendation:
        """What no advisor says: changes on the edge of what is allowed, and beyond."""
        draw = self.random
        changes = []
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            if not self.setpoints or draw.random() < 0.03:
                changes.append(Change("coating", draw.randrange(len(self.core.tags)), 1.0, 1.0))
                continue
            (step, tag), setpoint = draw.choice([*self.setpoints.items()])
            scale, _ = to_si(self.core.tags[tag].unit)
            present = float(self.values[tag])
            low, high = (self.in_si(tag, limit) for limit in setpoint.limits)
            largest = setpoint.max_step * scale
            edge = draw.choice([1.0, 1 - 1e-3, 0.5, 0.1, 1 + 1e-3, 2.0])
            after = draw.choice(
                [
                    *(low, high, low - 1e-3 * largest, high + 1e-3 * largest),
                    *(present - largest * edge, present + largest * edge) * 8,
                    *(math.nan, math.inf, -math.inf, 0.0, 1e300),
                ]
            )
            before = draw.choice([present] * 8 + [after, math.nan])
            changes.append(Change(step, tag, before, after))
        age = draw.choice([0.0, 0.0, 0.0, 0.5, 1.5, 31.0])
        return Recommendation("x", self.now - int(age * S), web, tuple(changes), (), "")

    def decide(self, advice: Recommendation) -> bool:
        """Somebody accepts; whether the guard let it pass. What passed keeps every rail."""
        draw, core = self.random, self.core
        core.latest[:] = self.values
        if draw.random() < 0.1:  # somebody moves setpoints meanwhile
            for _, tag in self.setpoints:
                core.latest[tag] *= 1 + draw.choice([0.0, 1e-9, 0.01, 0.5])
        self.now += int(draw.choice([0.0, 0.2, 0.2, 0.5, 5.0, 31.0]) * S)
        core.open[advice.web] = advice
        after = core.decide(advice.id, True, "test", self.now)[-1]
        assert isinstance(after, Recommendation)
        if after.state != "accepted":
            assert after.state == "expired"
            assert after.note
            self.refused["rate"] += "largest rate" in after.note
            self.refused["interlock"] += " must be " in after.note
            self.refused["limits"] += "leave its limits" in after.note
            return False
        self.keeps_every_rail(after)
        outcomes = []
        for change in after.changes:
            self.written[change.tag] = self.now
            size = abs(change.after - float(core.latest[change.tag]))
            self.moves.append((change.tag, self.now, size))
            self.values[change.tag] = change.after
            status = "failed" if draw.random() < 0.02 else "applied"
            outcomes.append(WriteOutcome(Write(change.tag, change.after), status, change.after))
        core.wrote(advice.id, outcomes, self.now)
        return True

    def keeps_every_rail(self, accepted: Recommendation) -> None:
        tags = [change.tag for change in accepted.changes]
        assert len(set(tags)) == len(tags)
        assert self.now - accepted.time <= self.line.stale_after * S
        for change in accepted.changes:
            setpoint = self.setpoints[change.step, change.tag]
            low, high = (self.in_si(change.tag, limit) for limit in setpoint.limits)
            largest = setpoint.max_step * to_si(self.core.tags[change.tag].unit)[0]
            assert math.isfinite(change.after)
            rounding = 1e-8 * sum(abs(end) for end in (low, high) if math.isfinite(end))
            assert low - rounding <= change.after <= high + rounding
            assert abs(change.after - self.core.latest[change.tag]) <= largest * (1 + 1e-6)
            assert abs(change.before - self.core.latest[change.tag]) < math.inf
            assert self.core.trust.mode(change.step) in ("advisory", "twin")
            self.keeps_rate_and_interlocks(change, setpoint)
            pause = self.line.steps[change.step].advise_every * S
            assert self.now - self.written.get(change.tag, -(2**62)) >= pause

    def keeps_rate_and_interlocks(self, change: Change, setpoint: SetpointConfiguration) -> None:
        core = self.core
        if setpoint.max_rate is not None:
            fastest = setpoint.max_rate * to_si(core.tags[change.tag].unit)[0]
            recent = (
                size
                for tag, time, size in self.moves
                if tag == change.tag and self.now - time < 60 * S
            )
            move = abs(change.after - core.latest[change.tag])
            assert move + sum(recent) <= fastest * (1 + 1e-5)
        for asked in (*self.line.steps[change.step].interlocks, *setpoint.interlocks):
            tag = core.tags.index(asked.tag)
            value = core.tags[tag].from_si(float(core.latest[tag]))
            assert math.isfinite(value)
            if asked.within is not None:
                low, high = asked.within
                assert low - 1e-6 * abs(low) <= value <= high + 1e-6 * abs(high)
            else:
                assert value == pytest.approx(asked.equals)
            if asked.max_age is not None:
                assert self.now - core.latest_time[tag] <= asked.max_age * S


@pytest.mark.parametrize(
    ("wrong", "before", "after", "times"),
    [
        ({}, 80.0, 81.0, 2),
        ({}, math.nan, 81.0, 1),
        ({"max_step": math.nan}, 80.0, 81.0, 1),
        ({"limits": (-math.inf, 80.5)}, 80.0, 81.0, 1),
        ({"limits": (math.nan, 300.0)}, 80.0, 81.0, 1),
        ({"limits": (300.0, 5.0)}, 80.0, 81.0, 1),
        ({"max_rate": math.nan}, 80.0, 81.0, 1),
        ({"max_rate": 0.5}, 80.0, 81.0, 1),
    ],
)
def test_what_cannot_be_judged_is_refused(
    wrong: dict[str, Any], before: float, after: float, times: int
) -> None:
    coating = LINE.steps["coating"]
    setpoint = coating.setpoints["pump_flow"]
    line = LINE.model_copy(
        update={
            "steps": {
                **LINE.steps,
                "coating": coating.model_copy(
                    update={"setpoints": {"pump_flow": setpoint.model_copy(update=wrong)}}
                ),
            }
        }
    )
    tags = line.tag_table()
    tag = tags.index(setpoint.tag)
    scale = to_si(tags[tag].unit)[0]
    latest = np.full(len(tags), 80.0 * scale)

    def objections(*changes: Change) -> list[str]:
        guard = Guard(line, tags, Trust(dict.fromkeys(line.steps, "advisory")))
        advice = Recommendation("x", 0, "coater", changes, (), "")
        return guard.objections(advice, latest, np.zeros(len(tags), np.int64), 0)

    assert objections(*[Change("coating", tag, before * scale, after * scale)] * times)
    if not wrong:
        assert not objections(Change("coating", tag, 80.0 * scale, 81.0 * scale))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of what is infinite
def test_no_decision_leaves_the_rails() -> None:
    count: Counter[str] = Counter()

    @settings(
        max_examples=LINES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(line=lines(), seed=st.integers(0, 2**32))
    def many(line: LineConfiguration, seed: int) -> None:
        made = Made(line, Random(seed))
        for turn in range(ROUNDS):
            made.goes_on()
            web = made.random.choice(["coater", "calender"])
            advice = made.advisor.advise(web, made.now) if turn % 2 else None
            kind = "advised" if advice is not None else "never advised"
            accepted = made.decide(advice or made.never_advised(web))
            count[kind] += 1
            count[f"{kind}, accepted"] += accepted
        count.update({f"refused by {rail}": n for rail, n in made.refused.items()})

    many()
    print(dict(count))  # noqa: T201
    assert count["advised"] + count["never advised"] >= ENOUGH
    assert count["advised, accepted"] > 100
    assert count["never advised, accepted"] > 100
    assert min(count[f"refused by {rail}"] for rail in ("rate", "interlock", "limits")) > 100
