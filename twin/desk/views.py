"""What the desk shows: frozen, in the units in which people read, absent values as None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from twin.alarms import Priority
from twin.alarms import Source as AlarmSource
from twin.alarms import State as AlarmState
from twin.configuration.models import Mode
from twin.recommendation import State
from twin.tags import ParameterClass, Role
from twin.users import Role as UserRole

Freshness = Literal["fresh", "stale", "missing"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(nanoseconds: int) -> datetime | None:
    """A time in ns as people's, to the microsecond; None for 0, which means never."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000) if nanoseconds else None


def present(value: float) -> float | None:
    """A number, or None where there is none."""
    return value if math.isfinite(value) else None


class View(BaseModel):
    """Something to look at, as it was when it was made."""

    model_config = ConfigDict(frozen=True)


class Reading(View):
    """A value with its age."""

    value: float | None
    time: datetime | None
    """Source time, UTC: of a prediction when the material left the step."""
    state: Freshness
    low: float | None = None
    """Of the 90 % interval."""
    high: float | None = None


class Parameter(View):
    """A structure parameter of a step."""

    name: str
    """`step.parameter`."""
    unit: str
    target: float | None
    limits: tuple[float, float] | None
    predicted: Reading
    """Of the material that left the step last, as measurements correct it."""
    measured: Reading
    """Of the material that passed the gauge last."""
    expected: float | None
    """What had been predicted for the measured material."""
    residual: float | None
    """Measured less expected."""
    in_limits: bool | None
    """Of what was measured, else of what is predicted; None where either is missing."""
    mean_absolute_error: float | None
    compared: int
    """Measurements since the start that were compared with predictions."""
    challenger_error: float | None = None
    """Mean absolute error of the challenger, where there is one."""


class StepOverview(View):
    """A process step."""

    name: str
    runs_on: str
    mode: Mode
    """In effect."""
    wanted: Mode
    """That people set."""
    doubt: str
    """Why the mode in effect is another; empty if it is not."""
    model: str
    """Version of the model that predicts it."""
    parameters: tuple[Parameter, ...]


class WebOverview(View):
    """A web through a machine."""

    name: str
    position: float | None
    """Length that has passed, m."""
    speed: float | None
    """m/min."""
    moving: bool
    roll: int | None
    metre: float | None
    """In the roll, m from its inner end."""


class ConnectorView(View):
    """A connection to a machine or broker."""

    name: str
    kind: str
    connected: bool
    since: datetime | None
    """Of the last change, wall time."""
    received: int
    dropped: int
    error: str | None
    last_sample: datetime | None
    """Source time of the newest sample of its tags."""


class AlarmView(View):
    """Something that needs a person, in the states of ISA-18.2."""

    id: str
    source: AlarmSource
    kind: str
    """What is wrong in a word or two."""
    subject: str
    """What it is wrong with: a tag, a step, a connector."""
    suspect: str
    """Who is to blame."""
    text: str
    """The evidence, in sentences."""
    priority: Priority
    state: AlarmState
    active: bool
    """Whether its cause lasts."""
    raised: datetime | None
    changed: datetime | None
    by: str
    """Who acknowledged or shelved it."""
    until: datetime | None
    """Shelved until then."""


class ToDo(View):
    """The one most important thing to do now."""

    kind: Literal["storage", "connection", "alarm", "doubt", "decide", "limits", "nothing"]
    subject: str
    text: str


class StoreView(View):
    """How the historian is doing."""

    stored: int
    waiting: int
    """Samples that the historian has not taken."""
    dropped: int
    error: str | None
    """Why the historian takes nothing."""
    spool_error: str | None
    spool_fill: float
    """How full the spool on disk is, 0 to 1."""
    oldest: float
    """Age of the oldest sample that the historian has not taken, s."""
    refused: int
    """Samples set aside because the historian refuses them."""


class Value(View):
    """A tag's last value."""

    name: str
    unit: str
    parameter_class: ParameterClass
    role: Role
    station: str | None
    limits: tuple[float, float] | None
    """Plausible values."""
    reading: Reading


class InputView(View):
    """An input of a step's model."""

    name: str
    unit: str
    source: str
    """The tag, `step.parameter`, or `constant`."""
    value: float | None
    """Of the material that left the step last."""
    domain: tuple[float, float]
    """On which the model was trained."""
    in_domain: bool | None
    setpoint: str | None
    """The tag that moves it."""
    limits: tuple[float, float] | None
    """Within which the twin may move it, in the unit of the setpoint."""


class EstimateView(View):
    """What measurements say that the model gets wrong on this line."""

    parameter: str
    correction: str
    """`offset`, `relative`, or the input whose zero is unknown."""
    bias: float | None
    """In the unit of the parameter."""
    sigma: float | None
    """Of the bias."""
    unit: str
    margin: float
    """By which stated uncertainties are multiplied to hold on this line."""
    measurements: int


class ErrorView(View):
    """Errors of a model on samples that its training never saw, in `unit`."""

    output: str
    unit: str
    r2: float
    mae: float


class CardView(View):
    """What a model says of itself."""

    name: str
    version: str
    kind: str
    file: str
    trained_on: str
    errors: tuple[ErrorView, ...]
    text: str
    """The whole card, YAML."""


class ModelUse(View):
    """Which model predicts a step, and who decided."""

    step: str
    version: str
    since: datetime | None
    by: str
    card: CardView | None = None
    challenger: CardView | None = None


class StepView(View):
    """All there is to know of a step."""

    overview: StepOverview
    inputs: tuple[InputView, ...]
    estimates: tuple[EstimateView, ...]
    model: ModelUse


class SetpointChange(View):
    """A setpoint that is to be moved."""

    step: str
    setpoint: str
    unit: str
    before: float
    after: float
    limits: tuple[float, float] | None
    max_step: float | None


class ExpectedEffect(View):
    """What a structure parameter is expected to do."""

    parameter: str
    unit: str
    now: float
    expected: float
    low: float | None
    """Of the 90 % interval of a measurement."""
    high: float | None
    target: float
    limits: tuple[float, float] | None


class StateChange(View):
    """A state that a recommendation took."""

    time: datetime | None
    state: State
    by: str
    note: str


class WriteView(View):
    """What became of writing a setpoint."""

    setpoint: str
    unit: str
    value: float
    status: str
    read_back: float | None
    reason: str


class JudgementView(View):
    """What the material then did."""

    parameter: str
    unit: str
    promised: float
    low: float
    """Of the 90 % interval that was promised."""
    high: float
    before: float
    """What was expected without the change."""
    measured: float
    """Mean over the segments."""
    segments: int
    kept: bool
    """Whether it lies in the interval."""


class Advice(View):
    """A recommendation."""

    id: str
    time: datetime
    web: str
    state: State
    by: str
    reason: str
    note: str
    changes: tuple[SetpointChange, ...]
    expected: tuple[ExpectedEffect, ...]
    expires: datetime | None
    """When it ends if nobody decides; None once somebody has."""
    history: tuple[StateChange, ...] = ()
    writes: tuple[WriteView, ...] = ()
    judged: tuple[JudgementView, ...] = ()
    """What the material that met the change then did, once it was measured."""


class LineView(View):
    """The line as it runs, steps in the order of the process."""

    name: str
    live: bool
    """False where it is a recording that is played."""
    time: datetime
    """Line time."""
    acceleration: float
    metres: float
    """Web coated since the start, m."""
    steps: tuple[StepOverview, ...]
    webs: tuple[WebOverview, ...]
    connectors: tuple[ConnectorView, ...]
    alarms: tuple[AlarmView, ...]
    todo: ToDo
    store: StoreView | None
    received: int
    rejected: Mapping[str, int]
    recommendations: tuple[Advice, ...]
    """That wait for a decision or are being written."""


class Preview(View):
    """A recommendation as it would be accepted, perhaps changed."""

    advice: Advice
    objections: tuple[str, ...]
    """Why the guard would refuse it; empty if it would not."""


class VariableView(View):
    """What the chain of steps takes from outside."""

    name: str
    inputs: tuple[str, ...]
    unit: str
    value: float | None
    domain: tuple[float, float]
    in_domain: bool | None
    limits: tuple[float, float] | None
    """Of its setpoint; None where the twin may not move it."""
    origin: str
    """Where the value is from."""


class OutputView(View):
    """What the chain of steps makes."""

    name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    target: float | None
    limits: tuple[float, float] | None
    in_limits: bool | None


class WhatIf(View):
    """What the chain would make of machine parameters."""

    variables: tuple[VariableView, ...]
    outputs: tuple[OutputView, ...]
    outside: tuple[str, ...]
    """Steps whose model was asked outside its domain."""


class BindingView(View):
    """A constraint beyond which the targets would be missed by less."""

    kind: Literal["range", "domain", "limit"]
    name: str
    side: str
    bound: float | None
    unit: str
    why: str


class DesignView(View):
    """Machine parameters for wanted structure parameters."""

    feasible: bool
    proposal: WhatIf
    free: tuple[str, ...]
    """Variables that were moved."""
    misses: Mapping[str, float]
    """Expected less wanted, by target, in its unit."""
    binding: tuple[BindingView, ...]


class RollView(View):
    """A roll."""

    web: str
    number: int
    start: float | None
    """Position of its inner end on the coated web, m."""
    length: float | None
    """m; of a roll that is still wound up to now."""
    began: datetime | None
    wound: datetime | None


class Stretch(View):
    """A stretch of a roll that is out of specification."""

    parameter: str
    unit: str
    begin: float
    """m from the inner end of the roll."""
    end: float
    worst: float
    """The value farthest outside."""
    limits: tuple[float, float]


class RollParameter(View):
    """A structure parameter along a roll; equally long columns, one row per segment."""

    name: str
    unit: str
    target: float | None
    limits: tuple[float, float] | None
    metre: tuple[float, ...]
    """Middle of the segment, m from the inner end of the roll."""
    predicted: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    residual: tuple[float | None, ...]


class RollMap(View):
    """Structure parameters along a roll, and what to cut out of it."""

    roll: RollView
    segment: float
    """Length of a segment, m."""
    parameters: tuple[RollParameter, ...]
    outside: tuple[Stretch, ...]


class LaboratoryChoice(View):
    """A laboratory value that can be entered."""

    tag: str
    parameter: str
    """`step.parameter` that it is of."""
    unit: str
    units: tuple[str, ...]
    """In which it may be entered."""
    material: Literal["roll", "batch"]
    limits: tuple[float, float] | None
    """Plausible values."""


class LaboratoryEntry(View):
    """A laboratory value."""

    id: int
    entered: datetime
    by: str
    tag: str
    parameter: str
    unit: str
    value: float
    sampled: datetime
    roll: int | None
    metre: float | None
    batch: int | None
    note: str
    corrects: int | None
    """The entry that it takes the place of."""
    corrected_by: int | None = None


class AuditEntry(View):
    """What somebody did."""

    time: datetime
    who: str
    what: str
    details: Mapping[str, object]


class EventView(View):
    """Something that happened to the line."""

    time: datetime
    kind: str
    subject: str
    text: str


class AccountView(View):
    """A user or a token."""

    name: str
    kind: Literal["user", "token"]
    role: UserRole
    since: datetime
    expires: datetime | None


class CheckView(View):
    """One thing that was looked at."""

    name: str
    ok: bool
    said: str
    weight: Literal["live", "ready", "note"]
    """What fails with it: the service itself, its work on the line, or nothing yet."""


class HealthView(View):
    """How the service is doing."""

    live: bool
    time: datetime
    checks: tuple[CheckView, ...]
    connectors: tuple[ConnectorView, ...]
    store: StoreView | None
    rejected: Mapping[str, int]
    versions: Mapping[str, str]
    models: Mapping[str, str]


class RecordingView(View):
    """A recording that can be played."""

    name: str
    first: datetime | None
    last: datetime | None
    samples: int
    complete: bool


class ReplayView(View):
    """A recording that is being played; it is not live."""

    id: str
    recording: str
    first: datetime
    last: datetime
    now: datetime
    speed: float | None
    """Seconds of line time per second; None is as fast as it can."""
    paused: bool
    ended: bool
    opened_by: str
