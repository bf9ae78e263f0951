"""Seeded streams of randomness, one per effect.

Every effect owns a generator keyed by (seed, name), stepped by tick, position or sample, never by
what a setpoint does. Two runs with the same seed therefore meet the same disturbances, whatever
is written to the line.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of the effect `name`."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


class Normal:
    """Standard normal numbers of one effect, drawn in blocks because single draws are slow."""

    __slots__ = ("_block", "_generator", "_next")

    def __init__(self, seed: int, name: str) -> None:
        self._generator = generator(seed, name)
        self._block: list[float] = []
        self._next = 0

    def draw(self) -> float:
        """The next standard normal number."""
        if self._next >= len(self._block):
            self._block = self._generator.standard_normal(_BLOCK).tolist()
            self._next = 0
        value = self._block[self._next]
        self._next += 1
        return value


class OrnsteinUhlenbeck:
    """A mean-reverting random walk with standard deviation `sigma` and time constant `tau` [s]."""

    __slots__ = ("_decay", "_kick", "_normal", "value")

    def __init__(self, seed: int, name: str, sigma: float, tau: float, dt: float) -> None:
        self._normal = Normal(seed, name)
        self._decay = math.exp(-dt / tau)
        self._kick = sigma * math.sqrt(1.0 - self._decay**2)
        self.value = sigma * self._normal.draw()

    def step(self) -> float:
        """One tick on; returns the new value."""
        self.value = self.value * self._decay + self._kick * self._normal.draw()
        return self.value


class PositionNoise:
    """Correlated noise on a fixed grid of positions (standard deviation 1)."""

    __slots__ = ("_correlation", "_generator", "_last", "_values")

    def __init__(self, seed: int, name: str, correlation: float) -> None:
        self._generator = generator(seed, name)
        self._correlation = correlation
        self._last = float(self._generator.standard_normal())
        self._values: NDArray[np.float64] = np.empty(0)

    def at(self, index: int) -> float:
        """The noise of grid cell `index`, always the same for a seed."""
        while index >= self._values.size:
            raw = self._generator.standard_normal(_BLOCK)
            if self._correlation > 0.0:
                kick = math.sqrt(1.0 - self._correlation**2)
                last = self._last
                for i in range(_BLOCK):
                    last = last * self._correlation + kick * raw[i]
                    raw[i] = last
                self._last = last
            self._values = np.concatenate([self._values, raw])
        return float(self._values[index])
