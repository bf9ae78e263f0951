"""The oracle: looks into the virtual line, to show about what its setpoints allow.

Only an assessment may do that; no controller of a real line can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from simulators.line import VirtualLine
from simulators.physics.calendering import (
    coating_temperature,
    compaction_resistance,
    gap_for_line_load,
    minimum_porosity,
)
from simulators.slurry import slurry_density
from twin.cli.assessment.control import Writer
from twin.cli.assessment.loops import Loop
from twin.cli.assessment.wire import Wire
from twin.ingest import NANOSECONDS
from twin.ports import Write
from twin.samples import SampleBatch

AHEAD: Final = 2.0
"""Web before the nip that a gap is set for, m."""
SHARE: Final = 0.05
"""Of the yield of the pump that a new cell of the web tells."""
LAGS: Final = 5 * NANOSECONDS
"""Line time after a move that the film takes to follow, ns."""


class Oracle:
    """Sets what makes the true loading and the true calendered thickness meet their targets.

    It knows what slurry is in the die, what every metre of web holds, the coefficients of the
    calender and where its gap truly is; limits, steps, pauses and deadbands hold for it too. Other
    setpoints than the pump's flow and the calender's gap it leaves alone.
    """

    def __init__(self, line: VirtualLine, wire: Wire, loops: Sequence[Loop]) -> None:
        self._line = line
        self._rules = []
        for loop in loops:
            signal = wire.signal(loop.setpoint)
            if signal == "Coater.PumpFlow.Setpoint" and loop.output == "mass_loading":
                self._rules.append((loop, signal, 1e-6 / 60.0, self._flow))
            if signal == "Calender.RollGap.Setpoint" and loop.output == "calendered_thickness":
                self._rules.append((loop, signal, 1e-6, self._gap))
        self._written: dict[int, int] = {}
        nature, slip = line.nature, line.plant.deviations.pump_slip
        self._yield = nature.pump_factor * (1.0 - slip) * (1.0 - nature.edge_loss)
        self._closed = 0
        self._ratio = math.nan
        self._steady = 0

    def take(self, batch: SampleBatch, now: int, write: Writer) -> None:
        """Look at the line as it is at line time `now`, ns."""
        self._learn(now)
        for loop, signal, scale, rule in self._rules:
            if now - self._written.get(loop.setpoint, -(2**62)) < loop.pause:
                continue
            present = self._line.setpoints[signal] * scale
            after = loop.allowed(present, rule(loop.target))
            if not math.isfinite(after) or abs(after - present) < max(loop.deadband, 1e-15):
                continue
            if write(Write(loop.setpoint, after)).status == "applied":
                self._written[loop.setpoint] = now

    def _learn(self, now: int) -> None:
        """What share of the pump's setpoint became film, from the cells that left the head."""
        line, web = self._line, self._line.web
        speed = line.setpoints["Coater.LineSpeed.Setpoint"] / 60.0
        ratio = line.setpoints["Coater.PumpFlow.Setpoint"] * 1e-6 / 60.0 / speed
        if ratio != self._ratio or not line.coater.running:
            self._ratio, self._steady = ratio, now + LAGS
        if now >= self._steady:
            film = ratio / line.plant.coater.width_m
            for cell in range(self._closed, web.closed):
                self._yield += SHARE * (float(web.volume[cell]) / film - self._yield)
        self._closed = web.closed

    def _flow(self, target: float) -> float:
        """Pump setpoint, m^3/s, that lays a dry loading, kg/m^2, with the slurry in the die."""
        line = self._line
        solids = line.coater.hose.outlet.solids
        film = target / (solids * slurry_density(solids, line.nature.recipe))
        speed = line.setpoints["Coater.LineSpeed.Setpoint"] / 60.0
        return film * line.plant.coater.width_m * speed / self._yield

    def _gap(self, target: float) -> float:
        """Displayed gap, m, that presses what comes next to a thickness, m; NaN with no web."""
        line, web, nature = self._line, self._line.web, self._line.nature
        calender, nip = line.calender, self._line.nature.calendering
        outer = math.nan
        if calender.mounted is not None:
            outer = calender.position(calender.feed_at(line.plant.layout.calender_nip))
            outer = calender.mounted.end if math.isnan(outer) else outer
        elif calender.waiting:
            outer = calender.waiting[0].end
        if math.isnan(outer):
            return math.nan
        cells = slice(max(int((outer - AHEAD) / web.length), 0), int(outer / web.length))
        known = np.isfinite(web.porosity[cells])
        if not known.any():
            return math.nan
        mass = float(web.mass[cells][known].mean())
        before = float(web.porosity[cells][known].mean())
        foil = float(web.foil[cells][known].mean())
        after = 1.0 - mass / (nature.recipe.skeletal_density * target)
        speed = line.setpoints["Calender.LineSpeed.Setpoint"] / 60.0
        rolls = line.setpoints["Calender.RollTemperature.Setpoint"] + 273.15
        hot = float(coating_temperature(rolls, speed, nip))
        least = float(minimum_porosity(hot, nip))
        if not least < after < before:
            return math.nan
        share = (after - least) / (before - least)
        load = -float(compaction_resistance(mass, hot, nip)) * math.log(share)
        gap = float(gap_for_line_load(load, mass, before, hot, nature.recipe, nip))
        return gap + foil - nature.gap_zero - calender.gap_drift
