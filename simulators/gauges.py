"""Inline gauges: what they read of the web, and how they go wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulators.plant import BetaGauge, Gauge
from simulators.randomness import Normal, generator
from simulators.scenario import GaugeAction


@dataclass(frozen=True, slots=True)
class Reading:
    """One value that a gauge sent."""

    gauge: str
    topic: str
    time_ns: int
    """Line time [ns since 1970 UTC]."""
    value: float
    unit: str
    status: str
    """`ok`, `uncertain` or `bad`, as the gauge sees itself."""
    position: float
    """True coated position under the gauge [m of the coater's encoder], never sent; NaN: bare."""


class GaugeModel:
    """Measured = truth + bias + drift + noise, rounded; and the faults of a scenario."""

    def __init__(self, name: str, gauge: Gauge, beta: BetaGauge, foil_um: float, seed: int) -> None:
        self.name = name
        self.gauge = gauge
        self.period_s = 1.0 / gauge.rate_hz
        self._beta = beta if name == "mass_loading" else None
        self._foil_mass = foil_um * 1e-6 * 2700.0
        draw = generator(seed, f"gauge {name}")
        self._bias = gauge.bias_spread * float(draw.standard_normal())
        self._noise = Normal(seed, f"gauge noise {name}")
        self._spikes = generator(seed, f"gauge spikes {name}")
        self._fault: GaugeAction | None = None
        self._since_s = 0.0
        self._offset = 0.0
        self._last = 0.0

    def break_down(self, action: GaugeAction, now_s: float) -> None:
        """Start (or with fault `none` end) a fault."""
        if self._fault is not None and self._fault.fault == "drift" and action.fault != "none":
            self._offset += self._fault.amount * (now_s - self._since_s) / 3600.0
        if action.fault == "none":
            self._offset = 0.0
        self._fault = None if action.fault == "none" else action
        self._since_s = now_s

    def read(self, truth: float, now_s: float) -> tuple[float, str] | None:
        """Value and status for a true value [unit of the gauge]; None when nothing is sent."""
        normal = self._noise.draw()
        spike, height = self._spikes.random(), self._spikes.standard_normal()
        value = truth + self._bias + self._offset + normal * self._sigma(truth)
        status = "ok"
        fault = self._fault
        if fault is not None:
            status = fault.status
            if fault.fault == "dropout":
                return None
            if fault.fault == "freeze":
                return self._last, status
            if fault.fault == "bias":
                value += fault.amount
            elif fault.fault == "drift":
                value += fault.amount * (now_s - self._since_s) / 3600.0
            elif fault.fault == "spikes" and spike < fault.probability:
                value += math.copysign(fault.amount * (1.0 + 0.3 * abs(height)), height)
        step = self.gauge.resolution
        if step > 0.0:
            value = round(round(value / step) * step, 9)
        self._last = value
        return value, status

    def _sigma(self, truth: float) -> float:
        if self._beta is None:
            return self.gauge.noise
        total = max(truth * 1e-3, 0.0) + self._foil_mass
        seconds = max(self.gauge.averaging_s, 1e-3)
        counts = self._beta.count_rate * seconds * math.exp(-self._beta.absorption_m2_kg * total)
        return math.hypot(1e3 / (self._beta.absorption_m2_kg * math.sqrt(counts)), self.gauge.noise)
