"""Slurry batches and the hose that feeds the coating head."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from simulators.nature import Nature
from simulators.physics.materials import Recipe
from simulators.physics.mixing import ageing_factor, mix


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of slurry."""

    number: int
    solids: float
    """True solids [kg/kg]."""
    reported_solids: float
    """Solids by weighing, as the mixer shows them [kg/kg]."""
    viscosity: float
    """At 100 1/s when mixed [Pa.s]."""
    mixed_s: float
    """Line time at which mixing ended [s since the start]."""


def mix_batch(
    number: int,
    solids: float,
    reported_solids: float,
    viscosity_factor: float,
    speed_rpm: float,
    minutes: float,
    temperature_c: float,
    mixed_s: float,
    nature: Nature,
) -> Batch:
    """Mix a batch with the plant's true coefficients."""
    slurry = mix(
        solids,
        speed_rpm * 0.10471975511965977,
        minutes * 60.0,
        temperature_c + 273.15,
        nature.recipe,
        nature.mixing,
    )
    viscosity = float(slurry.viscosity) * viscosity_factor
    return Batch(number, solids, reported_solids, viscosity, mixed_s)


def slurry_density(solids: float, recipe: Recipe) -> float:
    """Density of slurry [kg/m^3] for one value; the array function is too slow for every tick."""
    return 1.0 / (solids / recipe.skeletal_density + (1.0 - solids) / recipe.solvent_density)


class Hose:
    """Plug flow through the dead volume, then a little axial mixing in two stirred cells."""

    def __init__(self, first: Batch, dead_volume: float, mixing_volume: float) -> None:
        """Volumes in m^3."""
        self._dead = dead_volume
        self._mixing = mixing_volume
        self._outlet = dead_volume
        self._queue: deque[tuple[float, Batch]] = deque()
        self.inlet = first
        """Batch that feeds the hose."""
        self.outlet = first
        """Batch that leaves the plug-flow part."""
        self._cells = [first.solids, first.solids]
        self._viscosities = [first.viscosity, first.viscosity]

    def connect(self, batch: Batch) -> None:
        """Feed another batch from now on."""
        self.inlet = batch
        self._queue.append((self._outlet, batch))

    def push(self, volume: float) -> tuple[float, float]:
        """Press `volume` [m^3] through; solids [kg/kg] and fresh viscosity [Pa.s] at the die."""
        self._outlet += volume
        while self._queue and self._queue[0][0] + self._dead <= self._outlet:
            self.outlet = self._queue.popleft()[1]
        share = volume / (self._mixing + volume)
        solids, viscosity = self.outlet.solids, self.outlet.viscosity
        for i in range(2):
            self._cells[i] += (solids - self._cells[i]) * share
            self._viscosities[i] += (viscosity - self._viscosities[i]) * share
            solids, viscosity = self._cells[i], self._viscosities[i]
        return solids, viscosity


def aged(batch: Batch, now_s: float, nature: Nature) -> float:
    """Factor on the viscosity of `batch` by storage until `now_s` [s] (process model 1.12)."""
    return float(ageing_factor(max(now_s - batch.mixed_s, 0.0), 0.0, 0.0, nature.mixing))
