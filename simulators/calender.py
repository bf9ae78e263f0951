"""The calender: unwinds finished rolls from the outside, compacts, stretches the foil."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from simulators.actuators import Ramp
from simulators.nature import Nature
from simulators.physics.calendering import (
    coating_temperature,
    compacted_porosity,
    excess_thickness,
    line_load,
)
from simulators.physics.materials import layer_thickness
from simulators.plant import Plant
from simulators.randomness import Normal, OrnsteinUhlenbeck, PositionNoise
from simulators.web import Web


@dataclass(frozen=True, slots=True)
class Roll:
    """A finished roll, in metres of the coater's encoder."""

    number: int
    start: float
    """First metre coated; the inner end."""
    end: float
    """Last metre coated; the outer end, which is unwound first."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Web in the machine: fed from `feed` on, coated position `outer` downwards."""

    feed: float
    outer: float
    length: float


class Calender:
    """Feed, nip and exit. SI inside; `feed` counts unstretched web off the unwinder [m]."""

    def __init__(
        self, plant: Plant, nature: Nature, seed: int, web: Web, setpoints: dict[str, float]
    ) -> None:
        dt = plant.tick_s
        machine = plant.calender
        self._plant = plant
        self._nature = nature
        self._web = web
        self._set = setpoints
        self._dt = dt
        self.allowed = True
        """Whether the operator lets it run."""
        self.turning = False
        self.length = 0.0
        """Encoder at the nip exit: stretched web [m]."""
        self.feed = 0.0
        self.cut_length = 0.0
        self.speed = 0.0
        """At the nip exit [m/s]."""
        self.load = 0.0
        """Line load of the cell in the nip [N/m]."""
        self.gap_drift = 0.0
        """Thermal growth ordered by the scenario [m]."""
        self._drift_target = 0.0
        self._drift_tau = 1.0
        self.waiting: deque[Roll] = deque()
        self.mounted: Roll | None = None
        self.finished: list[Roll] = []
        """Rolls whose tail has left the machine; the laboratory takes its samples from them."""
        self._pieces: list[_Piece] = []
        self._leaving: Roll | None = None
        self._mount_timer = 0.0
        self._tail = 0.0
        self._drive = Ramp(0.0, machine.acceleration_m_min_s / 60.0, dt)
        self._gap = Ramp(plant.recipe.calender_gap_um, machine.gap_rate_um_s, dt)
        self._roll_temperature = Ramp(
            plant.recipe.calender_temperature_c, machine.heating_k_min / 60.0, dt
        )
        self._speed_noise = OrnsteinUhlenbeck(seed, "calender speed", machine.speed_noise, 3.0, dt)
        self._temperature_noise = OrnsteinUhlenbeck(
            seed, "calender temperature", machine.temperature_noise_c, 120.0, dt
        )
        self._gap_noise = PositionNoise(seed, "calender gap", 0.5)
        self._display = Normal(seed, "calender display")

    @property
    def idle(self) -> bool:
        """No roll mounted or waiting and the last tail is through."""
        return self.mounted is None and self._leaving is None and not self.waiting

    def drift_to(self, shift: float, tau: float) -> None:
        """Thermal growth of the gap towards `shift` [m] with time constant `tau` [s]."""
        self._drift_target, self._drift_tau = shift, tau

    def cut_out(self, metres: float) -> None:
        """Cut a piece out of the mounted roll at the unwinder."""
        if self.mounted is None:
            return
        piece = self._pieces[-1]
        used = self.feed - piece.feed
        left = piece.length - used
        cut = min(metres, left)
        self._pieces[-1] = _Piece(piece.feed, piece.outer, used)
        self._pieces.append(_Piece(self.feed, piece.outer - used - cut, left - cut))
        self.cut_length += cut

    def position(self, feed: float) -> float:
        """Coated position [m of the coater's encoder] at a feed coordinate; NaN on leader."""
        for piece in reversed(self._pieces):
            if piece.feed <= feed < piece.feed + piece.length:
                return piece.outer - (feed - piece.feed)
        return math.nan

    def feed_at(self, place: float, back: float = 0.0) -> float:
        """Feed coordinate of the web at `place` [m from the unwinder], `back` m earlier in feed."""
        nip = self._plant.layout.calender_nip
        after = max(place - nip, 0.0) / (1.0 + self._nature.stretch)
        return self.feed - back - min(place, nip) - after

    def step(self, now_ns: int) -> None:
        """One tick on."""
        dt = self._dt
        self._change_rolls()
        run = self.allowed and self.turning
        target = self._set["Calender.LineSpeed.Setpoint"] / 60.0 if run else 0.0
        self.speed = self._drive.step(target) * (1.0 + self._speed_noise.step())
        self._gap.step(self._set["Calender.RollGap.Setpoint"])
        self._roll_temperature.step(self._set["Calender.RollTemperature.Setpoint"])
        self._temperature_noise.step()
        self.gap_drift += (self._drift_target - self.gap_drift) * dt / (self._drift_tau + dt)
        if self.speed <= 0.0:
            return
        distance = self.speed * dt
        before = self.feed_at(self._plant.layout.calender_nip)
        self.length += distance
        self.feed += distance / (1.0 + self._nature.stretch)
        self._press(before, self.feed_at(self._plant.layout.calender_nip), now_ns)

    def _change_rolls(self) -> None:
        if self.mounted is not None:
            piece = self._pieces[-1]
            if self.feed >= piece.feed + piece.length:
                self._leaving, self.mounted = self.mounted, None
                self._tail = self.feed + self._plant.calender.tail_m
            return
        if self._leaving is not None:
            if self.feed >= self._tail:
                self.finished.append(self._leaving)
                self._leaving = None
                self.turning = False
                self._mount_timer = 0.0
            return
        if self.waiting and self.speed <= 0.0:
            self._mount_timer += self._dt
            if self._mount_timer >= self._plant.calender.mounting_s:
                roll = self.waiting.popleft()
                self.mounted = roll
                self._pieces = self._pieces[-8:]
                self._pieces.append(_Piece(self.feed, roll.end, roll.end - roll.start))
                self.turning = True

    def _press(self, before: float, after: float, now_ns: int) -> None:
        """Everything between two feed coordinates has passed the nip."""
        step = self._web.length
        touched = False
        for piece in self._pieces:
            low = max(before, piece.feed)
            high = min(after, piece.feed + piece.length)
            if high <= low:
                continue
            touched = True
            upper = piece.outer - (low - piece.feed)
            lower = piece.outer - (high - piece.feed)
            cell = math.ceil(upper / step - 0.5) - 1
            while (cell + 0.5) * step >= lower:
                if cell >= 0 and math.isnan(self._web.nip_thickness[cell]):
                    self._press_cell(cell, now_ns)
                cell -= 1
        if not touched:
            self.load = 0.0

    def _press_cell(self, cell: int, now_ns: int) -> None:
        web, nature = self._web, self._nature
        machine = self._plant.calender
        angle = 2.0 * self.length / machine.roll_diameter_m
        wave = math.sin(angle) + 0.3 * math.sin(2.0 * angle + 1.0)
        noise = machine.gap_noise_um * self._gap_noise.at(cell)
        gap = (self._gap.value + machine.eccentricity_um * wave + noise) * 1e-6
        gap += nature.gap_zero + self.gap_drift - float(web.foil[cell])
        kelvin = self._roll_temperature.value + self._temperature_noise.value + 273.15
        hot = float(coating_temperature(kelvin, max(self.speed, 1e-3), nature.calendering))
        mass, porosity = max(float(web.mass[cell]), 1e-6), float(web.porosity[cell])
        if math.isnan(porosity):
            return
        load = self._solve(gap, mass, porosity, hot)
        after = float(compacted_porosity(load, mass, porosity, hot, nature.calendering))
        self.load = load
        web.line_load[cell] = load
        web.nip_porosity[cell] = after
        web.nip_thickness[cell] = float(layer_thickness(mass, after, nature.recipe))
        gain = nature.densified_adhesion * (porosity - after) / (1.0 - porosity)
        web.nip_adhesion[cell] = float(web.adhesion[cell]) * (1.0 + gain)
        web.calendered_ns[cell] = now_ns

    def _solve(self, gap: float, mass: float, porosity: float, kelvin: float) -> float:
        """Line load [N/m] by secant steps from the last one; bisection if that does not settle."""
        nip, recipe = self._nature.calendering, self._nature.recipe

        def excess(load: float) -> float:
            return float(excess_thickness(load, gap, mass, porosity, kelvin, recipe, nip))

        if excess(0.0) <= 0.0:
            return 0.0
        a = max(self.load, 1e3)
        b = a * 1.02
        fa, fb = excess(a), excess(b)
        for _ in range(12):
            if abs(fb) < 1e-11:
                return b
            if fb == fa:
                break
            a, b, fa = b, b - fb * (b - a) / (fb - fa), fb
            if not 0.0 <= b <= nip.maximum_line_load:
                break
            fb = excess(b)
        return float(line_load(gap, mass, porosity, kelvin, recipe, nip))

    def show(self) -> dict[str, float]:
        """What the machine displays."""
        draw = self._display.draw
        machine = self._plant.calender
        return {
            "Calender.Run": float(self.allowed and self.turning),
            "Calender.LineSpeed.Actual": max(self.speed * 60.0, 0.0),
            "Calender.RollGap.Actual": max(self._gap.value + machine.gap_noise_um * draw(), 0.0),
            "Calender.RollTemperature.Actual": self._roll_temperature.value
            + self._temperature_noise.value,
            "Calender.LineLoad": max(self.load / 1e3 * (1.0 + machine.load_noise * draw()), 0.0),
            "Calender.WebLength": self.length,
            "Calender.RollNumber": 0 if self.mounted is None else self.mounted.number,
            "Calender.CutLength": self.cut_length,
        }
