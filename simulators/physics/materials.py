"""What the coating is made of: densities, volume fractions, porosity and loading.

Numbers marked [K] are plausible engineering values that a user overrides; see docs/physics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = float | Floats

GAS_CONSTANT = 8.314462618
"""J/mol/K (CODATA 2018, exact)."""


def floats(values: Values) -> Floats:
    """The values as a float64 array; a scalar becomes an array without dimensions."""
    return np.asarray(values, np.float64)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Bone-dry mass fractions and densities of a coating; NMC622/CB/PVDF 96/2/2 in NMP."""

    active_fraction: float = 0.96
    """kg/kg of dry coating."""
    carbon_fraction: float = 0.02
    """kg/kg of dry coating."""
    binder_fraction: float = 0.02
    """kg/kg of dry coating; the binder is dissolved in the solvent."""
    active_density: float = 4750.0
    """kg/m3 [K]."""
    carbon_density: float = 1900.0
    """kg/m3 [K]."""
    binder_density: float = 1780.0
    """kg/m3 [K]."""
    solvent_density: float = 1028.0
    """kg/m3 at 25 degC [K]."""

    def __post_init__(self) -> None:
        total = self.active_fraction + self.carbon_fraction + self.binder_fraction
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the mass fractions of the recipe add up to {total:g}; make it 1")

    @property
    def skeletal_density(self) -> float:
        """Density of the dry coating without its pores, kg/m3; 4466.9 for the default recipe."""
        return 1.0 / (
            self.active_fraction / self.active_density
            + self.carbon_fraction / self.carbon_density
            + self.binder_fraction / self.binder_density
        )


def mass_loading(porosity: Values, thickness: Values, recipe: Recipe) -> Floats:
    """Dry mass per area in kg/m2 of a layer of this porosity and thickness in m."""
    return recipe.skeletal_density * (1.0 - floats(porosity)) * thickness


def porosity(mass: Values, thickness: Values, recipe: Recipe) -> Floats:
    """Porosity of a layer with this dry mass in kg/m2 and thickness in m, foil not counted."""
    return 1.0 - floats(mass) / (recipe.skeletal_density * floats(thickness))


def layer_thickness(mass: Values, porosity: Values, recipe: Recipe) -> Floats:
    """Thickness in m of a layer with this dry mass in kg/m2; 74.62 um for 180 g/m2 at 0.46."""
    return floats(mass) / (recipe.skeletal_density * (1.0 - floats(porosity)))


def slurry_density(solids: Values, recipe: Recipe) -> Floats:
    """Density in kg/m3 of a slurry with ideal mixing of volumes; 2057.7 at solids of 0.65."""
    share = floats(solids)
    return 1.0 / (share / recipe.skeletal_density + (1.0 - share) / recipe.solvent_density)


def particle_volume_fraction(solids: Values, recipe: Recipe) -> Floats:
    """Volume share of the particles (the binder is dissolved); 0.2844 at solids of 0.65."""
    particles = (
        recipe.active_fraction / recipe.active_density
        + recipe.carbon_fraction / recipe.carbon_density
    )
    return floats(solids) * slurry_density(solids, recipe) * particles


def binder_in_liquid(solids: Values, recipe: Recipe) -> Floats:
    """Mass share of the dissolved binder in the liquid; 0.0358 at solids of 0.65."""
    share = floats(solids)
    binder = share * recipe.binder_fraction
    return binder / (binder + 1.0 - share)
