"""Coating: mass balance and window of a slot die, gap factor of a comma bar.

Sources: mass balance (exact); visco-capillary limit after Ruschak 1976 and Higgins and Scriven
1980. The limit is strict for capillary numbers below about 0.1; battery slurries run at 0.5 to 10,
where the measured minimum thickness flattens, hence the cap [K].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.physics.materials import Floats, Recipe, Values, floats
from simulators.physics.mixing import MixingCoefficients, viscosity_at


@dataclass(frozen=True, slots=True)
class CoatingCoefficients:
    """Coefficients of coating, all [K]."""

    surface_tension: float = 0.040
    """N/m; NMP slurry 0.038 to 0.041, aqueous 0.04 to 0.06."""
    minimum_ratio_cap: float = 0.65
    """Largest ratio of minimum wet thickness to gap."""
    comma_gap_factor: float = 0.6
    """Wet thickness over gap of the comma bar at reference speed and viscosity, 0.5 to 0.75."""
    comma_speed_exponent: float = 0.05
    """-0.1 to 0.15."""
    comma_viscosity_exponent: float = 0.03
    """-0.05 to 0.1."""
    comma_reference_speed: float = 1.0 / 60.0
    """m/s."""
    comma_reference_viscosity: float = 2.254
    """Pa.s at 100 1/s."""


@dataclass(frozen=True, slots=True)
class Coated:
    """The wet film of a slot die."""

    wet_thickness: Floats
    """m."""
    mass_loading: Floats
    """Dry mass, kg/m2."""
    capillary_number: Floats
    minimum_thickness: Floats
    """Thinnest film that the die lays without defects at this gap and speed, m."""
    window_margin: Floats
    """Wet thickness over minimum thickness, less one; negative is outside the window."""


def slot_die_thickness(flow: Values, width: Values, speed: Values) -> Floats:
    """Wet thickness in m from pump flow in m3/s, coated width in m and web speed in m/s; exact."""
    return floats(flow) / (floats(width) * speed)


def loading_of_film(wet_thickness: Values, density: Values, solids: Values) -> Floats:
    """Dry mass in kg/m2 of a wet film of slurry with this density in kg/m3 and solids in kg/kg."""
    return floats(wet_thickness) * density * solids


def wet_thickness_of_loading(mass: Values, density: Values, solids: Values) -> Floats:
    """Wet film in m that leaves this dry mass in kg/m2; 134.6 um for 180 g/m2 by default."""
    return floats(mass) / (floats(density) * solids)


def capillary_number(viscosity: Values, speed: Values, coefficients: CoatingCoefficients) -> Floats:
    """Viscous over surface force, with the viscosity in Pa.s at the shear rate of the gap."""
    return floats(viscosity) * speed / coefficients.surface_tension


def meniscus_limit(gap: Values, capillary: Values) -> Floats:
    """Minimum wet thickness in m by the downstream meniscus alone; 80.6 um for 200 um and 1.011."""
    curvature = 1.34 * np.power(floats(capillary), 2.0 / 3.0)
    return floats(gap) * curvature / (2.0 + curvature)


def minimum_thickness(gap: Values, capillary: Values, coefficients: CoatingCoefficients) -> Floats:
    """Minimum wet thickness in m: the meniscus limit, at most a fixed share of the gap."""
    return np.minimum(meniscus_limit(gap, capillary), coefficients.minimum_ratio_cap * floats(gap))


def coat(
    flow: Values,
    speed: Values,
    gap: Values,
    width: Values,
    solids: Values,
    density: Values,
    viscosity: Values,
    recipe: Recipe,
    mixing: MixingCoefficients,
    coefficients: CoatingCoefficients,
) -> Coated:
    """The wet film of a slot die in steady state. Gap and viscosity move the window only.

    Args:
        flow: of the pump, m3/s.
        speed: of the web, m/s.
        gap: between die lips and web, m.
        width: coated, m.
        solids: of the slurry, kg/kg.
        density: of the slurry, kg/m3.
        viscosity: of the slurry at the reference shear rate, Pa.s.
        recipe: of the slurry.
        mixing: shape of the flow curve.
        coefficients: of coating.
    """
    wet = slot_die_thickness(flow, width, speed)
    in_gap = viscosity_at(floats(speed) / gap, viscosity, recipe, mixing)
    capillary = capillary_number(in_gap, speed, coefficients)
    least = minimum_thickness(gap, capillary, coefficients)
    return Coated(wet, loading_of_film(wet, density, solids), capillary, least, wet / least - 1.0)


def comma_bar_thickness(
    gap: Values, speed: Values, viscosity: Values, coefficients: CoatingCoefficients
) -> Floats:
    """Wet thickness in m behind a comma bar at a gap in m, web speed in m/s, viscosity in Pa.s.

    Here the gap sets the loading; speed and viscosity matter mildly.
    """
    return (
        coefficients.comma_gap_factor
        * floats(gap)
        * np.power(
            floats(speed) / coefficients.comma_reference_speed, coefficients.comma_speed_exponent
        )
        * np.power(
            floats(viscosity) / coefficients.comma_reference_viscosity,
            coefficients.comma_viscosity_exponent,
        )
    )
