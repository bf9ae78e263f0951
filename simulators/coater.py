"""The coater: web drive, ratio-controlled pump, hose, die or comma bar, film on web cells."""

from __future__ import annotations

import math

from simulators.actuators import Lag, Ramp
from simulators.nature import Nature
from simulators.physics.coating import comma_bar_thickness
from simulators.physics.drying import migration_window
from simulators.plant import Plant
from simulators.randomness import Normal, OrnsteinUhlenbeck, PositionNoise
from simulators.slurry import Batch, Hose, aged, slurry_density
from simulators.web import Web

_REFERENCE_VISCOSITY = 2.2
"""Pa.s at which the pump slips as its data sheet says."""


class Coater:
    """Web transport and wet film. SI inside."""

    def __init__(
        self,
        plant: Plant,
        nature: Nature,
        seed: int,
        web: Web,
        setpoints: dict[str, float],
        batch: Batch,
    ) -> None:
        dt = plant.tick_s
        coater = plant.coater
        self._plant = plant
        self._nature = nature
        self._web = web
        self._set = setpoints
        self._dt = dt
        self.running = True
        """Whether the operator lets it run."""
        self.length = 0.0
        """Encoder at the head: cumulative foil [m]."""
        self.speed = 0.0
        """Web speed [m/s]."""
        self.roll = 0
        """Roll being wound; 0 until coated web has reached the rewinder."""
        self.roll_start = 0.0
        """Where the roll being wound begins [m of the encoder]."""
        self.splices = 0
        self.pump_drift = 0.0
        """Drift ordered by the scenario [1/h]."""
        self.pumped = 0.0
        """Dry mass that left the die [kg]."""
        self.edge_mass = 0.0
        """Dry mass in the edge beads [kg]."""
        self.viscosity = batch.viscosity
        """At the die, 100 1/s [Pa.s]."""
        self.extra_ageing = 1.0
        """Viscosity factor ordered by the scenario [-]."""
        self.hose = Hose(batch, coater.hose_ml * 1e-6, coater.hose_mixing_ml * 1e-6)
        self._fresh = batch.viscosity
        self._drive = Ramp(0.0, coater.acceleration_m_min_s / 60.0, dt)
        self._pump = Lag(0.0, coater.pump_lag_s, dt)
        self._die = Lag(0.0, coater.die_lag_s, dt)
        self._gap = Ramp(plant.recipe.coating_gap_um, coater.gap_rate_um_s, dt)
        self._tension = Ramp(plant.recipe.web_tension_n, coater.tension_rate_n_s, dt)
        self._drift = 1.0
        self._drift_step = plant.deviations.pump_drift_per_h * math.sqrt(dt / 3600.0)
        self._angle = 0.0
        self._speed_noise = OrnsteinUhlenbeck(seed, "coater speed", coater.speed_noise, 3.0, dt)
        self._flow_noise = OrnsteinUhlenbeck(seed, "pump flow", coater.flow_noise, 4.0, dt)
        self._drift_noise = Normal(seed, "pump drift")
        self._display = Normal(seed, "coater display")
        self._local = PositionNoise(seed, "local film", 0.0)
        self._foil = PositionNoise(seed, "foil thickness", 0.98)
        self._carry = (0.0, 0.0, 0.0)
        self._bump: list[tuple[float, float]] = []
        self._foil_shift = 0.0
        self._shifts: list[tuple[float, float]] = []

    def splice(self, tape: float, shift: float) -> None:
        """Splice at the unwinder: tape and foil thickness change [m] reach the head later."""
        self.splices += 1
        where = self.length - self._plant.layout.splice
        self._bump.append((where, tape))
        self._shifts.append((where, shift))

    def age(self, now_s: float) -> None:
        """Let the slurry age; called now and then."""
        self.viscosity = self._fresh * aged(self.hose.outlet, now_s, self._nature)
        self.viscosity *= self.extra_ageing

    def step(self, now_ns: int) -> None:
        """One tick on; `now_ns` is its end [ns since the start]."""
        dt = self._dt
        nominal = self._set["Coater.LineSpeed.Setpoint"] / 60.0
        target = nominal if self.running else 0.0
        speed = self._drive.step(target) * (1.0 + self._speed_noise.step())
        self.speed = speed
        command = self._set["Coater.PumpFlow.Setpoint"] * (speed / nominal)
        shown = self._pump.step(command)
        self._drift *= 1.0 + self._drift_step * self._drift_noise.draw()
        self._drift += self.pump_drift * dt / 3600.0
        slip = self._plant.deviations.pump_slip * (_REFERENCE_VISCOSITY / self.viscosity)
        flow = shown * self._nature.pump_factor * self._drift * (1.0 - slip)
        flow *= (1.0 + self._flow_noise.step()) * self._pulse(shown)
        self._gap.step(self._set["Coater.Gap.Setpoint"])
        self._tension.step(self._set["Coater.WebTension.Setpoint"])
        volume = self._die.step(flow) * dt / 60e6
        if self._plant.coater.mode == "comma_bar":
            volume = self._comma_volume(speed)
        solids, self._fresh = self.hose.push(volume)
        self._lay(speed * dt, volume, solids, now_ns)

    def _pulse(self, shown: float) -> float:
        """Mean of 1 + a sin(angle) over the tick."""
        turn = 2.0 * math.pi * shown / 60.0 * self._dt / self._plant.coater.displacement_ml
        if turn <= 1e-9:
            return 1.0
        before, self._angle = self._angle, (self._angle + turn) % (2.0 * math.pi)
        mean = (math.cos(before) - math.cos(before + turn)) / turn
        return 1.0 + self._plant.coater.pulsation * mean

    def _comma_volume(self, speed: float) -> float:
        if speed <= 0.0:
            return 0.0
        gap = self._gap.value * 1e-6
        thick = comma_bar_thickness(gap, speed, self.viscosity, self._nature.coating)
        return float(thick) * self._plant.coater.width_m * speed * self._dt

    def _lay(self, distance: float, volume: float, solids: float, now_ns: int) -> None:
        web = self._web
        density = slurry_density(solids, self._nature.recipe)
        dry = volume * density * solids
        self.pumped += dry
        self.edge_mass += dry * self._nature.edge_loss
        on_web = volume * (1.0 - self._nature.edge_loss)
        start, end = self.length, self.length + distance
        self.length = end
        cell = int(start / web.length)
        last = int(end / web.length)
        area = self._plant.coater.width_m * web.length
        web.reserve(last + 2)
        position = start
        while True:
            upto = min((cell + 1) * web.length, end)
            share = 1.0 if distance <= 0.0 else (upto - position) / distance
            film = on_web * share / area
            web.volume[cell] += film
            web.mass[cell] += film * density * solids
            web.solvent[cell] += film * density * (1.0 - solids)
            position = upto
            if cell >= last:
                break
            self._close(cell, now_ns)
            cell += 1

    def _close(self, cell: int, now_ns: int) -> None:
        """A cell leaves the head: local scatter is taken from, or left to, the next cell."""
        web = self._web
        film = float(web.volume[cell])
        noise = self._plant.coater.local_noise_um * 1e-6 * self._local.at(cell)
        share = min(max(noise / max(film, 1e-6), -0.2), 0.2)
        for column in (web.volume, web.mass, web.solvent):
            moved = float(column[cell]) * share
            column[cell] -= moved
            column[cell + 1] += moved
        mass, solvent = float(web.mass[cell]), float(web.solvent[cell])
        web.solids[cell] = mass / (mass + solvent) if mass > 0.0 else math.nan
        if mass > 0.0:
            upper, critical = migration_window(
                mass, web.solids[cell], self._nature.recipe, self._nature.drying
            )
            web.upper[cell], web.critical[cell] = float(upper), float(critical)
        else:
            web.upper[cell] = web.critical[cell] = 1e-6
        web.temperature[cell] = self._plant.dryer.ambient_temperature_c + 273.15
        web.coated_ns[cell] = now_ns
        foil = self._plant.coater.foil_tolerance_um * 1e-6 * self._foil.at(cell)
        position = (cell + 0.5) * web.length
        foil += sum(s for where, s in self._shifts if where <= position)
        foil += sum(t for where, t in self._bump if abs(where - position) <= 0.5 * web.length)
        web.foil[cell] = foil
        web.closed = cell + 1

    def show(self) -> dict[str, float]:
        """What the machine displays."""
        draw = self._display.draw
        return {
            "Coater.Run": float(self.running),
            "Coater.LineSpeed.Actual": max(self.speed * 60.0, 0.0),
            "Coater.PumpFlow.Actual": max(self._pump.value * (1.0 + 0.0005 * draw()), 0.0),
            "Coater.Gap.Actual": self._gap.value + self._plant.coater.gap_noise_um * draw(),
            "Coater.WebTension.Actual": max(
                self._tension.value * (1.0 + self._plant.coater.tension_noise * draw()), 0.0
            ),
            "Coater.WebLength": self.length,
            "Coater.RollNumber": self.roll,
            "Coater.SlurryBatch": self.hose.inlet.number,
            "Coater.SpliceCount": self.splices,
        }
