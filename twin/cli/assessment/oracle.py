"""The oracle: looks into the virtual line, to show about what its setpoints allow.

Only an assessment may do that; no controller of a real line can.
"""

from __future__ import annotations

import math
from collections import deque
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

    Args:
        line: looked into.
        wire: writes the setpoints.
        loops: what may be moved for what.
        behind: hindsight: see nothing of a disturbance before the first material that carries it
            has passed a gauge, and all of it from then on. What the pump yields shows under the wet
            thickness gauge, solids under the mass loading gauge, the zero of the calender's gap
            under the calendered thickness gauge.
    """

    def __init__(
        self, line: VirtualLine, wire: Wire, loops: Sequence[Loop], behind: bool = False
    ) -> None:
        self._line = line
        self._behind = behind
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
        if behind:
            self._yield = math.nan
        self._unseen: deque[tuple[int, float]] = deque()
        """Cells that have left the head, and the yield that each tells."""
        self._pressed: deque[tuple[float, float]] = deque()
        """Lengths of the calendered web, and the gap's true less displayed value at each, m."""
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
                self._unseen.append((cell, float(web.volume[cell]) / film))
        self._closed = web.closed
        seen = self._under("wet_thickness") if self._behind else web.closed
        while self._unseen and self._unseen[0][0] < seen:
            told = self._unseen.popleft()[1]
            known = told if math.isnan(self._yield) else self._yield
            self._yield = known + SHARE * (told - known)

    def _under(self, gauge: str) -> int:
        """The cell of the web that is under a gauge of the coater."""
        line = self._line
        return int((line.coater.length - line.plant.gauges[gauge].position) / line.web.length)

    def _solids(self) -> float:
        """Of the slurry in the die; in hindsight, of the web under the gauge."""
        line = self._line
        if not self._behind:
            return line.coater.hose.outlet.solids
        cell = self._under("mass_loading")
        return float(line.web.solids[cell]) if 0 <= cell < line.web.closed else math.nan

    def _zero(self) -> float:
        """What the gap truly is more than it shows, m; in hindsight, when the web was pressed."""
        line, calender = self._line, self._line.calender
        zero = line.nature.gap_zero + calender.gap_drift
        if not self._behind:
            return zero
        if calender.load > 0.0:
            self._pressed.append((calender.length, zero))
        layout, gauge = line.plant.layout, line.plant.gauges["calendered_thickness"]
        reach = calender.length - (gauge.position - layout.calender_nip)
        while len(self._pressed) > 1 and self._pressed[1][0] <= reach:
            self._pressed.popleft()
        known = bool(self._pressed) and self._pressed[0][0] <= reach
        return self._pressed[0][1] if known else math.nan

    def _flow(self, target: float) -> float:
        """Pump setpoint, m^3/s, that lays a dry loading, kg/m^2, with the slurry in the die."""
        line = self._line
        solids = self._solids()
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
        return gap + foil - self._zero()
