"""The plant's own coefficients: the data sheet's, perturbed by the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulators.physics.calendering import CalenderingCoefficients
from simulators.physics.coating import CoatingCoefficients
from simulators.physics.drying import DryingCoefficients
from simulators.physics.materials import Recipe
from simulators.physics.mixing import MixingCoefficients
from simulators.plant import Plant
from simulators.randomness import generator


@dataclass(frozen=True, slots=True)
class Nature:
    """What is true of this plant on this day and written nowhere outside."""

    recipe: Recipe
    mixing: MixingCoefficients
    coating: CoatingCoefficients
    drying: DryingCoefficients
    calendering: CalenderingCoefficients
    pump_factor: float
    """True over displayed pump flow at the reference viscosity [-]."""
    edge_loss: float
    """Share of the slurry that ends in the edge beads [-]."""
    gap_zero: float
    """True less displayed calender gap [m]."""
    stretch: float
    """Elongation of the foil in the nip [-]."""
    densified_adhesion: float
    """Relative gain of adhesion per relative densification [-]."""


def nature_of(plant: Plant, seed: int) -> Nature:
    """Draw the plant of `seed`."""
    draw = generator(seed, "nature")
    spread = plant.deviations.coefficient_spread

    def vary(value: float, share: float = 1.0) -> float:
        return value * math.exp(share * spread * float(draw.standard_normal()))

    recipe = Recipe(
        active_fraction=plant.recipe.active,
        carbon_fraction=plant.recipe.carbon_black,
        binder_fraction=plant.recipe.binder,
    )
    mixing = MixingCoefficients()
    mixing = replace(
        mixing,
        zero_shear_viscosity=vary(mixing.zero_shear_viscosity, 3.0),
        binder_thickening=vary(mixing.binder_thickening),
        carreau_time=vary(mixing.carreau_time, 2.0),
        ageing_gain=vary(mixing.ageing_gain, 3.0),
    )
    coating = CoatingCoefficients()
    coating = replace(
        coating,
        surface_tension=vary(coating.surface_tension),
        comma_gap_factor=vary(plant.coater.comma_factor),
    )
    dryer = plant.dryer
    drying = DryingCoefficients()
    drying = replace(
        drying,
        reference_alpha=vary(dryer.alpha_w_m2k, 1.5),
        reference_air_speed=dryer.air_speed_reference_m_s,
        air_speed_exponent=dryer.air_speed_exponent,
        bottom_ratio=vary(1.0),
        diffusivity=vary(drying.diffusivity),
        falling_exponent=vary(drying.falling_exponent, 2.0),
        binder_diffusivity=vary(drying.binder_diffusivity, 3.0),
        adhesion=vary(drying.adhesion, 2.0),
        porosity=vary(drying.porosity, 0.4),
        porosity_flux=drying.porosity_flux + vary(plant.deviations.porosity_rate_gain) * 0.3,
    )
    nip = CalenderingCoefficients()
    nip = replace(
        nip,
        resistance=vary(nip.resistance, 1.5),
        resistance_loading=vary(nip.resistance_loading, 2.0),
        minimum_porosity=vary(nip.minimum_porosity),
        mill_compliance=vary(nip.mill_compliance, 2.0) + 0.67 * nip.roll_bending,
        spring_back=vary(nip.spring_back, 3.0),
        foil_thickness=plant.coater.foil_um * 1e-6,
        inlet_temperature=dryer.ambient_temperature_c + 273.15,
    )
    low, high = plant.deviations.pump_error
    error = float(draw.uniform(low, high)) * (1.0 if draw.random() < 0.5 else -1.0)
    zero = float(draw.uniform(-1.0, 1.0)) * plant.calender.zero_spread_um * 1e-6
    return Nature(
        recipe=recipe,
        mixing=mixing,
        coating=coating,
        drying=drying,
        calendering=nip,
        pump_factor=1.0 + error,
        edge_loss=float(draw.uniform(*plant.deviations.edge_loss)),
        gap_zero=zero,
        stretch=vary(plant.calender.stretch),
        densified_adhesion=vary(1.0, 3.0),
    )
