"""Directions that hold over the whole range that machines can be set to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulators.physics import (
    CalenderingCoefficients,
    CoatingCoefficients,
    DryingCoefficients,
    MixingCoefficients,
    Recipe,
    Zone,
    calender,
    calendering,
    coat,
    coating,
    comma_bar_thickness,
    dry,
    drying,
    materials,
    mix,
    mixing,
)

RECIPE = Recipe()
MIXING = MixingCoefficients()
COATING = CoatingCoefficients()
DRYING = DryingCoefficients()
CALENDERING = CalenderingCoefficients()


def span(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


def rising(low: float, high: float, apart: float = 0.02) -> st.SearchStrategy[np.ndarray]:
    """Two values of a range, the second greater by at least a share of the range."""

    def pair(at: float, share: float) -> np.ndarray:
        first = low + (high - low) * (1 - apart) * at
        return np.array([first, first + (high - low) * apart + (high - first) * share * 0.9])

    return st.builds(pair, st.floats(0, 1), st.floats(0, 1)).map(
        lambda values: np.minimum(values, high)
    )


SOLIDS, MIXER, TIME = (0.55, 0.72), (104.0, 419.0), (600.0, 7200.0)
SLURRY_KELVIN, SPEED, MASS = (288.0, 318.0), (0.005, 10 / 60), (0.05, 0.30)
AIR, ALPHA, GAP = (333.15, 423.15), (10.0, 80.0), (80e-6, 400e-6)


@given(rising(*SOLIDS), span(*MIXER), span(*TIME), span(*SLURRY_KELVIN))
def test_viscosity_and_density_rise_with_solids(
    solids: np.ndarray, speed: float, time: float, kelvin: float
) -> None:
    slurry = mix(solids, speed, time, kelvin, RECIPE, MIXING)
    assert np.diff(slurry.viscosity) > 0
    assert np.diff(slurry.density) > 0


@given(span(*SOLIDS), span(*MIXER), span(*TIME), rising(*SLURRY_KELVIN))
def test_viscosity_falls_with_temperature(
    solids: float, speed: float, time: float, kelvin: np.ndarray
) -> None:
    assert np.diff(mix(solids, speed, time, kelvin, RECIPE, MIXING).viscosity) < 0


@given(rising(0.0, 0.06))
def test_medium_thickens_with_binder(binder: np.ndarray) -> None:
    assert np.diff(mixing.medium_viscosity(binder, MIXING)) > 0


@given(rising(-1.0, 3.0), span(*SOLIDS), span(*SLURRY_KELVIN))
def test_viscosity_falls_with_shear(decades: np.ndarray, solids: float, kelvin: float) -> None:
    assert np.diff(mixing.viscosity(10**decades, solids, kelvin, RECIPE, MIXING)) < 0


@given(span(*SOLIDS), rising(*MIXER), span(*TIME), span(*SLURRY_KELVIN))
def test_faster_mixing_disperses_more(
    solids: float, speed: np.ndarray, time: float, kelvin: float
) -> None:
    slurry = mix(solids, speed, time, kelvin, RECIPE, MIXING)
    assert np.diff(slurry.aggregate_size) <= 0
    assert np.diff(slurry.viscosity) <= 0


@given(span(8e-8, 5e-6), span(*SPEED), rising(*GAP), span(0.05, 0.3), span(*SOLIDS), span(0.3, 6.0))
def test_slot_die_conserves_mass_and_ignores_the_gap(
    flow: float, speed: float, gap: np.ndarray, width: float, solids: float, viscosity: float
) -> None:
    density = materials.slurry_density(solids, RECIPE)
    coated = coat(flow, speed, gap, width, solids, density, viscosity, RECIPE, MIXING, COATING)
    np.testing.assert_allclose(
        coated.mass_loading * width * speed, flow * density * solids, rtol=1e-12
    )
    np.testing.assert_allclose(
        coated.window_margin, coated.wet_thickness / coated.minimum_thickness - 1
    )
    assert np.diff(coated.minimum_thickness) > 0
    assert (coated.minimum_thickness <= 0.65 * gap).all()


@given(rising(*SPEED), span(*GAP), span(0.3, 6.0))
def test_minimum_thickness_rises_with_speed(
    speed: np.ndarray, gap: float, viscosity: float
) -> None:
    in_gap = mixing.viscosity_at(speed / gap, viscosity, RECIPE, MIXING)
    limit = coating.meniscus_limit(gap, coating.capillary_number(in_gap, speed, COATING))
    assert np.diff(limit) > 0


@given(rising(50e-6, 500e-6), span(*SPEED), span(0.3, 6.0))
def test_comma_bar_loading_rises_with_gap(gap: np.ndarray, speed: float, viscosity: float) -> None:
    assert np.diff(comma_bar_thickness(gap, speed, viscosity, COATING)) > 0


@given(rising(*AIR), span(*ALPHA), span(0, 0.002))
def test_constant_rate_rises_with_air_temperature(
    air: np.ndarray, alpha: float, vapour: float
) -> None:
    film = drying.film_temperature(air, alpha, 0.0, vapour, 0.0, DRYING)
    assert np.diff(drying.flux(film, air, alpha, vapour, DRYING)) > 0
    assert (film <= air).all()


@given(span(*AIR), rising(*ALPHA), span(0, 0.002))
def test_constant_rate_rises_with_heat_transfer(
    air: float, alpha: np.ndarray, vapour: float
) -> None:
    film = drying.film_temperature(air, alpha, 0.0, vapour, 0.0, DRYING)
    assert np.diff(drying.flux(film, air, alpha, vapour, DRYING)) > 0


@given(span(*AIR), span(*ALPHA), rising(0, 0.002))
def test_constant_rate_falls_with_vapour(air: float, alpha: float, vapour: np.ndarray) -> None:
    film = drying.film_temperature(air, alpha, 0.0, vapour, 0.0, DRYING)
    assert np.diff(drying.flux(film, air, alpha, vapour, DRYING)) < 0


@given(span(273.15, 423.15), span(*AIR), span(*ALPHA), span(0, 0.02))
def test_evaporation_is_never_negative(web: float, air: float, alpha: float, vapour: float) -> None:
    assert drying.flux(web, air, alpha, vapour, DRYING) >= 0


@given(span(*MASS), span(*SOLIDS), rising(0.2e-3, 3e-3))
def test_fast_drying_takes_binder_from_the_foil(
    mass: float, solids: float, rate: np.ndarray
) -> None:
    density = materials.slurry_density(solids, RECIPE)
    wet = coating.wet_thickness_of_loading(mass, density, solids)
    bottom = drying.binder_at_bottom(drying.peclet_number(rate, wet, RECIPE, DRYING))
    assert np.diff(bottom) < 0
    assert np.diff(drying.adhesion(bottom, DRYING)) < 0
    faster = DryingCoefficients(binder_diffusivity=2e-10)
    mobile = drying.binder_at_bottom(drying.peclet_number(rate, wet, RECIPE, faster))
    assert (mobile > bottom).all()


@given(span(*MASS), span(*SOLIDS), rising(*SPEED), span(*AIR), span(*ALPHA))
def test_dryer_conserves_solvent_and_faster_web_leaves_wetter(
    mass: float, solids: float, speed: np.ndarray, air: float, alpha: float
) -> None:
    dried = dry(mass, solids, speed, [Zone(9.0, air, alpha)], RECIPE, DRYING, steps=100)
    start = drying.initial_solvent(mass, solids)
    assert (dried.solvent >= 0).all()
    assert (dried.solvent <= start).all()
    assert np.diff(dried.solvent) >= -1e-12 * start
    assert (dried.web_temperature <= air + 1e-9).all()
    assert (np.abs(dried.porosity - 0.46) < 0.05).all()


@given(rising(20e-6, 150e-6), span(293, 423), span(*SPEED), span(*MASS), span(0.40, 0.55))
def test_calender_follows_its_gap_softly(
    gap: np.ndarray, kelvin: float, speed: float, mass: float, porosity: float
) -> None:
    behind = calender(gap, 0.0, kelvin, speed, mass, porosity, RECIPE, CALENDERING)
    assert np.diff(behind.line_load) <= 0
    assert np.diff(behind.porosity) >= 0
    slope = np.diff(behind.thickness) / np.diff(gap)
    assert -1e-9 <= slope < 1
    np.testing.assert_allclose(
        materials.mass_loading(behind.porosity, behind.thickness, RECIPE), mass, rtol=1e-12
    )
    np.testing.assert_allclose(
        materials.porosity(mass, behind.thickness, RECIPE), behind.porosity, rtol=1e-12
    )


@given(span(20e-6, 150e-6), span(293, 423), span(*SPEED), rising(*MASS), span(0.40, 0.55))
def test_line_load_rises_with_loading(
    gap: float, kelvin: float, speed: float, mass: np.ndarray, porosity: float
) -> None:
    behind = calender(gap, 0.0, kelvin, speed, mass, porosity, RECIPE, CALENDERING)
    assert np.diff(behind.line_load) >= 0


@given(rising(1e3, 1500e3), span(293, 423), span(*MASS), span(0.40, 0.55))
def test_porosity_falls_with_line_load(
    load: np.ndarray, kelvin: float, mass: float, porosity: float
) -> None:
    after = calendering.compacted_porosity(load, mass, porosity, kelvin, CALENDERING)
    assert np.diff(after) < 0


@given(span(1e4, 1500e3), rising(293, 423), span(*MASS), span(0.40, 0.55))
def test_warm_rolls_compact_more(
    load: float, kelvin: np.ndarray, mass: float, porosity: float
) -> None:
    after = calendering.compacted_porosity(load, mass, porosity, kelvin, CALENDERING)
    assert np.diff(after) < 0


@given(span(1e4, 1500e3), span(293, 423), rising(*MASS), span(0.40, 0.55))
def test_heavy_coatings_resist_compaction(
    load: float, kelvin: float, mass: np.ndarray, porosity: float
) -> None:
    after = calendering.compacted_porosity(load, mass, porosity, kelvin, CALENDERING)
    assert np.diff(after) > 0


@given(rising(0.15, 0.55))
def test_tortuosity_falls_with_porosity(porosity: np.ndarray) -> None:
    assert np.diff(calendering.tortuosity(porosity, CALENDERING)) < 0
