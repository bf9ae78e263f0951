"""The variables that the machines of the virtual line offer: name, unit, range, writable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Machine(Enum):
    """A machine with a controller, i.e. with an OPC UA server of its own."""

    MIXER = "mixer"
    COATER = "coater"
    CALENDER = "calender"


class Kind(Enum):
    """What type a variable has on the wire."""

    ANALOG = "analog"
    """Double, with unit and range."""
    COUNTER = "counter"
    """Int32, published when it changes."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One variable of one machine."""

    machine: Machine
    name: str
    """The string node id, e.g. `Coater.LineSpeed.Setpoint`."""
    kind: Kind
    unit: str
    """Display name of the unit; empty for counters."""
    low: float
    """Low end of the range that the server states and enforces [unit]."""
    high: float
    """High end of the range [unit]."""
    writable: bool = False
    description: str = ""


UNECE_CODES = {
    "degC": "CEL",
    "m/min": "2X",
    "m/s": "MTS",
    "mL/min": "41",
    "um": "4H",
    "N": "NEW",
    "N/mm": "F47",
    "rpm": "RPM",
    "min": "MIN",
    "m": "MTR",
    "percent": "P1",
}
"""UNECE Recommendation 20 common codes of the units used."""


def unece_unit_id(code: str) -> int:
    """The OPC UA UnitId of a UNECE common code (OPC 10000-8, 5.6.3.3): its bytes, big endian.

    >>> unece_unit_id("CEL")
    4408652
    """
    value = 0
    for character in code:
        value = (value << 8) | ord(character)
    return value


def _analog(
    machine: Machine,
    name: str,
    unit: str,
    low: float,
    high: float,
    description: str,
    *,
    setpoint: tuple[float, float] | None = None,
) -> tuple[Signal, ...]:
    """A measured variable, or with `setpoint` (its range) a pair of setpoint and actual."""
    if setpoint is None:
        return (Signal(machine, name, Kind.ANALOG, unit, low, high, False, description),)
    return (
        Signal(
            machine,
            f"{name}.Setpoint",
            Kind.ANALOG,
            unit,
            *setpoint,
            True,
            f"{description}, setpoint",
        ),
        Signal(
            machine, f"{name}.Actual", Kind.ANALOG, unit, low, high, False, f"{description}, actual"
        ),
    )


def _counter(machine: Machine, name: str, description: str) -> tuple[Signal, ...]:
    return (Signal(machine, name, Kind.COUNTER, "", 0, 2**31 - 1, False, description),)


def signals(zones: int) -> tuple[Signal, ...]:
    """All variables of a line with `zones` dryer zones."""
    mixer, coater, calender = Machine.MIXER, Machine.COATER, Machine.CALENDER
    rows: list[tuple[Signal, ...]] = [
        _counter(mixer, "Mixer.BatchNumber", "batch mixed last"),
        _analog(mixer, "Mixer.SolidsContent", "percent", 0, 100, "solids by weighing"),
        _analog(mixer, "Mixer.Speed", "rpm", 0, 4500, "mixer speed", setpoint=(0, 4000)),
        _analog(
            mixer, "Mixer.Temperature", "degC", -20, 120, "slurry temperature", setpoint=(10, 60)
        ),
        _analog(mixer, "Mixer.MixingTime", "min", 0, 600, "mixing time", setpoint=(5, 240)),
        _counter(coater, "Coater.Run", "1 while the coater runs"),
        _analog(coater, "Coater.LineSpeed", "m/min", 0, 12, "web speed", setpoint=(0.2, 10)),
        _analog(coater, "Coater.PumpFlow", "mL/min", 0, 600, "pump flow", setpoint=(2, 500)),
        _analog(coater, "Coater.Gap", "um", 0, 600, "coating gap", setpoint=(50, 500)),
        _analog(coater, "Coater.WebTension", "N", 0, 250, "web tension", setpoint=(10, 200)),
        _analog(coater, "Coater.WebLength", "m", 0, 1e6, "foil past the coating head"),
        _counter(coater, "Coater.RollNumber", "roll being wound"),
        _counter(coater, "Coater.SlurryBatch", "batch that feeds the hose inlet"),
        _counter(coater, "Coater.SpliceCount", "splices made at the foil unwinder"),
        _analog(coater, "Coater.AmbientTemperature", "degC", -20, 60, "hall temperature"),
    ]
    rows += [
        _analog(
            coater,
            f"Dryer.Zone{zone}.Temperature",
            "degC",
            0,
            200,
            f"air temperature of dryer zone {zone}",
            setpoint=(20, 160),
        )
        for zone in range(1, zones + 1)
    ]
    rows += [
        _analog(coater, "Dryer.AirSpeed", "m/s", 0, 30, "nozzle air speed", setpoint=(2, 20)),
        _counter(calender, "Calender.Run", "1 while the calender runs"),
        _analog(calender, "Calender.LineSpeed", "m/min", 0, 25, "web speed", setpoint=(0.5, 20)),
        _analog(
            calender, "Calender.RollGap", "um", 0, 500, "roll gap by encoder", setpoint=(0, 300)
        ),
        _analog(
            calender,
            "Calender.RollTemperature",
            "degC",
            0,
            200,
            "roll temperature",
            setpoint=(20, 160),
        ),
        _analog(calender, "Calender.LineLoad", "N/mm", 0, 2000, "line load"),
        _analog(calender, "Calender.WebLength", "m", 0, 1e6, "web past the nip, stretched"),
        _counter(calender, "Calender.RollNumber", "roll mounted, 0 for none"),
        _analog(calender, "Calender.CutLength", "m", 0, 1e6, "web cut out at the unwinder"),
    ]
    return tuple(signal for row in rows for signal in row)
