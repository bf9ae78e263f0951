"""Carries out the actions of a scenario when their time or place has come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from simulators.scenario import (
    Action,
    AgeingAction,
    BatchAction,
    CutOutAction,
    GapDriftAction,
    GaugeAction,
    PumpDriftAction,
    RampAction,
    RollChangeAction,
    SetAction,
    SpliceAction,
    StartAction,
    StopAction,
    ZoneFailureAction,
)

if TYPE_CHECKING:
    from simulators.line import VirtualLine

_RAMP_STEP_S = 5.0
"""How often a ramp writes its setpoint [s]."""


@dataclass(slots=True)
class _Ramping:
    signal: str
    start: float
    end: float
    begin_s: float
    over_s: float
    next_s: float


@dataclass(slots=True)
class _Ageing:
    begin_s: float
    gain: float
    tau: float


class Director:
    """Holds the script; `act` is called before every tick."""

    def __init__(self, line: VirtualLine) -> None:
        self._line = line
        self._waiting: list[Action] = list(line.scenario.actions)
        self._later: list[tuple[float, StartAction | int]] = []
        self._ramps: list[_Ramping] = []
        self._ageing: _Ageing | None = None

    def act(self, now_s: float, head: float) -> None:
        """Do what is due at `now_s` [s since the start] with the encoder at `head` [m]."""
        if self._waiting:
            due = [a for a in self._waiting if _is_due(a, now_s, head)]
            for action in due:
                self._waiting.remove(action)
                self._do(action, now_s)
        for item in [entry for entry in self._later if entry[0] <= now_s]:
            self._later.remove(item)
            if isinstance(item[1], int):
                self._line.dryer.heaters[item[1]].failed = False
            else:
                self._do(item[1], now_s)
        for ramp in self._ramps:
            if now_s >= ramp.next_s:
                share = min((now_s - ramp.begin_s) / max(ramp.over_s, 1e-9), 1.0)
                value = ramp.start + share * (ramp.end - ramp.start)
                self._line.write_setpoint(ramp.signal, value)
                ramp.next_s = now_s + _RAMP_STEP_S if share < 1.0 else float("inf")
        if self._ageing is not None:
            past = (now_s - self._ageing.begin_s) / self._ageing.tau
            self._line.coater.extra_ageing = 1.0 + self._ageing.gain * (1.0 - math.exp(-past))

    def _do(self, action: Action, now_s: float) -> None:
        line = self._line
        match action:
            case SetAction():
                line.write_setpoint(action.signal, action.value)
            case RampAction():
                start = line.setpoints[action.signal]
                self._ramps = [r for r in self._ramps if r.signal != action.signal]
                self._ramps.append(
                    _Ramping(action.signal, start, action.value, now_s, action.over, now_s)
                )
            case StopAction():
                self._run(action.machine, False)
                if action.duration is not None:
                    start_again = StartAction(do="start", at=action.at, machine=action.machine)
                    self._later.append((now_s + action.duration, start_again))
            case StartAction():
                self._run(action.machine, True)
            case BatchAction():
                reported = action.reported_solids or line.plant.recipe.solids
                batch = line.mixer.mix(action.solids, reported, action.viscosity_factor, now_s)
                line.coater.hose.connect(batch)
                line.laboratory.sample_batch(batch, line.now_ns)
            case AgeingAction():
                self._ageing = _Ageing(now_s, action.gain, action.tau)
            case PumpDriftAction():
                line.coater.pump_drift = action.percent_per_hour / 100.0
            case ZoneFailureAction():
                line.dryer.heaters[action.zone - 1].failed = True
                if action.duration is not None:
                    self._later.append((now_s + action.duration, action.zone - 1))
            case GapDriftAction():
                line.calender.drift_to(action.shift_um * 1e-6, action.tau)
            case GaugeAction():
                line.gauges[action.gauge].break_down(action, now_s)
            case RollChangeAction():
                line.change_roll()
            case SpliceAction():
                line.coater.splice(action.tape_um * 1e-6, action.foil_shift_um * 1e-6)
            case CutOutAction():
                line.calender.cut_out(action.metres)
            case _:
                assert_never(action)

    def _run(self, machine: str, run: bool) -> None:
        if machine == "coater":
            self._line.coater.running = run
        else:
            self._line.calender.allowed = run


def _is_due(action: Action, now_s: float, head: float) -> bool:
    if action.at.time is not None:
        return now_s + 1e-9 >= action.at.time
    return action.at.metre is not None and head >= action.at.metre
