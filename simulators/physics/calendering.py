"""Calendering: compaction of the coating, and the line load that a set gap gives.

Sources: Heckel-type law of Meyer et al. 2017 with its linear dependence of the compaction
resistance on loading and roll temperature; mill stretch and spring-back linear in line load
(Zanotto et al. 2022).
Valid for one compaction of a coating as dried, without particle fracture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.physics.materials import Floats, Recipe, Values, floats, layer_thickness


@dataclass(frozen=True, slots=True)
class CalenderingCoefficients:
    """Coefficients of calendering an NMC cathode, all [K]."""

    resistance: float = 200e3
    """Compaction resistance at reference loading and temperature, N/m; 120 to 350 thousand."""
    resistance_loading: float = 4.0
    """Relative gain of the resistance per kg/m2, 2 to 8."""
    resistance_temperature: float = 0.0015
    """Relative loss of the resistance per K, 0.0005 to 0.003."""
    reference_loading: float = 0.150
    """kg/m2."""
    reference_temperature: float = 298.15
    """K."""
    minimum_porosity: float = 0.20
    """Porosity under endless load at the reference temperature, 0.18 to 0.25."""
    minimum_porosity_temperature: float = 0.0005
    """Relative loss of the minimum porosity per K."""
    mill_compliance: float = 0.08e-9
    """Opening of the loaded gap per line load, m per N/m; 0.02 to 0.2 um per N/mm."""
    spring_back: float = 0.03 / 500e3
    """Relative recovery of thickness per line load, 1/(N/m)."""
    spring_back_loading: float = 1.0
    """Relative loss of spring-back per kg/m2."""
    spring_back_binder: float = 5.0
    """Relative loss of spring-back per unit of binder fraction."""
    reference_binder: float = 0.02
    """kg/kg."""
    foil_thickness: float = 13e-6
    """m."""
    foil_strain: float = 0.0
    """Relative thickness change of the foil in the nip."""
    coated_sides: int = 1
    maximum_line_load: float = 3e6
    """N/m beyond which no solution is sought; twice what pilot calenders carry."""
    contact_length: float = 3e-3
    """Arc of contact between coating and roll, m; 2 to 5 mm."""
    heating_time: float = 10e-3
    """Thermal time constant of the coating in the nip, s; 5 to 20 ms."""
    inlet_temperature: float = 298.15
    """Of the web, K."""
    bruggeman_exponent: float = 0.8
    """0.5 for spheres, 0.6 to 1.0 for NMC."""
    pore_radius: float = 0.8e-6
    """Before calendering, m; 0.5 to 1.5 um."""
    pore_exponent: float = 1.75
    """1.5 to 2."""
    roll_bending: float = 4e-12
    """Opening in the middle of the rolls against their edges, m per N/m (2 um at 500 N/mm)."""


@dataclass(frozen=True, slots=True)
class Calendered:
    """The web behind the nip."""

    line_load: Floats
    """N/m."""
    thickness: Floats
    """One coating layer after spring-back, without foil, m."""
    porosity: Floats
    coating_temperature: Floats
    """In the nip, K."""


def coating_temperature(
    roll_temperature: Values, speed: Values, coefficients: CalenderingCoefficients
) -> Floats:
    """Temperature in K that the coating reaches in the nip at a web speed in m/s."""
    contact = coefficients.contact_length / floats(speed)
    reached = -np.expm1(-contact / coefficients.heating_time)
    inlet = coefficients.inlet_temperature
    return inlet + (floats(roll_temperature) - inlet) * reached


def compaction_resistance(
    mass: Values, temperature: Values, coefficients: CalenderingCoefficients
) -> Floats:
    """Compaction resistance in N/m (Meyer et al. 2017); 224 N/mm at 180 g/m2 and 25 degC."""
    heavier = floats(mass) - coefficients.reference_loading
    warmer = floats(temperature) - coefficients.reference_temperature
    return (
        coefficients.resistance
        * (1.0 + coefficients.resistance_loading * heavier)
        * (1.0 - coefficients.resistance_temperature * warmer)
    )


def minimum_porosity(temperature: Values, coefficients: CalenderingCoefficients) -> Floats:
    """Porosity under endless load; falls linearly with the temperature in K."""
    warmer = floats(temperature) - coefficients.reference_temperature
    return coefficients.minimum_porosity * (
        1.0 - coefficients.minimum_porosity_temperature * warmer
    )


def compacted_porosity(
    line_load: Values,
    mass: Values,
    porosity: Values,
    temperature: Values,
    coefficients: CalenderingCoefficients,
) -> Floats:
    """Porosity after one pass at a line load in N/m; (4.1) divided by the skeletal density."""
    least = minimum_porosity(temperature, coefficients)
    resistance = compaction_resistance(mass, temperature, coefficients)
    return least + (floats(porosity) - least) * np.exp(-floats(line_load) / resistance)


def spring_back(
    line_load: Values, mass: Values, recipe: Recipe, coefficients: CalenderingCoefficients
) -> Floats:
    """Relative recovery of thickness behind the nip, linear in line load in N/m."""
    heavier = floats(mass) - coefficients.reference_loading
    richer = recipe.binder_fraction - coefficients.reference_binder
    return (
        coefficients.spring_back
        * floats(line_load)
        * (1.0 - coefficients.spring_back_loading * heavier)
        * (1.0 - coefficients.spring_back_binder * richer)
    )


def excess_thickness(
    line_load: Values,
    gap: Values,
    mass: Values,
    porosity: Values,
    temperature: Values,
    recipe: Recipe,
    coefficients: CalenderingCoefficients,
) -> Floats:
    """Web thickness in the nip less the loaded gap, m; falls strictly with line load."""
    after = compacted_porosity(line_load, mass, porosity, temperature, coefficients)
    exit_thickness = layer_thickness(mass, after, recipe)
    nip = exit_thickness / (1.0 + spring_back(line_load, mass, recipe, coefficients))
    web = (
        coefficients.foil_thickness * (1.0 + coefficients.foil_strain)
        + coefficients.coated_sides * nip
    )
    return web - gap - coefficients.mill_compliance * floats(line_load)


def line_load(
    gap: Values,
    mass: Values,
    porosity: Values,
    temperature: Values,
    recipe: Recipe,
    coefficients: CalenderingCoefficients,
) -> Floats:
    """Line load in N/m that balances web and loaded gap, by bisection.

    Args:
        gap: between the unloaded rolls, m: set gap plus the zero error of the machine.
        mass: dry, kg/m2.
        porosity: before the nip.
        temperature: of the coating in the nip, K.
        recipe: of the coating.
        coefficients: of calendering.

    Returns:
        0 where the rolls do not touch the web; the maximum where no line load would do.
    """
    shape = np.broadcast_shapes(
        np.shape(gap), np.shape(mass), np.shape(porosity), np.shape(temperature)
    )
    low = np.zeros(shape)
    high = np.full(shape, coefficients.maximum_line_load)
    touches = excess_thickness(low, gap, mass, porosity, temperature, recipe, coefficients) > 0.0
    for _ in range(52):
        middle = 0.5 * (low + high)
        above = (
            excess_thickness(middle, gap, mass, porosity, temperature, recipe, coefficients) > 0.0
        )
        low = np.where(above, middle, low)
        high = np.where(above, high, middle)
    return np.where(touches, 0.5 * (low + high), 0.0)


def calender(
    gap: Values,
    gap_zero: Values,
    roll_temperature: Values,
    speed: Values,
    mass: Values,
    porosity: Values,
    recipe: Recipe,
    coefficients: CalenderingCoefficients,
) -> Calendered:
    """One pass through a calender that is set by its gap.

    Args:
        gap: set, m.
        gap_zero: what the unloaded gap is wider than the set one, m; differs from day to day.
        roll_temperature: K.
        speed: of the web, m/s.
        mass: dry, kg/m2; the pass does not change it.
        porosity: before the pass.
        recipe: of the coating.
        coefficients: of calendering.
    """
    temperature = coating_temperature(roll_temperature, speed, coefficients)
    load = line_load(floats(gap) + gap_zero, mass, porosity, temperature, recipe, coefficients)
    after = compacted_porosity(load, mass, porosity, temperature, coefficients)
    return Calendered(load, layer_thickness(mass, after, recipe), after, temperature)


def gap_for_line_load(
    line_load: Values,
    mass: Values,
    porosity: Values,
    temperature: Values,
    recipe: Recipe,
    coefficients: CalenderingCoefficients,
) -> Floats:
    """Unloaded gap in m at which a line load in N/m results; the inverse of `line_load`."""
    return excess_thickness(line_load, 0.0, mass, porosity, temperature, recipe, coefficients)


def bending(line_load: Values, position: Values, coefficients: CalenderingCoefficients) -> Floats:
    """Opening of the gap in m across the web; position is -1 to 1 from edge to edge."""
    return coefficients.roll_bending * floats(line_load) * (1.0 - floats(position) ** 2)


def tortuosity(porosity: Values, coefficients: CalenderingCoefficients) -> Floats:
    """Tortuosity factor (Bruggeman); 1.826 at porosity 0.30 with the exponent of spheres, 0.5."""
    return np.power(floats(porosity), -coefficients.bruggeman_exponent)


def pore_radius(
    porosity: Values, initial_porosity: Values, coefficients: CalenderingCoefficients
) -> Floats:
    """Mean pore radius in m after compaction."""
    ratio = floats(porosity) / initial_porosity
    return coefficients.pore_radius * np.power(ratio, coefficients.pore_exponent)
