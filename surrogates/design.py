"""Designed samples of the physics: Sobol points over stated ranges, taken through the line.

What a machine is set to is drawn from its range. What the step before leaves behind (slurry
density, viscosity, porosity) is computed by the model of that step, then varied as batches vary, so
that no sample is an electrode that cannot exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from simulators.physics import (
    CalenderingCoefficients,
    CoatingCoefficients,
    DryingCoefficients,
    MixingCoefficients,
    Recipe,
    Zone,
    calender,
    coat,
    dry,
    heat_transfer,
    mix,
)
from simulators.physics.calendering import coating_temperature, gap_for_line_load
from simulators.physics.materials import slurry_density
from surrogates.card import Product
from twin.samples import Floats

ZONE_LENGTH = 3.0
"""m; the dryer of the surrogate has three zones of this length."""

_RPM = 2.0 * np.pi / 60.0
_PER_MINUTE = 1.0 / 60.0


@dataclass(frozen=True, slots=True)
class Range:
    """Values to draw from."""

    low: float
    high: float
    even_in_log: bool = False

    def of(self, unit: Floats) -> Floats:
        """Values for points between 0 and 1."""
        if self.even_in_log:
            return self.low * np.power(self.high / self.low, unit)
        return self.low + (self.high - self.low) * unit


@dataclass(frozen=True, slots=True)
class Target:
    """An output and how it is learnt."""

    name: str
    unit: str
    logarithmic: bool = False
    """Learn log(value + offset)."""
    offset: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    """The prediction is clipped to low and high."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input and how it is learnt from."""

    name: str
    unit: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class StepDesign:
    """What is drawn, computed and learnt for one step."""

    step: str
    ranges: Mapping[str, Range]
    inputs: tuple[Input, ...]
    targets: tuple[Target, ...]
    products: tuple[Product, ...]
    evaluate: Callable[[Mapping[str, Floats]], tuple[Mapping[str, Floats], Mapping[str, Floats]]]
    """From what was drawn: inputs and (not clipped) outputs of the surrogate by name."""
    width: int = 24
    """Of both hidden layers of each network."""
    rounds: int = 3000
    """Of the optimiser, at most."""

    @property
    def description(self) -> str:
        """For the model card."""
        drawn = ", ".join(
            f"{name} {span.low:.6g} to {span.high:.6g}{' (log)' if span.even_in_log else ''}"
            for name, span in self.ranges.items()
        )
        return f"scrambled Sobol over (SI) {drawn}"


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of inputs and outputs of a step, in the order of its design."""

    inputs: Floats
    outputs: Floats


def sample(design: StepDesign, seed: int, count: int) -> Samples:
    """Designed samples of the physics of a step; the same for the same seed and count."""
    power = max(int(np.ceil(np.log2(count))), 1)
    points = qmc.Sobol(len(design.ranges), rng=np.random.default_rng(seed)).random_base2(power)
    drawn = {
        name: span.of(points[:count, column])
        for column, (name, span) in enumerate(design.ranges.items())
    }
    inputs, outputs = design.evaluate(drawn)
    return Samples(
        np.column_stack([inputs[entry.name] for entry in design.inputs]),
        np.column_stack([outputs[target.name] for target in design.targets]),
    )


_MIXING = {
    "solids_content": Range(0.55, 0.72),
    "mixer_speed": Range(1000 * _RPM, 4000 * _RPM),
    "mixing_time": Range(600.0, 7200.0),
    "mixing_temperature": Range(288.15, 318.15),
}
_SPEED = Range(0.3 * _PER_MINUTE, 10.0 * _PER_MINUTE, even_in_log=True)
_MASS = Range(0.050, 0.300)


def _mixing(drawn: Mapping[str, Floats]) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    slurry = mix(
        drawn["solids_content"],
        drawn["mixer_speed"],
        drawn["mixing_time"],
        drawn["mixing_temperature"],
        Recipe(),
        MixingCoefficients(),
    )
    return drawn, {
        "slurry_density": slurry.density,
        "viscosity": slurry.viscosity,
        "aggregate_size": slurry.aggregate_size,
    }


def _coating(drawn: Mapping[str, Floats]) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    recipe, mixing = Recipe(), MixingCoefficients()
    slurry = mix(
        drawn["solids_content"],
        drawn["mixer_speed"],
        drawn["mixing_time"],
        drawn["mixing_temperature"],
        recipe,
        mixing,
    )
    density = slurry_density(drawn["solids_content"], recipe) * drawn["density_factor"]
    flow = drawn["wet_thickness"] * drawn["line_speed"] * drawn["coating_width"]
    inputs = {
        **drawn,
        "pump_flow": flow,
        "slurry_density": density,
        "viscosity": slurry.viscosity * drawn["viscosity_factor"],
    }
    coated = coat(
        flow,
        drawn["line_speed"],
        drawn["coating_gap"],
        drawn["coating_width"],
        drawn["solids_content"],
        density,
        inputs["viscosity"],
        recipe,
        mixing,
        CoatingCoefficients(),
    )
    return inputs, {
        "wet_thickness": coated.wet_thickness,
        "mass_loading": coated.mass_loading,
        "coating_window_margin": coated.window_margin,
    }


def _drying(drawn: Mapping[str, Floats]) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    coefficients = DryingCoefficients()
    alpha = heat_transfer(drawn["air_speed"], coefficients)
    zones = [Zone(ZONE_LENGTH, drawn[f"zone_{number}_temperature"], alpha) for number in (1, 2, 3)]
    dried = dry(
        drawn["mass_loading"],
        drawn["solids_content"],
        drawn["line_speed"],
        zones,
        Recipe(),
        coefficients,
    )
    return drawn, {
        "dry_thickness": dried.thickness,
        "dry_porosity": dried.porosity,
        "residual_solvent": dried.residual_solvent,
        "adhesion": dried.adhesion,
        "web_temperature": dried.web_temperature,
    }


def _calendering(drawn: Mapping[str, Floats]) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    recipe, coefficients = Recipe(), CalenderingCoefficients()
    drying = DryingCoefficients()
    alpha = heat_transfer(drawn["air_speed"], drying)
    dried = dry(
        drawn["mass_loading"],
        drawn["solids_content"],
        drawn["coater_speed"],
        [Zone(3 * ZONE_LENGTH, drawn["air_temperature"], alpha)],
        recipe,
        drying,
    )
    porosity = dried.porosity + drawn["porosity_shift"]
    mass, speed = drawn["mass_loading"], drawn["line_speed"]
    warm = coating_temperature(drawn["roll_temperature"], speed, coefficients)
    gap = gap_for_line_load(drawn["line_load"], mass, porosity, warm, recipe, coefficients)
    behind = calender(
        gap, 0.0, drawn["roll_temperature"], speed, mass, porosity, recipe, coefficients
    )
    inputs = {**drawn, "roll_gap": gap, "dry_porosity": porosity}
    return inputs, {
        "line_load": behind.line_load,
        "calendered_thickness": behind.thickness,
        "porosity": behind.porosity,
    }


_TEMPERATURE = Range(333.15, 423.15)
_SOLIDS = Range(0.55, 0.72)

DESIGNS: Mapping[str, StepDesign] = {
    design.step: design
    for design in (
        StepDesign(
            "mixing",
            _MIXING,
            (
                Input("solids_content", "dimensionless", True),
                Input("mixer_speed", "rad/s", True),
                Input("mixing_time", "s", True),
                Input("mixing_temperature", "K"),
            ),
            (
                Target("slurry_density", "kg/m^3", True),
                Target("viscosity", "Pa*s", True),
                Target("aggregate_size", "m", True),
            ),
            (),
            _mixing,
        ),
        StepDesign(
            "coating",
            {
                **_MIXING,
                "wet_thickness": Range(50e-6, 350e-6, True),
                "line_speed": _SPEED,
                "coating_gap": Range(80e-6, 400e-6, True),
                "coating_width": Range(0.05, 0.30, True),
                "density_factor": Range(0.95, 1.03),
                "viscosity_factor": Range(0.5, 2.0, True),
            },
            (
                Input("pump_flow", "m^3/s", True),
                Input("line_speed", "m/s", True),
                Input("coating_gap", "m", True),
                Input("coating_width", "m", True),
                Input("solids_content", "dimensionless", True),
                Input("slurry_density", "kg/m^3", True),
                Input("viscosity", "Pa*s", True),
            ),
            (
                Target("wet_thickness", "m", True),
                Target("mass_loading", "kg/m^2", True),
                Target("coating_window_margin", "dimensionless", True, 1.0, -1.0, 3.0),
            ),
            (
                Product(
                    name="wet_thickness",
                    powers={"pump_flow": 1.0, "line_speed": -1.0, "coating_width": -1.0},
                    low=50e-6,
                    high=350e-6,
                ),
            ),
            _coating,
        ),
        StepDesign(
            "drying",
            {
                "mass_loading": _MASS,
                "solids_content": _SOLIDS,
                "zone_1_temperature": _TEMPERATURE,
                "zone_2_temperature": _TEMPERATURE,
                "zone_3_temperature": _TEMPERATURE,
                "air_speed": Range(2.0, 20.0, True),
                "line_speed": _SPEED,
            },
            (
                Input("mass_loading", "kg/m^2", True),
                Input("solids_content", "dimensionless", True),
                Input("zone_1_temperature", "K"),
                Input("zone_2_temperature", "K"),
                Input("zone_3_temperature", "K"),
                Input("air_speed", "m/s", True),
                Input("line_speed", "m/s", True),
            ),
            (
                Target("dry_thickness", "m", True),
                Target("dry_porosity", "dimensionless"),
                Target("residual_solvent", "dimensionless", True, 2e-3, 0.0),
                Target("adhesion", "N/m", True, 1.0, 0.0),
                Target("web_temperature", "K"),
            ),
            (),
            _drying,
            width=40,
            rounds=2000,
        ),
        StepDesign(
            "calendering",
            {
                "mass_loading": _MASS,
                "solids_content": _SOLIDS,
                "air_temperature": _TEMPERATURE,
                "air_speed": Range(5.0, 20.0, True),
                "coater_speed": Range(0.3 * _PER_MINUTE, 3.0 * _PER_MINUTE, True),
                "porosity_shift": Range(-0.05, 0.06),
                "roll_temperature": Range(293.15, 423.15),
                "line_speed": _SPEED,
                "line_load": Range(0.0, 1500e3),
            },
            (
                Input("roll_gap", "m"),
                Input("roll_temperature", "K"),
                Input("line_speed", "m/s", True),
                Input("mass_loading", "kg/m^2", True),
                Input("dry_porosity", "dimensionless"),
            ),
            (
                Target("line_load", "N/m"),
                Target("calendered_thickness", "m", True),
                Target("porosity", "dimensionless"),
            ),
            (),
            _calendering,
        ),
    )
}
