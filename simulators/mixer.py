"""The mixer: makes batches, shows the recipe by weighing."""

from __future__ import annotations

from simulators.actuators import Lag, Ramp
from simulators.nature import Nature
from simulators.plant import Plant
from simulators.randomness import Normal
from simulators.slurry import Batch, mix_batch


class Mixer:
    """A batch machine; its batches are ready when they are connected to the hose."""

    def __init__(
        self, plant: Plant, nature: Nature, seed: int, setpoints: dict[str, float]
    ) -> None:
        dt = plant.tick_s
        recipe = plant.recipe
        self._plant = plant
        self._nature = nature
        self._setpoints = setpoints
        self._speed = Ramp(recipe.mixer_speed_rpm, 500.0, dt)
        self._temperature = Lag(recipe.mixer_temperature_c, 600.0, dt)
        self._noise = Normal(seed, "mixer noise")
        self._draw = Normal(seed, "batches")
        self.batch = self.mix(recipe.solids, recipe.solids, 1.0, -1800.0, number=1)

    def mix(
        self,
        solids: float,
        reported: float,
        factor: float,
        now_s: float,
        number: int | None = None,
    ) -> Batch:
        """Mix the next batch at the machine's settings."""
        self.batch = mix_batch(
            self.batch.number + 1 if number is None else number,
            solids,
            reported,
            factor,
            self._speed.value,
            self._setpoints["Mixer.MixingTime.Setpoint"],
            self._temperature.value,
            now_s,
            self._nature,
        )
        return self.batch

    def step(self) -> None:
        """One tick on."""
        self._speed.step(self._setpoints["Mixer.Speed.Setpoint"])
        self._temperature.step(self._setpoints["Mixer.Temperature.Setpoint"])

    def show(self) -> dict[str, float]:
        """What the machine displays."""
        return {
            "Mixer.BatchNumber": self.batch.number,
            "Mixer.SolidsContent": 100.0 * self.batch.reported_solids,
            "Mixer.Speed.Actual": self._speed.value + 1.5 * self._noise.draw(),
            "Mixer.Temperature.Actual": self._temperature.value + 0.1 * self._noise.draw(),
            "Mixer.MixingTime.Actual": self._setpoints["Mixer.MixingTime.Setpoint"],
        }
