"""Convection drying of the wet film: flux, web temperature, solvent, binder migration, porosity.

Sources: Stefan-corrected diffusion flux and Chilton-Colburn analogy (Bird, Stewart, Lightfoot,
Transport Phenomena); Antoine constants fitted by Landolt-Boernstein; Fuller diffusivity; two-stage
picture of film shrinkage and pore emptying (Zanotto et al. 2022); binder migration towards the
surface (Font et al. 2018), here as the quasi-steady upper bound.
Valid for uniform air, no skin formation, drying rates of conventional ovens (0.5 to 3 g/m2/s).

`flux`, `falling_factor` and `heating_rate` work per web cell and time step; `advance` moves any
number of cells by one step; `dry` takes a web through all zones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulators.physics.coating import wet_thickness_of_loading
from simulators.physics.materials import (
    GAS_CONSTANT,
    Floats,
    Recipe,
    Values,
    floats,
    layer_thickness,
    slurry_density,
)


@dataclass(frozen=True, slots=True)
class DryingCoefficients:
    """Properties of solvent (default NMP) and air, and the [K] coefficients of drying."""

    antoine_a: float = 21.13775
    antoine_b: float = 3811.446
    """K."""
    antoine_c: float = -80.355
    """K; ln(p/Pa) = a - b/(T + c), fitted from 336 to 477 K."""
    molar_mass: float = 0.09913
    """kg/mol."""
    diffusivity: float = 8.0e-6
    """In air at 298.15 K, m2/s (Fuller)."""
    solvent_heat_capacity: float = 1700.0
    """J/kg/K [K]."""
    solid_heat_capacity: float = 900.0
    """J/kg/K [K]."""
    foil_heat_capacity: float = 36.0
    """J/m2/K, aluminium of 15 um [K]."""
    pressure: float = 101325.0
    """Pa."""
    air_molar_mass: float = 0.02897
    """kg/mol."""
    air_heat_capacity: float = 1008.0
    """J/kg/K."""
    reference_alpha: float = 35.0
    """Heat transfer coefficient at the reference air speed, W/m2/K; slot nozzles 20 to 60 [K]."""
    reference_air_speed: float = 10.0
    """At the nozzle, m/s [K]."""
    air_speed_exponent: float = 0.7
    """0.6 to 0.8 [K]."""
    bottom_ratio: float = 0.0
    """Heat transfer from below relative to above [K]."""
    falling_exponent: float = 1.0
    """Order of the falling-rate period, 0.5 to 1.5 [K]."""
    binder_diffusivity: float = 1e-10
    """m2/s, 0.5 to 2e-10 [K]."""
    adhesion: float = 20.0
    """Peel force without binder migration, N/m; NMC with PVDF 10 to 30 [K]."""
    adhesion_exponent: float = 1.0
    """0.5 to 2 [K]."""
    migration_start: float = 0.3
    """Share of shrinkage after which binder begins to migrate [K]."""
    porosity: float = 0.46
    """As dried, at reference flux and solids, 0.42 to 0.52 [K]."""
    porosity_flux: float = 0.006
    """Porosity gained per e-fold of drying rate: fast drying freezes a looser packing [K]."""
    porosity_solids: float = -0.12
    """Porosity gained per unit of solids: a thick slurry starts nearer to its packing [K]."""
    reference_flux: float = 1e-3
    """kg/m2/s [K]."""
    reference_solids: float = 0.65
    """kg/kg [K]."""
    inlet_temperature: float = 298.15
    """Of the web, K [K]."""


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of the dryer; the fields broadcast against the web that passes."""

    length: Values
    """m."""
    air_temperature: Values
    """K."""
    alpha: Values
    """Heat transfer coefficient from above, W/m2/K."""
    vapour: Values = 0.0
    """Mole fraction of solvent in the air."""
    radiation: Values = 0.0
    """Absorbed infrared, W/m2."""


@dataclass(frozen=True, slots=True)
class Dried:
    """The web at the exit of the dryer."""

    web_temperature: Floats
    """K."""
    zone_temperatures: Floats
    """Web at the exit of every zone, K; zones are the first axis."""
    solvent: Floats
    """kg/m2."""
    residual_solvent: Floats
    """kg/kg of dry coating."""
    migration_flux: Floats
    """Mean flux while binder migrates, kg/m2/s."""
    binder_at_bottom: Floats
    """Binder at the foil relative to the mean."""
    adhesion: Floats
    """N/m."""
    porosity: Floats
    """Of the coating once dry."""
    thickness: Floats
    """Of the coating once dry, without foil, m."""


def vapour_pressure(temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """Saturation pressure in Pa at a temperature in K; NMP 1294 Pa at 80 degC."""
    return np.exp(
        coefficients.antoine_a
        - coefficients.antoine_b / (floats(temperature) + coefficients.antoine_c)
    )


def latent_heat(temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """Heat of evaporation in J/kg by Clausius-Clapeyron from the same fit; NMP 536e3 at 80 degC."""
    kelvin = floats(temperature)
    slope = coefficients.antoine_b / (kelvin + coefficients.antoine_c) ** 2
    return GAS_CONSTANT * kelvin**2 * slope / coefficients.molar_mass


def diffusivity(temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """Solvent vapour in air, m2/s (Fuller)."""
    return coefficients.diffusivity * np.power(floats(temperature) / 298.15, 1.75)


def lewis_number(temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """Thermal over mass diffusivity of the air film at a temperature in K; NMP 2.75."""
    conductivity = 0.0241 * np.power(floats(temperature) / 273.15, 0.81)
    thermal = conductivity / (
        air_density(temperature, coefficients) * coefficients.air_heat_capacity
    )
    return thermal / diffusivity(temperature, coefficients)


def air_density(temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """kg/m3 at a temperature in K."""
    molar = coefficients.pressure * coefficients.air_molar_mass
    return molar / (GAS_CONSTANT * floats(temperature))


def mass_transfer(alpha: Values, temperature: Values, coefficients: DryingCoefficients) -> Floats:
    """Mass transfer coefficient in m/s from the one of heat in W/m2/K (Chilton-Colburn)."""
    heat = air_density(temperature, coefficients) * coefficients.air_heat_capacity
    return alpha / heat * np.power(lewis_number(temperature, coefficients), -2.0 / 3.0)


def heat_transfer(air_speed: Values, coefficients: DryingCoefficients) -> Floats:
    """Heat transfer coefficient in W/m2/K of a nozzle with this air speed in m/s."""
    ratio = floats(air_speed) / coefficients.reference_air_speed
    return coefficients.reference_alpha * np.power(ratio, coefficients.air_speed_exponent)


def flux(
    temperature: Values,
    air_temperature: Values,
    alpha: Values,
    vapour: Values,
    coefficients: DryingCoefficients,
) -> Floats:
    """Evaporation in kg/m2/s from a wet surface at a web temperature; never negative.

    Args:
        temperature: of the web, K.
        air_temperature: K.
        alpha: heat transfer coefficient from above, W/m2/K.
        vapour: mole fraction of solvent in the air.
        coefficients: of drying.
    """
    film = 0.5 * (floats(temperature) + air_temperature)
    surface = vapour_pressure(temperature, coefficients) / coefficients.pressure
    drive = np.log((1.0 - vapour) / (1.0 - np.minimum(surface, 0.99)))
    return np.maximum(conductance(alpha, film, coefficients) * drive, 0.0)


def conductance(alpha: Values, film: Values, coefficients: DryingCoefficients) -> Floats:
    """Flux in kg/m2/s per logarithm of the gas fractions, at a film temperature in K.

    `mass_transfer` times the density of pure vapour. Everything in it is a power of the film
    temperature, together -0.04, so that one power has to be taken instead of three.
    """
    c = coefficients
    heat = c.pressure * c.air_molar_mass / GAS_CONSTANT * c.air_heat_capacity
    lewis = 0.0241 * 273.15**-0.81 * 298.15**1.75 / (heat * c.diffusivity)
    unit: float = lewis ** (-2.0 / 3.0) / heat * c.molar_mass * c.pressure / GAS_CONSTANT
    return floats(alpha) * unit * np.power(floats(film), -0.04)


def film_temperature(
    air_temperature: Values,
    alpha: Values,
    alpha_bottom: Values,
    vapour: Values,
    radiation: Values,
    coefficients: DryingCoefficients,
) -> Floats:
    """Steady temperature in K of a wet web, by bisection; 95.3 degC for NMP in air of 120 degC.

    Args:
        air_temperature: K.
        alpha: from above, W/m2/K; carries heat and vapour.
        alpha_bottom: from below, W/m2/K; carries heat.
        vapour: mole fraction of solvent in the air.
        radiation: absorbed infrared, W/m2.
        coefficients: of drying.
    """
    air = floats(air_temperature)
    total = floats(alpha) + alpha_bottom
    shape = np.broadcast_shapes(air.shape, total.shape, np.shape(vapour), np.shape(radiation))
    low = np.full(shape, 230.0)
    high = np.broadcast_to(air + radiation / total, shape).copy()
    for _ in range(52):
        middle = 0.5 * (low + high)
        gain = total * (air - middle) + radiation
        loss = flux(middle, air, alpha, vapour, coefficients) * latent_heat(middle, coefficients)
        warmer = gain > loss
        low = np.where(warmer, middle, low)
        high = np.where(warmer, high, middle)
    return 0.5 * (low + high)


def initial_solvent(mass: Values, solids: Values) -> Floats:
    """Solvent in kg/m2 that a film of this dry mass brings along; 96.9 g/m2 for 180 at 0.65."""
    share = floats(solids)
    return floats(mass) * (1.0 - share) / share


def critical_solvent(mass: Values, porosity: Values, recipe: Recipe) -> Floats:
    """Solvent in kg/m2 that fills the pores when shrinkage ends; 35.3 g/m2 for 180 g/m2 at 0.46."""
    return floats(porosity) * layer_thickness(mass, porosity, recipe) * recipe.solvent_density


def film_thickness(mass: Values, solvent: Values, porosity: Values, recipe: Recipe) -> Floats:
    """Thickness in m of a coating while it dries, foil not counted."""
    above = np.maximum(floats(solvent) - critical_solvent(mass, porosity, recipe), 0.0)
    return layer_thickness(mass, porosity, recipe) + above / recipe.solvent_density


def falling_factor(solvent: Values, critical: Values, coefficients: DryingCoefficients) -> Floats:
    """Share of the wet-surface flux that remains; 1 until shrinkage ends, 0 when dry."""
    filled = np.minimum(np.maximum(floats(solvent) / critical, 0.0), 1.0)
    return np.power(filled, coefficients.falling_exponent)


def heat_capacity(mass: Values, solvent: Values, coefficients: DryingCoefficients) -> Floats:
    """Of the web per area, J/m2/K; 363 for the reference web when wet."""
    return (
        coefficients.solid_heat_capacity * floats(mass)
        + coefficients.solvent_heat_capacity * floats(solvent)
        + coefficients.foil_heat_capacity
    )


def heating_rate(
    temperature: Values,
    evaporation: Values,
    mass: Values,
    solvent: Values,
    zone: Zone,
    coefficients: DryingCoefficients,
) -> Floats:
    """dT/dt in K/s of web that evaporates at this rate in kg/m2/s."""
    kelvin = floats(temperature)
    total = floats(zone.alpha) * (1.0 + coefficients.bottom_ratio)
    gain = total * (zone.air_temperature - kelvin) + zone.radiation
    loss = evaporation * latent_heat(kelvin, coefficients)
    return (gain - loss) / heat_capacity(mass, solvent, coefficients)


def evaporate(
    solvent: Values,
    wet_flux: Values,
    critical: Values,
    duration: Values,
    coefficients: DryingCoefficients,
) -> Floats:
    """Solvent in kg/m2 left after a duration in s at a constant wet-surface flux in kg/m2/s; exact.

    Constant rate down to the critical solvent, then the falling rate; never negative.
    """
    left = floats(solvent)
    rate = floats(wet_flux)
    safe = np.maximum(rate, 1e-300)
    constant = np.minimum(np.maximum((left - critical) / safe, 0.0), duration)
    start = left - rate * constant
    times = rate * (duration - constant) / critical
    order = coefficients.falling_exponent
    if order == 1.0:
        return start * np.exp(-times)
    filled = np.maximum(start / critical, 1e-300)
    bracket = np.power(filled, 1.0 - order) + (order - 1.0) * times
    return np.where(
        start > 0.0, critical * np.power(np.maximum(bracket, 0.0), 1.0 / (1.0 - order)), 0.0
    )


def advance(
    temperature: Values,
    solvent: Values,
    mass: Values,
    critical: Values,
    zone: Zone,
    duration: Values,
    coefficients: DryingCoefficients,
) -> tuple[Floats, Floats, Floats]:
    """Web cells one time step on: temperature in K, solvent in kg/m2, wet-surface flux in kg/m2/s.

    Solvent is exact for the flux of the step's start; temperature is an exponential step with the
    slope of the heat balance, which is stable for steps longer than the time constant of the web.
    """
    kelvin = floats(temperature)
    left = floats(solvent)
    wet = flux(kelvin, zone.air_temperature, zone.alpha, zone.vapour, coefficients)
    after = evaporate(left, wet, critical, duration, coefficients)
    actual = wet * falling_factor(left, critical, coefficients)
    total = floats(zone.alpha) * (1.0 + coefficients.bottom_ratio)
    heat = latent_heat(kelvin, coefficients) * actual
    capacity = heat_capacity(mass, left, coefficients)
    rate = (total * (zone.air_temperature - kelvin) + zone.radiation - heat) / capacity
    shifted = kelvin + coefficients.antoine_c
    slope = (total + heat * coefficients.antoine_b / (shifted * shifted)) / capacity
    # a web without any heat transfer has no slope; the limit of the step is then its duration
    slope = np.maximum(slope, 1e-12)
    return kelvin - rate * np.expm1(-slope * duration) / slope, after, wet


def peclet_number(
    rate: Values, wet_thickness: Values, recipe: Recipe, coefficients: DryingCoefficients
) -> Floats:
    """Binder carried by shrinkage over binder diffusing; 1.31 at 1 g/m2/s and 134.6 um."""
    velocity = floats(rate) / recipe.solvent_density
    return velocity * wet_thickness / coefficients.binder_diffusivity


def binder_at_bottom(peclet: Values) -> Floats:
    """Binder at the foil relative to the mean, a quasi-steady upper bound of migration."""
    number = floats(peclet)
    small = np.abs(number) < 1e-8
    safe = np.where(small, 1.0, number)
    return np.where(small, 1.0 - 0.5 * number, safe / np.expm1(safe))


def adhesion(bottom: Values, coefficients: DryingCoefficients) -> Floats:
    """Peel force in N/m; the direction is firm, the number is not."""
    return coefficients.adhesion * np.power(floats(bottom), coefficients.adhesion_exponent)


def dry_porosity(rate: Values, solids: Values, coefficients: DryingCoefficients) -> Floats:
    """Porosity as dried at a mean flux in kg/m2/s from a slurry of these solids.

    The dependence is a mild assumption without a source: see docs/physics.md.
    """
    faster = np.log(np.maximum(floats(rate), 1e-9) / coefficients.reference_flux)
    thicker = floats(solids) - coefficients.reference_solids
    return (
        coefficients.porosity
        + coefficients.porosity_flux * faster
        + coefficients.porosity_solids * thicker
    )


def settled_porosity(solids: Values, coefficients: DryingCoefficients) -> Floats:
    """Porosity when the particles touch, at the reference flux; it fixes the critical solvent."""
    return dry_porosity(coefficients.reference_flux, solids, coefficients)


def migration_window(
    mass: Values, solids: Values, recipe: Recipe, coefficients: DryingCoefficients
) -> tuple[Floats, Floats]:
    """Solvent in kg/m2 between which binder migrates: upper and lower end."""
    start = initial_solvent(mass, solids)
    end = critical_solvent(mass, settled_porosity(solids, coefficients), recipe)
    return start - coefficients.migration_start * (start - end), end


def dry(
    mass: Values,
    solids: Values,
    speed: Values,
    zones: Sequence[Zone],
    recipe: Recipe,
    coefficients: DryingCoefficients,
    steps: int = 200,
) -> Dried:
    """A web in steady state through all zones of the dryer.

    Args:
        mass: dry, kg/m2.
        solids: of the slurry, kg/kg.
        speed: of the web, m/s.
        zones: in the order of the web.
        recipe: of the coating.
        coefficients: of drying.
        steps: of integration per zone.
    """
    shape = np.broadcast_shapes(
        np.shape(mass),
        np.shape(solids),
        np.shape(speed),
        *(
            np.shape(value)
            for zone in zones
            for value in (
                zone.length,
                zone.air_temperature,
                zone.alpha,
                zone.vapour,
                zone.radiation,
            )
        ),
    )
    upper, critical = migration_window(mass, solids, recipe, coefficients)
    solvent: Floats = np.broadcast_to(initial_solvent(mass, solids), shape)
    temperature = np.full(shape, coefficients.inlet_temperature)
    shrunk = np.zeros(shape)
    taken = np.zeros(shape)
    wet = np.zeros(shape)
    exits = []
    for zone in zones:
        duration = floats(zone.length) / speed / steps
        for _ in range(steps):
            before = solvent
            temperature, solvent, wet = advance(
                temperature, solvent, mass, critical, zone, duration, coefficients
            )
            inside = np.clip(before, critical, upper) - np.clip(solvent, critical, upper)
            shrunk += inside
            taken += inside / np.maximum(wet, 1e-12)
        exits.append(temperature)
    trace = 1e-6 * floats(mass)
    migrating = (shrunk + trace) / (taken + trace / np.maximum(wet, 1e-12))
    wet_film = wet_thickness_of_loading(mass, slurry_density(solids, recipe), solids)
    bottom = binder_at_bottom(peclet_number(migrating, wet_film, recipe, coefficients))
    pores = dry_porosity(migrating, solids, coefficients)
    return Dried(
        temperature,
        np.stack(exits),
        solvent,
        solvent / floats(mass),
        migrating,
        bottom,
        adhesion(bottom, coefficients),
        pores,
        layer_thickness(mass, pores, recipe),
    )
