"""Scenarios: what happens on the line, when or where, read from YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from simulators.plant import Plant
from simulators.signals import Signal, signals

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h)\s*")


class ScenarioError(Exception):
    """A scenario cannot be used; the message names file, place and reason."""

    def __init__(self, file: str, problems: tuple[str, ...]) -> None:
        self.file = file
        self.problems = problems
        super().__init__(f"{file}: " + "; ".join(problems))


def _seconds(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is no duration; write for example '20 min', '60 s', '1 h'")
        return float(match[1]) * _UNITS[match[2]]
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
"""A duration [s], written as `20 min`, `60 s`, `1.5 h` or a number of seconds."""

GaugeName = Literal[
    "wet_thickness",
    "web_temperature",
    "mass_loading",
    "dry_thickness",
    "calendered_thickness",
]


class Model(BaseModel):
    """Strict base: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class At(Model):
    """When: a line time since the start, or a metre of the coater's encoder."""

    time: Seconds | None = None
    metre: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.time is None) == (self.metre is None):
            raise ValueError("give either time or metre")
        return self


class _Action(Model):
    at: At


class SetAction(_Action):
    """Set a setpoint, as an operator would."""

    do: Literal["set"]
    signal: str
    value: float


class RampAction(_Action):
    """Move a setpoint linearly to a value."""

    do: Literal["ramp"]
    signal: str
    value: float
    over: Seconds


class StopAction(_Action):
    """Stop a machine, for a while or until it is started."""

    do: Literal["stop"]
    machine: Literal["coater", "calender"] = "coater"
    duration: Seconds | None = None


class StartAction(_Action):
    """Start a machine again."""

    do: Literal["start"]
    machine: Literal["coater", "calender"] = "coater"


class BatchAction(_Action):
    """Connect a new slurry batch to the hose."""

    do: Literal["slurry_batch"]
    solids: Annotated[float, Field(gt=0.3, lt=0.85)]
    """True solids [kg/kg]."""
    reported_solids: Annotated[float, Field(gt=0.3, lt=0.85)] | None = None
    """What the mixer shows by weighing [kg/kg]; by default the recipe's solids."""
    viscosity_factor: Annotated[float, Field(gt=0)] = 1.0
    """Viscosity relative to what solids and mixing give [-]."""


class AgeingAction(_Action):
    """The slurry in use rebuilds structure: viscosity rises by `gain` with time constant `tau`."""

    do: Literal["viscosity_ageing"]
    gain: Annotated[float, Field(gt=-1)]
    tau: Annotated[Seconds, Field(gt=0)]


class PumpDriftAction(_Action):
    """From now on the pump delivers more (or less) by this rate."""

    do: Literal["pump_drift"]
    percent_per_hour: float


class ZoneFailureAction(_Action):
    """The heater of a dryer zone fails."""

    do: Literal["zone_failure"]
    zone: Annotated[int, Field(ge=1)]
    duration: Seconds | None = None


class GapDriftAction(_Action):
    """Thermal growth shifts the calender gap by `shift_um`, first order in `tau`."""

    do: Literal["gap_drift"]
    shift_um: float
    tau: Annotated[Seconds, Field(gt=0)]


class GaugeAction(_Action):
    """A gauge goes wrong, or is well again (`fault: none`)."""

    do: Literal["gauge"]
    gauge: GaugeName
    fault: Literal["none", "bias", "drift", "freeze", "spikes", "dropout"]
    amount: float = 0.0
    """Bias [unit], drift [unit/h] or height of spikes [unit]."""
    probability: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of readings that are spikes."""
    status: Literal["ok", "uncertain", "bad"] = "ok"
    """What the gauge says of itself meanwhile."""


class RollChangeAction(_Action):
    """Cut the web at the rewinder and start a new roll."""

    do: Literal["roll_change"]


class SpliceAction(_Action):
    """Splice a new foil at the coater's unwinder."""

    do: Literal["splice"]
    tape_um: Annotated[float, Field(ge=0)] = 50.0
    foil_shift_um: float = 0.4
    """The new foil is thicker by this [um]."""


class CutOutAction(_Action):
    """Cut a piece out at the calender's unwinder."""

    do: Literal["cut_out"]
    metres: Annotated[float, Field(gt=0)]


Action = Annotated[
    SetAction
    | RampAction
    | StopAction
    | StartAction
    | BatchAction
    | AgeingAction
    | PumpDriftAction
    | ZoneFailureAction
    | GapDriftAction
    | GaugeAction
    | RollChangeAction
    | SpliceAction
    | CutOutAction,
    Field(discriminator="do"),
]


class Scenario(Model):
    """A plant and what happens to it."""

    name: str
    description: str = ""
    metres: Annotated[float, Field(gt=0)] | None = None
    """How much is coated [m] unless the caller says otherwise."""
    duration: Seconds | None = None
    """How long the coater runs, instead of `metres`."""
    plant: Plant = Plant()
    actions: tuple[Action, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.metres is not None and self.duration is not None:
            raise ValueError("give metres or duration, not both")
        zones = len(self.plant.layout.zones)
        known = {signal.name: signal for signal in signals(zones)}
        for number, action in enumerate(self.actions, 1):
            where = f"action {number} ({action.do})"
            if isinstance(action, SetAction | RampAction):
                _check_setpoint(where, action.signal, action.value, known)
            if isinstance(action, ZoneFailureAction) and action.zone > zones:
                raise ValueError(f"{where}: zone {action.zone} of {zones}")
            if isinstance(action, GaugeAction) and action.gauge not in self.plant.gauges:
                raise ValueError(f"{where}: this plant has no gauge {action.gauge}")
        return self


def _check_setpoint(where: str, name: str, value: float, known: dict[str, Signal]) -> None:
    signal = known.get(name)
    if signal is None or not signal.writable:
        writable = ", ".join(sorted(n for n, s in known.items() if s.writable))
        raise ValueError(f"{where}: {name!r} is no setpoint; setpoints are {writable}")
    if not signal.low <= value <= signal.high:
        raise ValueError(
            f"{where}: {value:g} {signal.unit} is outside "
            f"{signal.low:g} to {signal.high:g} {signal.unit} of {name}"
        )


def parse_scenario(text: str, file: str = "scenario") -> Scenario:
    """The scenario in a YAML text; raises `ScenarioError`."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(file, (f"is not YAML: {error}",)) from error
    if not isinstance(content, dict):
        raise ScenarioError(file, ("must be a mapping with at least a name",))
    try:
        return Scenario.model_validate(_merge_gauges(content))
    except ValidationError as error:
        raise ScenarioError(
            file,
            tuple(
                f"{'.'.join(str(part) for part in problem['loc']) or 'scenario'}: {problem['msg']}"
                for problem in error.errors()
            ),
        ) from error


def load_scenario(path: Path | str) -> Scenario:
    """Read a scenario file; raises `ScenarioError` with what is wrong."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(str(file), (error.strerror or "cannot be read",)) from error
    return parse_scenario(text, str(file))


def _merge_gauges(content: dict[str, Any]) -> dict[str, Any]:
    """Let `plant.gauges` override single fields of the default gauges; `null` removes a gauge."""
    plant = content.get("plant")
    if not isinstance(plant, dict) or not isinstance(plant.get("gauges"), dict):
        return content
    merged = Plant().model_dump()["gauges"]
    for name, fields in plant["gauges"].items():
        if fields is None:
            merged.pop(name, None)
        elif isinstance(fields, dict):
            merged[name] = {**merged.get(name, {}), **fields}
        else:
            merged[name] = fields
    return {**content, "plant": {**plant, "gauges": merged}}
