"""The virtual line: machines, web, gauges and laboratory on one clock, without any I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from simulators.calender import Calender, Roll
from simulators.coater import Coater
from simulators.dryer import Cells, Dryer
from simulators.events import Director
from simulators.gauges import GaugeModel, Reading
from simulators.laboratory import Laboratory, Result
from simulators.mixer import Mixer
from simulators.nature import nature_of
from simulators.physics.materials import Recipe
from simulators.plant import Plant
from simulators.scenario import Scenario
from simulators.signals import Kind, Machine, Signal, signals
from simulators.slurry import slurry_density
from simulators.truth import ReadingLog, Truth, segment_columns
from simulators.web import Web

DEFAULT_METRES = 300.0
"""Web coated when neither the caller nor the scenario says how much [m]."""


class VariableSample(NamedTuple):
    """A machine variable as published; a tuple, because a line makes fifty a second."""

    machine: Machine
    name: str
    time_ns: int
    """Line time [ns since 1970 UTC]."""
    value: float


@dataclass(slots=True)
class Emission:
    """What the line sent out during one `advance`."""

    variables: list[VariableSample] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


def nominal_pump_flow(plant: Plant) -> float:
    """Pump flow [mL/min] that gives the recipe's loading by the data sheet."""
    recipe = plant.recipe
    if recipe.pump_flow_ml_min is not None:
        return recipe.pump_flow_ml_min
    density = slurry_density(
        recipe.solids,
        Recipe(
            active_fraction=recipe.active,
            carbon_fraction=recipe.carbon_black,
            binder_fraction=recipe.binder,
        ),
    )
    film = recipe.loading_g_m2 * 1e-3 / (density * recipe.solids)
    flow = film * plant.coater.width_m * recipe.coater_speed_m_min
    return round(flow * 1e6, 2)


def initial_setpoints(plant: Plant) -> dict[str, float]:
    """All setpoints as the recipe has them, by signal name."""
    recipe = plant.recipe
    values = {
        "Mixer.Speed.Setpoint": recipe.mixer_speed_rpm,
        "Mixer.Temperature.Setpoint": recipe.mixer_temperature_c,
        "Mixer.MixingTime.Setpoint": recipe.mixing_time_min,
        "Coater.LineSpeed.Setpoint": recipe.coater_speed_m_min,
        "Coater.PumpFlow.Setpoint": nominal_pump_flow(plant),
        "Coater.Gap.Setpoint": recipe.coating_gap_um,
        "Coater.WebTension.Setpoint": recipe.web_tension_n,
        "Dryer.AirSpeed.Setpoint": recipe.air_speed_m_s,
        "Calender.LineSpeed.Setpoint": recipe.calender_speed_m_min,
        "Calender.RollGap.Setpoint": recipe.calender_gap_um,
        "Calender.RollTemperature.Setpoint": recipe.calender_temperature_c,
    }
    for number, temperature in enumerate(recipe.zone_temperatures_c, 1):
        values[f"Dryer.Zone{number}.Temperature.Setpoint"] = temperature
    return values


class VirtualLine:
    """The whole line. Knows only time and inputs; the same seed gives the same run."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        start_ns: int = 0,
        metres: float | None = None,
        publish: bool = True,
    ) -> None:
        """`start_ns` is the line time of tick 0, `metres` what is coated before the coater stops.

        With `publish` off, machine variables are not emitted (headless runs).
        """
        plant = scenario.plant
        self.scenario = scenario
        self.plant = plant
        self.seed = seed
        self.start_ns = start_ns
        self.metres = metres if metres is not None else scenario.metres
        if self.metres is None and scenario.duration is None:
            self.metres = DEFAULT_METRES
        self._publish = publish
        self.signals: dict[str, Signal] = {s.name: s for s in signals(len(plant.layout.zones))}
        self.setpoints = initial_setpoints(plant)
        self.nature = nature_of(plant, seed)
        self.web = Web(plant.cell_m)
        self.mixer = Mixer(plant, self.nature, seed, self.setpoints)
        self.coater = Coater(plant, self.nature, seed, self.web, self.setpoints, self.mixer.batch)
        self.dryer = Dryer(plant, self.nature, seed, self.web, self.setpoints)
        self.calender = Calender(plant, self.nature, seed, self.web, self.setpoints)
        self.laboratory = Laboratory(plant.laboratory, seed)
        self.laboratory.sample_batch(self.mixer.batch, start_ns)
        self.gauges = {
            name: GaugeModel(name, gauge, plant.beta, plant.coater.foil_um, seed)
            for name, gauge in plant.gauges.items()
        }
        self._director = Director(self)
        self._log = ReadingLog()
        self._due = {name: gauge.period_s for name, gauge in self.gauges.items()}
        self._tick = 0
        self._head = self._feed = 0.0
        """Encoders at the start of the tick [m]."""
        self._dt_ns = round(plant.tick_s * 1e9)
        self._publish_ticks = max(round(plant.publish_s / plant.tick_s), 1)
        self._changed: set[str] = set(self.setpoints)
        self._counters: dict[str, float] = {}
        self._rolls: list[Roll] = []
        self._sampled = 0
        self._ended = False

    @property
    def now_ns(self) -> int:
        """Line time [ns since 1970 UTC]."""
        return self.start_ns + self._tick * self._dt_ns

    @property
    def tick_ns(self) -> int:
        """Step of the simulation [ns]."""
        return self._dt_ns

    @property
    def elapsed_s(self) -> float:
        """Line time since the start [s]."""
        return self._tick * self.plant.tick_s

    @property
    def finished(self) -> bool:
        """All metres are coated and calendered."""
        return self._ended and self.calender.idle

    def write_setpoint(self, name: str, value: float) -> None:
        """Take a setpoint over; it acts from the next tick on.

        The pump is slaved to the web: a new line speed scales the pump setpoint in proportion.
        """
        signal = self.signals[name]
        if not signal.writable or not signal.low <= value <= signal.high:
            raise ValueError(f"{name} takes {signal.low:g} to {signal.high:g} {signal.unit}")
        if name == "Coater.LineSpeed.Setpoint":
            pump = self.signals["Coater.PumpFlow.Setpoint"]
            scaled = self.setpoints[pump.name] * value / self.setpoints[name]
            self.setpoints[pump.name] = min(max(scaled, pump.low), pump.high)
            self._changed.add(pump.name)
        self.setpoints[name] = value
        self._changed.add(name)

    def initial(self) -> list[VariableSample]:
        """All variables as they stand, for servers that have just started."""
        shown = {**self.setpoints, **self._count(), **self._show()}
        self._changed.clear()
        return [
            VariableSample(self.signals[name].machine, name, self.now_ns, value)
            for name, value in shown.items()
        ]

    def change_roll(self) -> None:
        """Cut at the rewinder: what is wound becomes a roll, the next begins."""
        coater = self.coater
        end = coater.length - self.plant.layout.rewinder
        if coater.roll > 0 and end > coater.roll_start:
            roll = Roll(coater.roll, coater.roll_start, end)
            self._rolls.append(roll)
            self.calender.waiting.append(roll)
            coater.roll_start = end
            coater.roll += 1

    def advance(self, to_ns: int) -> Emission:
        """Run until line time `to_ns`; returns what was sent, in time order per source."""
        return advance_together([self], to_ns)[0]

    def run_out(self) -> Emission:
        """Run until everything is coated and calendered."""
        return advance_together([self], None)[0]

    def truth(self) -> Truth:
        """Ground truth so far."""
        coater = self.coater
        rolls = [*self._rolls]
        if coater.roll > 0:
            rolls.append(Roll(coater.roll, coater.roll_start, math.inf))
        limit = self.metres if self._ended else None
        return Truth(
            segment_columns(
                self.web, self.plant.segment_m, self.start_ns, rolls, self.nature, limit
            ),
            self._log.columns(),
        )

    def begin_tick(self) -> Cells:
        """The first half of a tick: up to the web in the dryer."""
        self._head, self._feed = self.coater.length, self.calender.feed
        self._director.act(self.elapsed_s, self._head)
        self._tick += 1
        self.mixer.step()
        if self._tick % self._publish_ticks == 0:
            self.coater.age(self.elapsed_s)
        self.coater.step(self._tick * self._dt_ns)
        return self.dryer.heat(self.coater.length, self.elapsed_s)

    def end_tick(self, out: Emission) -> None:
        """The second half of a tick: from the exit of the dryer on."""
        self.dryer.finish(self.coater.length)
        self._wind()
        self.calender.step(self._tick * self._dt_ns)
        self._read_gauges((self._tick - 1) * self.plant.tick_s, self._head, self._feed, out)
        self._sample()
        out.results += self.laboratory.due(self.now_ns)
        if self._publish:
            self._emit(self._tick % self._publish_ticks == 0, out)

    def _wind(self) -> None:
        """Roll numbers at the rewinder, and the end of the campaign."""
        coater = self.coater
        wound = coater.length - self.plant.layout.rewinder
        if coater.roll == 0 and wound >= 0.0:
            coater.roll, coater.roll_start = 1, wound
        elif coater.roll > 0 and wound - coater.roll_start >= self.plant.coater.roll_length_m:
            self.change_roll()
        if self._ended:
            return
        if self.metres is not None:
            over = wound >= self.metres
        else:
            over = self.elapsed_s >= (self.scenario.duration or 0.0)
        if over:
            self.change_roll()
            coater.running = False
            self._ended = True

    def _read_gauges(self, start_s: float, head: float, feed: float, out: Emission) -> None:
        dt = self.plant.tick_s
        travelled, fed = self.coater.length - head, self.calender.feed - feed
        for name, model in self.gauges.items():
            due = self._due[name]
            while due <= start_s + dt + 1e-9:
                share = (due - start_s) / dt
                gauge = model.gauge
                if name == "calendered_thickness":
                    back = (1.0 - share) * fed
                    position = self.calender.position(self.calender.feed_at(gauge.position, back))
                    speed = self.calender.speed
                else:
                    position = head + share * travelled - gauge.position
                    speed = self.coater.speed
                    if position < 0.0:
                        position = math.nan
                span = max(gauge.averaging_m, gauge.averaging_s * speed, 1e-3)
                truth = self._true_value(name, position, span)
                sent = model.read(truth, due)
                if sent is not None:
                    stamp = self.start_ns + round(due * 1e9)
                    value, status = sent
                    self._log.add(name, stamp, value, position)
                    out.readings.append(
                        Reading(name, gauge.topic, stamp, value, gauge.unit, status, position)
                    )
                due += model.period_s
            self._due[name] = due

    def _true_value(self, name: str, position: float, span: float) -> float:
        """What a perfect gauge would show [unit of the gauge]; bare foil reads 0 or hall air."""
        web = self.web
        bare = math.isnan(position)
        if name == "web_temperature":
            kelvin = 0.0 if bare else web.mean(web.temperature, position, span)
            if kelvin > 0.0 and not math.isnan(kelvin):
                return kelvin - 273.15
            return self.dryer.ambient + 0.5 * (self.dryer.heaters[-1].value - self.dryer.ambient)
        if bare:
            return 0.0
        foil = web.mean(web.foil, position, span)
        if name == "wet_thickness":
            value = (web.mean(web.volume, position, span) + foil) * 1e6
        elif name == "mass_loading":
            coating = web.mean(web.mass, position, span) + web.mean(web.solvent, position, span)
            value = (coating + 2700.0 * foil) * 1e3
        elif name == "dry_thickness":
            value = (self.dryer.caliper(position, span) + foil) * 1e6
        else:
            back = position + span  # reversed: what passed before lies further out
            thick = web.mean(web.nip_thickness, back, span)
            value = (thick + web.mean(web.foil, back, span)) * 1e6
        return 0.0 if math.isnan(value) else value

    def _sample(self) -> None:
        finished = self.calender.finished
        while self._sampled < len(finished):
            self.laboratory.sample_roll(finished[self._sampled], self.web, self.now_ns)
            self._sampled += 1

    def _emit(self, whole: bool, out: Emission) -> None:
        now = self.now_ns
        counters = self._count()
        changed = counters != self._counters
        if whole:
            for name, value in self._show().items():
                signal = self.signals[name]
                if signal.kind is Kind.COUNTER and counters[name] == self._counters.get(name):
                    continue
                out.variables.append(VariableSample(signal.machine, name, now, value))
        elif changed:
            for machine, encoder, value in (
                (Machine.COATER, "Coater.WebLength", self.coater.length),
                (Machine.CALENDER, "Calender.WebLength", self.calender.length),
                (Machine.CALENDER, "Calender.CutLength", self.calender.cut_length),
            ):
                out.variables.append(VariableSample(machine, encoder, now, value))
            for name, value in counters.items():
                if value != self._counters.get(name):
                    machine = self.signals[name].machine
                    out.variables.append(VariableSample(machine, name, now, value))
        self._counters = counters
        for name in sorted(self._changed):
            value = self.setpoints[name]
            out.variables.append(VariableSample(self.signals[name].machine, name, now, value))
        self._changed.clear()

    def _show(self) -> dict[str, float]:
        """What all machines display, within the range of their instruments."""
        shown = {
            **self.mixer.show(),
            **self.coater.show(),
            **self.dryer.show(),
            **self.calender.show(),
        }
        return {
            name: min(max(value, self.signals[name].low), self.signals[name].high)
            for name, value in shown.items()
        }

    def _count(self) -> dict[str, float]:
        coater, calender = self.coater, self.calender
        mounted = calender.mounted
        return {
            "Mixer.BatchNumber": self.mixer.batch.number,
            "Coater.Run": float(coater.running),
            "Coater.RollNumber": coater.roll,
            "Coater.SlurryBatch": coater.hose.inlet.number,
            "Coater.SpliceCount": coater.splices,
            "Calender.Run": float(calender.allowed and calender.turning),
            "Calender.RollNumber": 0 if mounted is None else mounted.number,
        }


def advance_together(lines: Sequence[VirtualLine], to_ns: int | None) -> list[Emission]:
    """Run lines of one plant and seed until `to_ns`, or until they have finished; what each sent.

    Their webs go through the dryer as one array, because a call of numpy costs more than its cells.

    Raises:
        ValueError: they are of different plants or seeds.
    """
    if any(line.plant is not lines[0].plant or line.seed != lines[0].seed for line in lines):
        raise ValueError("only lines of one plant and one seed can run together")
    sent = [Emission() for _ in lines]
    pairs = list(zip(lines, sent, strict=True))
    while moving := [
        (line, out)
        for line, out in pairs
        if not line.finished and (to_ns is None or line.now_ns + line.tick_ns <= to_ns)
    ]:
        cells = [line.begin_tick() for line, _ in moving]
        moving[0][0].dryer.dry(cells)
        for line, out in moving:
            line.end_tick(out)
    return sent
