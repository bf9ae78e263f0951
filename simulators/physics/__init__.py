"""The physics of the process steps as pure functions of arrays, in SI units.

Coefficients are passed in; see docs/physics.md for what is validated and what is only plausible.
"""

from simulators.physics.calendering import Calendered, CalenderingCoefficients, calender
from simulators.physics.coating import Coated, CoatingCoefficients, coat, comma_bar_thickness
from simulators.physics.drying import Dried, DryingCoefficients, Zone, dry, heat_transfer
from simulators.physics.materials import Recipe
from simulators.physics.mixing import MixingCoefficients, Slurry, mix

__all__ = [
    "Calendered",
    "CalenderingCoefficients",
    "Coated",
    "CoatingCoefficients",
    "Dried",
    "DryingCoefficients",
    "MixingCoefficients",
    "Recipe",
    "Slurry",
    "Zone",
    "calender",
    "coat",
    "comma_bar_thickness",
    "dry",
    "heat_transfer",
    "mix",
]
