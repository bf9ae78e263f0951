"""The dryer: the moving web through its zones, solvent and binder included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

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


class Cells(NamedTuple):
    """Web on its way through a dryer: columns of the web itself, and the air that meets it."""

    temperature: Floats
    solvent: Floats
    mass: Floats
    critical: Floats
    upper: Floats
    air: Floats
    """K."""
    alpha: Floats
    """Heat transfer coefficient from above [W/m^2/K]."""
    shrunk: Floats
    taken: Floats


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
        self._setpoints = [f"{name}.Setpoint" for name in self._names]
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
        self._blown = math.nan, math.nan
        """Air speed [m/s] and its heat transfer coefficient [W/m^2/K]."""
        self._done = 0
        self._centres: Floats = np.zeros(0)
        """Middle of every cell [m of the encoder]."""
        x = (np.arange(int((plant.layout.rewinder + 1.0) / _GRID) + 2) + 0.5) * _GRID
        blur = max(plant.deviations.cross_talk_m, 1e-3)
        shares = [
            0.5 * (np.tanh((x - zone.start) / blur) - np.tanh((x - zone.end) / blur))
            for zone in zones
        ]
        self._shares = np.stack(shares)
        self._inside = np.clip(self._shares.sum(axis=0), 0.0, 1.0)

    def heat(self, head: float, now_s: float) -> Cells:
        """One tick on with the air; the cells that are in it with the encoder at `head` [m]."""
        dryer = self._plant.dryer
        day = 2.0 * math.pi * now_s / 86400.0
        self.ambient = dryer.ambient_temperature_c + dryer.ambient_amplitude_c * (
            math.sin(day + self._phase) - math.sin(self._phase)
        )
        air_speed = self._air.step(self._set["Dryer.AirSpeed.Setpoint"])
        zones = [
            heater.step(self._set[name], self.ambient) + noise.step()
            for heater, name, noise in zip(self.heaters, self._setpoints, self._noise, strict=True)
        ]
        web = self._web
        last = web.closed
        first = min(max(int((head - self._plant.layout.rewinder) / web.length), 0), last)
        if last > self._centres.size:
            self._centres = (np.arange(2 * last, dtype=np.float64) + 0.5) * web.length
        part = slice(first, last)
        if air_speed != self._blown[0]:
            self._blown = air_speed, float(heat_transfer(air_speed, self._nature.drying))
        decay = max(1.0 - self._plant.deviations.alpha_decay_per_h * now_s / 3600.0, 0.2)
        alpha = self._blown[1] * decay
        hall = dryer.ambient_alpha_w_m2k
        field: Floats = (np.asarray(zones) - self.ambient) @ self._shares + (self.ambient + 273.15)
        alphas = hall + (alpha - hall) * self._inside
        # no further than a cell behind the rewinder, where the field has not ended yet
        place = ((head - self._centres[part]) * (1.0 / _GRID)).astype(np.intp)
        return Cells(
            web.temperature[part],
            web.solvent[part],
            web.mass[part],
            web.critical[part],
            web.upper[part],
            field.take(place),
            alphas.take(place),
            web.shrunk[part],
            web.taken[part],
        )

    def dry(self, cells: Sequence[Cells]) -> None:
        """One tick on with the web in this dryer, or in equal dryers: it is one to numpy."""
        if sum(part[0].size for part in cells) == 0:
            return
        drying, plant = self._nature.drying, self._plant
        kelvin, before, mass, critical, upper, air, alpha = (
            cells[0][:7]
            if len(cells) == 1
            else (np.concatenate(columns) for columns in list(zip(*cells, strict=True))[:7])
        )
        mass = np.maximum(mass, 1e-9)
        zone = Zone(0.0, air, alpha, plant.dryer.solvent_in_air)
        kelvin, after, flux = advance(kelvin, before, mass, critical, zone, self._dt, drying)
        inside = np.minimum(before, upper) - np.maximum(after, critical)
        inside = np.maximum(inside, 0.0)
        taken = inside / np.maximum(flux, 1e-9)
        bound = plant.deviations.bound_solvent * mass
        after = np.maximum(after, np.minimum(before, bound))
        end = 0
        for part in cells:
            rows = slice(end, end := end + part.temperature.size)
            part.temperature[:] = kelvin[rows]
            part.solvent[:] = after[rows]
            part.shrunk[:] += inside[rows]
            part.taken[:] += taken[rows]

    def finish(self, head: float) -> None:
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
