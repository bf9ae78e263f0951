"""The laboratory: samples of batches and rolls, with results that come late."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from simulators.calender import Roll
from simulators.plant import Laboratory as LaboratoryPlant
from simulators.randomness import Normal
from simulators.slurry import Batch
from simulators.web import Web


@dataclass(frozen=True, slots=True)
class Result:
    """One laboratory result."""

    parameter: str
    value: float
    unit: str
    sampled_ns: int
    published_ns: int
    batch: int | None = None
    roll: int | None = None
    metre: float | None = None
    """From the inner end of the roll as wound [m]."""


class Laboratory:
    """Takes samples and publishes their results later."""

    def __init__(self, plant: LaboratoryPlant, seed: int) -> None:
        self._plant = plant
        self._delay_ns = int(plant.delay_min * 60e9)
        self._noise = {
            name: Normal(seed, f"laboratory {name}")
            for name in ("solids_content", "viscosity", "adhesion", "residual_solvent", "porosity")
        }
        self._pending: list[tuple[int, int, Result]] = []
        self._count = 0

    def sample_batch(self, batch: Batch, now_ns: int) -> None:
        """Solids and viscosity of a batch that is connected now."""
        solids = batch.solids + self._plant.solids_noise * self._noise["solids_content"].draw()
        error = self._plant.viscosity_noise * self._noise["viscosity"].draw()
        viscosity = batch.viscosity * (1.0 + error)
        self._put("solids_content", 100.0 * solids, "percent", now_ns, batch=batch.number)
        self._put("viscosity", viscosity, "Pa*s", now_ns, batch=batch.number)

    def sample_roll(self, roll: Roll, web: Web, now_ns: int) -> None:
        """Adhesion, residual solvent and porosity of a calendered roll, cut near its outer end."""
        where = max(roll.end - self._plant.sample_metre, 0.5 * (roll.start + roll.end))
        cell = int(where / web.length)
        if cell >= web.closed or math.isnan(web.nip_porosity[cell]):
            return
        metre = round(where - roll.start, 3)
        draws = {name: self._noise[name].draw() for name in self._noise}
        adhesion = float(web.nip_adhesion[cell])
        adhesion *= 1.0 + self._plant.adhesion_noise * draws["adhesion"]
        residual = 100.0 * float(web.solvent[cell]) / float(web.mass[cell])
        residual *= 1.0 + self._plant.residual_noise * draws["residual_solvent"]
        porosity = float(web.nip_porosity[cell])
        porosity += self._plant.porosity_noise * draws["porosity"]
        for name, value, unit in (
            ("adhesion", adhesion, "N/m"),
            ("residual_solvent", residual, "percent"),
            ("porosity", 100.0 * porosity, "percent"),
        ):
            self._put(name, value, unit, now_ns, roll=roll.number, metre=metre)

    def _put(
        self,
        parameter: str,
        value: float,
        unit: str,
        now_ns: int,
        batch: int | None = None,
        roll: int | None = None,
        metre: float | None = None,
    ) -> None:
        due = now_ns + self._delay_ns
        result = Result(parameter, float(f"{value:.5g}"), unit, now_ns, due, batch, roll, metre)
        self._count += 1
        heapq.heappush(self._pending, (due, self._count, result))

    def due(self, now_ns: int) -> list[Result]:
        """Results to be published by now."""
        out = []
        while self._pending and self._pending[0][0] <= now_ns:
            out.append(heapq.heappop(self._pending)[2])
        return out
