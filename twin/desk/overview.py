"""The line and its steps as a core and its status know them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from twin.alarms import Alarm
from twin.configuration.models import LineConfiguration
from twin.conformal import GAUSSIAN
from twin.core import Core
from twin.desk.views import (
    Advice,
    AlarmView,
    ConnectorView,
    EstimateView,
    Freshness,
    InputView,
    Parameter,
    Reading,
    StepOverview,
    StoreView,
    ToDo,
    Value,
    WebOverview,
    moment,
    present,
)
from twin.ingest import NANOSECONDS
from twin.ports import ConnectionState
from twin.status import LineStatus, ParameterStatus
from twin.store import Store
from twin.units import difference_unit, to_si

STANDING: Final = 0.02 / 60
"""Speed below which a web stands, m/s."""


class Connected(Protocol):
    """What is asked of a connector."""

    @property
    def state(self) -> ConnectionState: ...


class Shown(Protocol):
    """What can be looked at: a service, or a replay."""

    @property
    def core(self) -> Core: ...

    @property
    def status(self) -> LineStatus: ...

    @property
    def sources(self) -> Sequence[Connected]: ...

    @property
    def store(self) -> Store | None: ...

    @property
    def rejected(self) -> Counter[str]: ...


def age(time: int, now: int, stale: int) -> Freshness:
    """How old something is that became known at `time` (ns; 0 is never)."""
    if not time:
        return "missing"
    return "stale" if now - time > stale else "fresh"


def parameter(
    name: str, status: ParameterStatus, challenger: ParameterStatus | None, now: int, stale: int
) -> Parameter:
    """A structure parameter at `now`; older than `stale` ns is stale."""
    predicted, measured = present(status.predicted), present(status.measured)
    reach = GAUSSIAN * status.sigma
    interval = predicted is not None and math.isfinite(reach)
    judged = predicted if measured is None else measured
    inside = None
    if judged is not None and status.limits is not None:
        inside = status.limits[0] <= judged <= status.limits[1]
    return Parameter(
        name=name,
        unit=status.unit,
        target=status.target,
        limits=status.limits,
        predicted=Reading(
            value=predicted,
            time=moment(status.left),
            state=age(status.left, now, stale) if predicted is not None else "missing",
            low=status.predicted - reach if interval else None,
            high=status.predicted + reach if interval else None,
        ),
        measured=Reading(
            value=measured,
            time=moment(status.read),
            state=age(status.read, now, stale) if measured is not None else "missing",
        ),
        expected=present(status.expected),
        residual=present(status.residual),
        in_limits=inside,
        mean_absolute_error=present(status.mean_absolute_error),
        compared=status.count,
        challenger_error=None if challenger is None else present(challenger.mean_absolute_error),
    )


def steps(core: Core, status: LineStatus, now: int) -> tuple[StepOverview, ...]:
    """All steps in the order of the process; `now` is line time, ns."""
    stale = int(core.line.stale_after * NANOSECONDS)
    others = {} if status.challenger is None else status.challenger.parameters
    return tuple(
        StepOverview(
            name=name,
            runs_on=config.runs_on,
            mode=core.trust.mode(name),
            wanted=core.trust.wanted(name),
            doubt=core.trust.reason(name),
            model=core.surrogates[name].version,
            parameters=tuple(
                parameter(full, status.parameters[full], others.get(full), now, stale)
                for full in (f"{name}.{output}" for output in config.outputs)
            ),
        )
        for name, config in core.line.steps.items()
    )


def webs(core: Core) -> tuple[WebOverview, ...]:
    """All webs, as far as the tracker has followed them."""
    found = []
    for name in core.line.webs:
        state = core.tracker.web_state(name)
        found.append(
            WebOverview(
                name=name,
                position=present(state.position),
                speed=present(state.speed * 60.0),
                moving=state.speed > STANDING,
                roll=state.roll,
                metre=present(state.metre),
            )
        )
    return tuple(found)


def connectors(shown: Shown) -> tuple[ConnectorView, ...]:
    """All connectors, and the newest sample of each."""
    core = shown.core
    newest: dict[str, int] = {}
    for index, (_, tag) in enumerate(core.line.tags.items()):
        time = int(core.latest_time[index])
        newest[tag.connector] = max(newest.get(tag.connector, 0), time)
    return tuple(
        ConnectorView(
            name=state.name,
            kind=core.line.connectors[state.name].kind,
            connected=state.connected,
            since=moment(state.since),
            received=state.received,
            dropped=state.dropped,
            error=state.error,
            last_sample=moment(newest.get(state.name, 0)),
        )
        for state in (source.state for source in shown.sources)
    )


def store(shown: Shown) -> StoreView | None:
    """The historian, where there is one."""
    if shown.store is None:
        return None
    state = shown.store.state
    return StoreView(
        stored=state.stored,
        waiting=state.waiting + state.spooled,
        dropped=state.dropped,
        error=state.error,
        spool_error=state.spool_error,
        spool_fill=state.fill,
        oldest=state.oldest,
        refused=state.refused,
    )


def values(shown: Shown, now: int) -> tuple[Value, ...]:
    """The last value of every tag that the line delivers.

    A value of an OPC UA server is fresh as long as the server is connected: it tells changes only.
    """
    core = shown.core
    stale = int(core.line.stale_after * NANOSECONDS)
    connected = {source.state.name: source.state.connected for source in shown.sources}
    found = []
    for index, (name, config) in enumerate(core.line.tags.items()):
        tag, time = core.tags[index], int(core.latest_time[index])
        value = float(core.latest[index])
        subscribed = core.line.connectors[config.connector].kind == "opcua"
        state: Freshness = "missing"
        if math.isfinite(value):
            here = connected.get(config.connector, True)
            state = "stale" if not here else "fresh" if subscribed else age(time, now, stale)
        found.append(
            Value(
                name=name,
                unit=tag.unit,
                parameter_class=tag.parameter_class,
                role=tag.role,
                station=tag.station,
                limits=config.limits,
                reading=Reading(value=present(tag.from_si(value)), time=moment(time), state=state),
            )
        )
    return tuple(found)


def input_units(line: LineConfiguration, step: str, name: str) -> tuple[str, str]:
    """Where an input of a step is from, and the unit in which people read it."""
    source = line.source_of(step, name)
    if source.tag is not None:
        return source.tag, line.tags[source.tag].unit
    if source.output is None:
        return "constant", ""
    upstream, _, output = source.output.partition(".")
    made = line.steps[upstream].outputs.get(output)
    if made is not None:
        return source.output, made.unit
    # a recipe value that passes through
    return source.output, input_units(line, upstream, output)[1]


def inputs(core: Core, step: str) -> tuple[InputView, ...]:
    """What a step's model was asked last, and the domain on which it was trained."""
    surrogate, config = core.surrogates[step], core.line.steps[step]
    last = None
    if config.runs_on in core.line.webs:
        last = core.predictor.last(step, core.tracker.frontier)
    found = []
    for column, name in enumerate(surrogate.inputs):
        source, unit = input_units(core.line, step, name)
        scale, offset = to_si(unit) if unit else (1.0, 0.0)
        if last is not None:
            value = float(last[0][column])
        elif source in core.tags:
            value = float(core.latest[core.tags.index(source)])
        else:
            value = math.nan
        low, high = surrogate.domain[column].tolist()
        setpoint = config.setpoints.get(name)
        found.append(
            InputView(
                name=name,
                unit=unit,
                source=source,
                value=present((value - offset) / scale),
                domain=((low - offset) / scale, (high - offset) / scale),
                in_domain=low <= value <= high if math.isfinite(value) else None,
                setpoint=None if setpoint is None else setpoint.tag,
                limits=None if setpoint is None else setpoint.limits,
            )
        )
    return tuple(found)


def estimates(core: Core, step: str) -> tuple[EstimateView, ...]:
    """What measurements say that a step's model gets wrong."""
    found = []
    moment_ = np.array([core.tracker.frontier])
    for output, made in core.line.steps[step].outputs.items():
        name = f"{step}.{output}"
        estimator = core.estimators.get(name)
        if estimator is None:
            continue
        bias, sigma = (float(each[0]) for each in estimator.at(moment_))
        wrong = core.predictor.wrong_inputs.get(name)
        unit = difference_unit(made.unit)
        if wrong is not None:
            # what is wrong is an input: the bias is told as the offset of it
            surrogate = core.surrogates[step]
            bias, _ = (float(each[0]) for each in estimator.state(moment_))
            sigma = math.nan
            unit = difference_unit(input_units(core.line, step, surrogate.inputs[wrong])[1])
        scale = to_si(unit or "dimensionless")[0]
        known = estimator.updates > 0
        found.append(
            EstimateView(
                parameter=name,
                correction=made.correction,
                bias=present(bias / scale) if known else None,
                sigma=present(sigma / scale) if known else None,
                unit=unit,
                margin=float(core.predictor.margins[name].at(moment_)[0]),
                measurements=estimator.updates,
            )
        )
    return tuple(found)


def todo(
    kept: StoreView | None,
    connections: Sequence[ConnectorView],
    urgent_first: Sequence[AlarmView],
    overviews: Sequence[StepOverview],
    waiting: Sequence[Advice],
    live: bool,
) -> ToDo:
    """The one most important thing: data first, then the line, then what waits for a person."""
    if kept is not None and kept.error is not None:
        return ToDo(kind="storage", subject="historian", text=kept.error)
    for each in connections if live else ():
        if not each.connected:
            said = each.error or "connecting"
            return ToDo(kind="connection", subject=each.name, text=said)
    for urgent in urgent_first:
        if urgent.state == "unacknowledged":
            return ToDo(kind="alarm", subject=urgent.subject, text=urgent.text)
    for step in overviews:
        if step.doubt:
            return ToDo(kind="doubt", subject=step.name, text=step.doubt)
    for advice in waiting:
        if advice.state == "proposed":
            return ToDo(kind="decide", subject=advice.id, text=advice.reason)
    for step in overviews:
        for made in step.parameters:
            if made.in_limits is False and made.measured.state == "fresh":
                text = f"{made.name} is {made.measured.value:.4g} {made.unit}"
                return ToDo(kind="limits", subject=made.name, text=text)
    return ToDo(kind="nothing", subject="", text="")


def alarm(found: Alarm) -> AlarmView:
    """An alarm of the book."""
    return AlarmView(
        id=found.id,
        source=found.source,
        kind=found.kind,
        subject=found.subject,
        suspect=found.suspect,
        text="; ".join(found.evidence) or f"{found.subject}: {found.kind}",
        priority=found.priority,
        state=found.state,
        active=found.active,
        raised=moment(found.time),
        changed=moment(found.changed),
        by=found.by,
        until=None if found.until is None else moment(found.until),
    )


def alarms(core: Core) -> tuple[AlarmView, ...]:
    """Those that are not cleared, the most urgent first."""
    return tuple(map(alarm, core.alarms.open()))
