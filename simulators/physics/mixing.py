"""Slurry mixing: viscosity, dispersion and ageing of a batch.

Sources: Krieger and Dougherty 1959 (plateau), Carreau 1972 (shear thinning); dispersion of first
order. Valid for a homogeneous, degassed slurry that does not gel, with the particle volume fraction
below 0.9 of the maximum packing. A rheometer covers about 0.1 to 1000 1/s; beyond is extrapolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.physics.materials import (
    GAS_CONSTANT,
    Floats,
    Recipe,
    Values,
    binder_in_liquid,
    floats,
    particle_volume_fraction,
    slurry_density,
)


@dataclass(frozen=True, slots=True)
class MixingCoefficients:
    """Coefficients of mixing, all [K]: plausible, to be fitted to the slurry at hand."""

    solvent_viscosity: float = 1.65e-3
    """Pa.s at the reference temperature (NMP)."""
    binder_thickening: float = 110.0
    """Logarithmic thickening by dissolved binder, 80 to 130 by grade."""
    intrinsic_viscosity: float = 2.5
    """2.5 for spheres, to 4."""
    maximum_packing: float = 0.55
    """Volume fraction, 0.50 to 0.64."""
    zero_shear_viscosity: float = 12.0
    """Pa.s of the recipe at the reference solids and temperature, fully dispersed; 3 to 100."""
    carreau_time: float = 0.5
    """s, 0.05 to 5."""
    shear_thinning_index: float = 0.55
    """0.4 to 0.8."""
    activation_energy: float = 18e3
    """J/mol of viscous flow, 12 to 25 thousand."""
    reference_solids: float = 0.65
    """kg/kg at which the zero-shear viscosity holds."""
    reference_temperature: float = 298.15
    """K."""
    reference_shear_rate: float = 100.0
    """1/s at which a viscosity without further words is quoted."""
    initial_size: float = 60e-6
    """Aggregates before mixing, m."""
    final_size: float = 5e-6
    """Aggregates after endless mixing, m."""
    dispersion_time: float = 1200.0
    """s at the reference speed."""
    reference_speed: float = 2000.0 * 2.0 * np.pi / 60.0
    """Mixer speed, rad/s (2000 rpm)."""
    speed_exponent: float = 1.5
    """1 to 3."""
    aggregate_thickening: float = 0.5
    """Relative viscosity gain of a slurry that is not dispersed at all, 0.3 to 1."""
    ageing_gain: float = 0.25
    """Relative viscosity gain by rebuilt structure, 0.1 to 0.4."""
    ageing_time: float = 6.0 * 3600.0
    """s, 4 to 10 h."""
    ageing_temperature: float = 0.0
    """1/K; more thinning by temperature on top of the flow activation, where storage shows it."""
    ageing_solids: float = 22.0
    """Logarithmic viscosity change per unit of solids gained or lost in storage, 15 to 30."""


@dataclass(frozen=True, slots=True)
class Slurry:
    """A batch after mixing."""

    density: Floats
    """kg/m3."""
    viscosity: Floats
    """Pa.s at the reference shear rate and the mixing temperature."""
    aggregate_size: Floats
    """m."""


def medium_viscosity(binder: Values, coefficients: MixingCoefficients) -> Floats:
    """Viscosity in Pa.s of solvent with dissolved binder; 0.0848 for a binder share of 0.0358."""
    return coefficients.solvent_viscosity * np.exp(coefficients.binder_thickening * floats(binder))


def krieger_dougherty(volume_fraction: Values, coefficients: MixingCoefficients) -> Floats:
    """Relative viscosity of a suspension (Krieger and Dougherty 1959); 2.721 at 0.2844.

    Infinite from the maximum packing on.
    """
    packing = coefficients.maximum_packing
    room = np.maximum(1.0 - floats(volume_fraction) / packing, 0.0)
    with np.errstate(divide="ignore"):
        return np.power(room, -coefficients.intrinsic_viscosity * packing)


def infinite_shear_viscosity(
    solids: Values, recipe: Recipe, coefficients: MixingCoefficients
) -> Floats:
    """High-shear plateau in Pa.s at the reference temperature; 0.2306 at solids of 0.65."""
    medium = medium_viscosity(binder_in_liquid(solids, recipe), coefficients)
    return medium * krieger_dougherty(particle_volume_fraction(solids, recipe), coefficients)


def carreau(
    shear_rate: Values, zero: Values, infinite: Values, coefficients: MixingCoefficients
) -> Floats:
    """Viscosity in Pa.s at a shear rate in 1/s between two plateaus; 2.254 at 100 1/s."""
    bend = 1.0 + (coefficients.carreau_time * floats(shear_rate)) ** 2
    return infinite + (floats(zero) - infinite) * np.power(
        bend, (coefficients.shear_thinning_index - 1.0) / 2.0
    )


def temperature_factor(temperature: Values, coefficients: MixingCoefficients) -> Floats:
    """Factor on every viscosity at a temperature in K (Arrhenius); 0.887 at 30 degC."""
    inverse = 1.0 / floats(temperature) - 1.0 / coefficients.reference_temperature
    return np.exp(coefficients.activation_energy / GAS_CONSTANT * inverse)


def viscosity(
    shear_rate: Values,
    solids: Values,
    temperature: Values,
    recipe: Recipe,
    coefficients: MixingCoefficients,
) -> Floats:
    """Viscosity in Pa.s of the dispersed slurry at a shear rate in 1/s.

    Both plateaus move with the solids in the same ratio, so that the curve keeps its shape.
    """
    infinite = infinite_shear_viscosity(solids, recipe, coefficients)
    reference = infinite_shear_viscosity(coefficients.reference_solids, recipe, coefficients)
    zero = coefficients.zero_shear_viscosity * infinite / reference
    curve = carreau(shear_rate, zero, infinite, coefficients)
    return curve * temperature_factor(temperature, coefficients)


def viscosity_at(
    shear_rate: Values,
    reference_viscosity: Values,
    recipe: Recipe,
    coefficients: MixingCoefficients,
) -> Floats:
    """Viscosity in Pa.s at a shear rate in 1/s, from the one at the reference shear rate.

    Follows from the constant shape of the flow curve; whatever scaled the viscosity stays in it.
    """
    infinite = infinite_shear_viscosity(coefficients.reference_solids, recipe, coefficients)
    zero = coefficients.zero_shear_viscosity
    there = carreau(shear_rate, zero, infinite, coefficients)
    here = carreau(coefficients.reference_shear_rate, zero, infinite, coefficients)
    return floats(reference_viscosity) * there / here


def aggregate_size(time: Values, speed: Values, coefficients: MixingCoefficients) -> Floats:
    """Aggregate size in m after mixing for a time in s at a mixer speed in rad/s; first order."""
    faster = np.power(floats(speed) / coefficients.reference_speed, coefficients.speed_exponent)
    left = np.exp(-floats(time) * faster / coefficients.dispersion_time)
    return coefficients.final_size + (coefficients.initial_size - coefficients.final_size) * left


def dispersion_factor(size: Values, coefficients: MixingCoefficients) -> Floats:
    """Factor on the viscosity of a slurry whose aggregates still have this size in m."""
    span = coefficients.initial_size - coefficients.final_size
    return 1.0 + coefficients.aggregate_thickening * (floats(size) - coefficients.final_size) / span


def ageing_factor(
    time: Values,
    temperature_change: Values,
    solids_change: Values,
    coefficients: MixingCoefficients,
) -> Floats:
    """Factor on the viscosity after storage for a time in s.

    Args:
        time: since the end of mixing, s.
        temperature_change: against the temperature the viscosity was quoted at, K.
        solids_change: by lost solvent, kg/kg.
        coefficients: of mixing.
    """
    rebuilt = -np.expm1(-floats(time) / coefficients.ageing_time)
    return (
        (1.0 + coefficients.ageing_gain * rebuilt)
        * np.exp(-coefficients.ageing_temperature * floats(temperature_change))
        * np.exp(coefficients.ageing_solids * floats(solids_change))
    )


def mix(
    solids: Values,
    speed: Values,
    time: Values,
    temperature: Values,
    recipe: Recipe,
    coefficients: MixingCoefficients,
) -> Slurry:
    """A batch after mixing.

    Args:
        solids: kg/kg.
        speed: of the mixer, rad/s.
        time: s.
        temperature: of the slurry, K.
        recipe: what goes in.
        coefficients: of mixing.
    """
    size = aggregate_size(time, speed, coefficients)
    dispersed = viscosity(
        coefficients.reference_shear_rate, solids, temperature, recipe, coefficients
    )
    return Slurry(
        slurry_density(solids, recipe), dispersed * dispersion_factor(size, coefficients), size
    )
