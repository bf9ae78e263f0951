"""Drives, valves and heaters: how an actual value follows its setpoint."""

from __future__ import annotations

import math


class Ramp:
    """Follows its target with a rate limit."""

    __slots__ = ("_step", "value")

    def __init__(self, value: float, rate: float, dt: float) -> None:
        self.value = value
        self._step = rate * dt

    def step(self, target: float) -> float:
        """One tick on; returns the new value."""
        gap = target - self.value
        self.value = (
            target if abs(gap) <= self._step else self.value + math.copysign(self._step, gap)
        )
        return self.value


class Lag:
    """Follows its target as a first-order lag with time constant `tau` [s]."""

    __slots__ = ("_share", "value")

    def __init__(self, value: float, tau: float, dt: float) -> None:
        self.value = value
        self._share = -math.expm1(-dt / tau)

    def step(self, target: float) -> float:
        """One tick on; returns the new value."""
        self.value += (target - self.value) * self._share
        return self.value


class Heater:
    """A controlled air heater: second order with overshoot, limited heating, can fail."""

    __slots__ = ("_damping", "_dt", "_frequency", "_limit", "_loss", "_rate", "failed", "value")

    def __init__(self, value: float, tau: float, overshoot: float, limit: float, dt: float) -> None:
        """`value` [degC], `tau` [s], `overshoot` of a step [-], `limit` of the rate [K/s]."""
        self.value = value
        self.failed = False
        self._rate = 0.0
        self._limit = limit
        self._dt = dt
        self._frequency = 2.0 / tau
        self._loss = 1.0 / (2.0 * tau)
        log = math.log(max(overshoot, 1e-3))
        self._damping = -log / math.sqrt(math.pi**2 + log**2)

    def step(self, target: float, ambient: float) -> float:
        """One tick on; a failed heater cools towards `ambient` [degC]."""
        if self.failed:
            self._rate = (ambient - self.value) * self._loss
        else:
            pull = self._frequency**2 * (target - self.value)
            drag = 2.0 * self._damping * self._frequency * self._rate
            self._rate += (pull - drag) * self._dt
            self._rate = min(max(self._rate, -self._limit), self._limit)
        self.value += self._rate * self._dt
        return self.value
