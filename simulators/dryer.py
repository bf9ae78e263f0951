"""The dryer: the moving web through its zones, solvent and binder included."""

from __future__ import annotations

import math

import numpy as np

from simulators.actuators import Heater, Lag
from simulators.nature import Nature
from simulators.physics.drying import (
    Zone,
    adhesion,
    advance,
    binder_at_bottom,
    dry_porosity,
    heat_transfer,
    peclet_number,
)
from simulators.physics.materials import layer_thickness
from simulators.plant import Plant
from simulators.randomness import Normal, OrnsteinUhlenbeck, PositionNoise, generator
from simulators.web import Floats, Web

_GRID = 0.05
"""Resolution of the air field [m]."""


class Dryer:
    """Air field by position, and what it does to the cells in it. SI inside."""

    def __init__(
        self, plant: Plant, nature: Nature, seed: int, web: Web, setpoints: dict[str, float]
    ) -> None:
        dt = plant.tick_s
        dryer = plant.dryer
        self._plant = plant
        self._nature = nature
        self._web = web
        self._set = setpoints
        self._dt = dt
        zones = plant.layout.zones
        self._names = [f"Dryer.Zone{i + 1}.Temperature" for i in range(len(zones))]
        start = plant.recipe.zone_temperatures_c
        if not dryer.preheated:
            start = (dryer.ambient_temperature_c,) * len(zones)
        self.heaters = [
            Heater(t, dryer.zone_tau_s, dryer.overshoot, dryer.heating_limit_k_min / 60.0, dt)
            for t in start
        ]
        self._noise = [
            OrnsteinUhlenbeck(
                seed, f"zone {i}", dryer.temperature_noise_c, dryer.temperature_noise_tau_s, dt
            )
            for i in range(len(zones))
        ]
        self._air = Lag(plant.recipe.air_speed_m_s, dryer.air_lag_s, dt)
        self._display = Normal(seed, "dryer display")
        self._packing = PositionNoise(seed, "dry porosity", 0.6)
        self._phase = float(generator(seed, "ambient").uniform(0.0, 2.0 * math.pi))
        self.ambient = dryer.ambient_temperature_c
        """Hall temperature [degC]."""
        self.exit = zones[-1].end
        """Where a cell counts as dried [m]."""
        self._done = 0
        x = (np.arange(int((plant.layout.rewinder + 1.0) / _GRID) + 2) + 0.5) * _GRID
        blur = max(plant.deviations.cross_talk_m, 1e-3)
        shares = [
            0.5 * (np.tanh((x - zone.start) / blur) - np.tanh((x - zone.end) / blur))
            for zone in zones
        ]
        self._shares = np.stack(shares)
        self._inside = np.clip(self._shares.sum(axis=0), 0.0, 1.0)

    def step(self, head: float, now_s: float) -> None:
        """One tick on, with the encoder at `head` [m]."""
        dryer = self._plant.dryer
        day = 2.0 * math.pi * now_s / 86400.0
        self.ambient = dryer.ambient_temperature_c + dryer.ambient_amplitude_c * (
            math.sin(day + self._phase) - math.sin(self._phase)
        )
        air_speed = self._air.step(self._set["Dryer.AirSpeed.Setpoint"])
        temperatures = [
            heater.step(self._set[name + ".Setpoint"], self.ambient) + noise.step()
            for heater, name, noise in zip(self.heaters, self._names, self._noise, strict=True)
        ]
        self._dry(head, now_s, air_speed, temperatures)
        self._finish(head)

    def _dry(self, head: float, now_s: float, air_speed: float, zones: list[float]) -> None:
        web, drying = self._web, self._nature.drying
        last = web.closed
        first = max(int((head - self._plant.layout.rewinder) / web.length), 0)
        if last <= first:
            return
        decay = max(1.0 - self._plant.deviations.alpha_decay_per_h * now_s / 3600.0, 0.2)
        alpha = float(heat_transfer(air_speed, drying)) * decay
        hall = self._plant.dryer.ambient_alpha_w_m2k
        field: Floats = (np.asarray(zones) - self.ambient) @ self._shares + (self.ambient + 273.15)
        alphas = hall + (alpha - hall) * self._inside
        x = head - (np.arange(first, last) + 0.5) * web.length
        place = np.minimum((x * (1.0 / _GRID)).astype(np.intp), field.size - 1)
        zone = Zone(0.0, field[place], alphas[place], self._plant.dryer.solvent_in_air)
        part = slice(first, last)
        mass = np.maximum(web.mass[part], 1e-9)
        before = web.solvent[part]
        critical, upper = web.critical[part], web.upper[part]
        kelvin, after, flux = advance(
            web.temperature[part], before, mass, critical, zone, self._dt, drying
        )
        inside = np.minimum(before, upper) - np.maximum(after, critical)
        inside = np.maximum(inside, 0.0)
        web.shrunk[part] += inside
        web.taken[part] += inside / np.maximum(flux, 1e-9)
        bound = self._plant.deviations.bound_solvent * mass
        web.temperature[part] = kelvin
        web.solvent[part] = np.maximum(after, np.minimum(before, bound))

    def _finish(self, head: float) -> None:
        """Fix the structure of the cells that have left the last zone."""
        web, nature = self._web, self._nature
        upto = min(int((head - self.exit) / web.length), web.closed)
        for cell in range(self._done, upto):
            mass = max(float(web.mass[cell]), 1e-9)
            rate = max(float(web.shrunk[cell]) / max(float(web.taken[cell]), 1e-6), 1e-6)
            solids = float(web.solids[cell])
            noise = self._plant.deviations.porosity_noise * self._packing.at(cell)
            porosity = float(dry_porosity(rate, solids, nature.drying)) + noise
            peclet = peclet_number(rate, float(web.volume[cell]), nature.recipe, nature.drying)
            web.porosity[cell] = porosity
            web.exit_temperature[cell] = web.temperature[cell]
            web.thickness[cell] = float(layer_thickness(mass, porosity, nature.recipe))
            web.adhesion[cell] = float(adhesion(binder_at_bottom(peclet), nature.drying))
        self._done = max(self._done, upto)

    def caliper(self, end: float, span: float) -> float:
        """Coating thickness behind the dryer [m], solvent that still swells it included."""
        web = self._web
        wet = web.mean(web.solvent, end, span) - web.mean(web.critical, end, span)
        swollen = max(wet, 0.0) / self._nature.recipe.solvent_density
        return web.mean(web.thickness, end, span) + swollen

    def show(self) -> dict[str, float]:
        """What the machine displays."""
        shown = {
            f"{name}.Actual": heater.value + noise.value + 0.1 * self._display.draw()
            for name, heater, noise in zip(self._names, self.heaters, self._noise, strict=True)
        }
        shown["Dryer.AirSpeed.Actual"] = self._air.value * (1.0 + 0.003 * self._display.draw())
        shown["Coater.AmbientTemperature"] = self.ambient + 0.05 * self._display.draw()
        return shown
