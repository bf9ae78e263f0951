"""Numbers worked out by hand from the default coefficients, and exact mass balances."""

from __future__ import annotations

import numpy as np
import pytest

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
PLAIN = CalenderingCoefficients(spring_back_loading=0.0, spring_back_binder=0.0)
KELVIN = 273.15


def test_recipe_gives_densities_and_shares() -> None:
    assert RECIPE.skeletal_density == pytest.approx(4466.9, abs=0.05)
    assert materials.slurry_density(0.65, RECIPE) == pytest.approx(2057.7, abs=0.05)
    assert materials.particle_volume_fraction(0.65, RECIPE) == pytest.approx(0.2844, abs=5e-5)
    assert materials.binder_in_liquid(0.65, RECIPE) == pytest.approx(0.0358, abs=5e-5)


def test_recipe_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to"):
        Recipe(active_fraction=0.94)


def test_tolerances_of_a_published_electrode_give_its_range_of_porosity() -> None:
    """Yourey, Batteries 2020, 6, 23: +-0.4 mg/cm2 and +-3 um turn 30 % into 19.6 to 38.6 %."""

    def porosity(density: float, loading: float, thickness: float) -> float:
        recipe = Recipe(1.0, 0.0, 0.0, active_density=density)
        return float(materials.porosity(loading, thickness, recipe))

    assert porosity(4530, 0.1005, 31.7e-6) == pytest.approx(0.300, abs=1e-3)
    assert porosity(4530, 0.1045, 28.7e-6) == pytest.approx(0.196, abs=1e-3)
    assert porosity(4530, 0.0965, 34.7e-6) == pytest.approx(0.386, abs=1e-3)
    assert porosity(2130, 0.0589, 40.0e-6) == pytest.approx(0.308, abs=1e-3)
    assert porosity(2130, 0.0509, 46.0e-6) == pytest.approx(0.480, abs=1e-3)


def test_krieger_dougherty_plateau() -> None:
    binder = materials.binder_in_liquid(0.65, RECIPE)
    volume = materials.particle_volume_fraction(0.65, RECIPE)
    assert mixing.medium_viscosity(binder, MIXING) == pytest.approx(0.0848, abs=1e-4)
    assert mixing.krieger_dougherty(volume, MIXING) == pytest.approx(2.721, abs=1e-3)
    assert mixing.infinite_shear_viscosity(0.65, RECIPE, MIXING) == pytest.approx(0.2306, abs=2e-4)


def test_krieger_dougherty_is_infinite_at_the_packing_limit() -> None:
    assert np.isinf(mixing.krieger_dougherty(np.array([0.55, 0.6]), MIXING)).all()


def test_carreau_curve() -> None:
    rates = np.array([1.0, 10.0, 100.0, 400.0, 1000.0])
    expected = np.array([11.42, 5.89, 2.254, 1.315, 0.949])
    np.testing.assert_allclose(mixing.carreau(rates, 12.0, 0.2306, MIXING), expected, rtol=1e-3)
    curve = mixing.viscosity(rates, 0.65, 298.15, RECIPE, MIXING)
    np.testing.assert_allclose(curve, expected, rtol=1e-3)
    np.testing.assert_allclose(
        mixing.viscosity_at(rates, curve[2], RECIPE, MIXING), curve, rtol=1e-12
    )


def test_temperature_factor() -> None:
    celsius = np.array([15.0, 20.0, 25.0, 30.0, 40.0])
    np.testing.assert_allclose(
        mixing.temperature_factor(celsius + KELVIN, MIXING),
        [1.287, 1.132, 1.0, 0.887, 0.706],
        atol=6e-4,
    )


def test_mixing_disperses_and_ageing_thickens() -> None:
    endless = mix(0.65, MIXING.reference_speed, 1e9, 298.15, RECIPE, MIXING)
    assert endless.aggregate_size == pytest.approx(5e-6)
    assert endless.viscosity == pytest.approx(2.254, rel=1e-3)
    unmixed = mix(0.65, MIXING.reference_speed, 0.0, 298.15, RECIPE, MIXING)
    assert unmixed.aggregate_size == pytest.approx(60e-6)
    assert unmixed.viscosity == pytest.approx(1.5 * endless.viscosity)
    assert mixing.ageing_factor(0.0, 0.0, 0.0, MIXING) == pytest.approx(1.0)
    assert mixing.ageing_factor(1e9, 0.0, 0.0, MIXING) == pytest.approx(1.25)
    assert mixing.ageing_factor(0.0, 0.0, 0.01, MIXING) == pytest.approx(np.exp(0.22))


def test_slot_die_for_a_loading() -> None:
    density = materials.slurry_density(0.65, RECIPE)
    wet = coating.wet_thickness_of_loading(0.180, density, 0.65)
    assert wet == pytest.approx(134.6e-6, abs=0.05e-6)
    flow = wet * 0.2 * (1 / 60)
    assert flow * 60e6 == pytest.approx(26.92, abs=0.005)
    coated = coat(flow, 1 / 60, 200e-6, 0.2, 0.65, density, 2.254, RECIPE, MIXING, COATING)
    assert coated.mass_loading == pytest.approx(0.180, rel=1e-12)


@pytest.mark.parametrize(
    ("metres_per_minute", "capillary", "limit"),
    [(0.5, 0.673, 67.9), (1.0, 1.011, 80.6), (5.0, 2.70, 113.0), (20.0, 6.68, 140.8)],
)
def test_coating_window(metres_per_minute: float, capillary: float, limit: float) -> None:
    speed, gap = metres_per_minute / 60, 200e-6
    viscosity = mixing.viscosity_at(speed / gap, 2.254, RECIPE, MIXING)
    number = coating.capillary_number(viscosity, speed, COATING)
    assert number == pytest.approx(capillary, rel=2e-3)
    assert coating.meniscus_limit(gap, number) == pytest.approx(limit * 1e-6, abs=0.1e-6)
    assert coating.minimum_thickness(gap, number, COATING) <= 0.65 * gap


def test_comma_bar_at_its_reference() -> None:
    assert comma_bar_thickness(200e-6, 1 / 60, 2.254, COATING) == pytest.approx(120e-6)


@pytest.mark.parametrize(
    ("celsius", "pressure"), [(60, 429), (80, 1294), (100, 3362), (120, 7728), (202, 97.1e3)]
)
def test_vapour_pressure_of_nmp(celsius: float, pressure: float) -> None:
    assert drying.vapour_pressure(celsius + KELVIN, DRYING) == pytest.approx(pressure, rel=2e-3)


def test_latent_heat_of_nmp() -> None:
    assert drying.latent_heat(80 + KELVIN, DRYING) == pytest.approx(536e3, rel=2e-3)


@pytest.mark.parametrize(
    ("air", "bottom", "vapour", "film", "rate"),
    [
        (60, 0, 0.0, 56.6, 0.21),
        (80, 0, 0.0, 72.0, 0.51),
        (100, 0, 0.0, 84.9, 1.00),
        (120, 0, 0.0, 95.3, 1.650),
        (120, 35, 0.0, 102.9, 2.32),
        (120, 0, 0.005, 97.4, 1.515),
    ],
)
def test_constant_rate(air: float, bottom: float, vapour: float, film: float, rate: float) -> None:
    found = drying.film_temperature(air + KELVIN, 35.0, bottom, vapour, 0.0, DRYING)
    assert found - KELVIN == pytest.approx(film, abs=0.06)
    evaporation = drying.flux(found, air + KELVIN, 35.0, vapour, DRYING)
    assert evaporation * 1e3 == pytest.approx(rate, abs=0.0051 if rate < 1.01 else 0.002)


def test_water_dries_as_tabulated() -> None:
    water = DryingCoefficients(
        antoine_a=23.28024,
        antoine_b=3869.701,
        antoine_c=-43.932,
        molar_mass=0.018015,
        diffusivity=2.53e-5,
        solvent_heat_capacity=4180.0,
    )
    air = np.array([60.0, 80.0, 100.0]) + KELVIN
    film = drying.film_temperature(air, 35.0, 0.0, 0.015, 0.0, water)
    np.testing.assert_allclose(film - KELVIN, [26.7, 30.8, 34.3], atol=0.06)
    rates = drying.flux(film, air, 35.0, 0.015, water)
    np.testing.assert_allclose(rates * 1e3, [0.48, 0.71, 0.95], atol=0.006)


def test_transfer_in_the_air_film() -> None:
    film = (95.3 + 120) / 2 + KELVIN
    assert drying.lewis_number(film, DRYING) == pytest.approx(2.75, abs=0.005)
    assert drying.mass_transfer(35.0, film, DRYING) == pytest.approx(0.0191, abs=5e-5)
    assert drying.heat_transfer(20.0, DRYING) == pytest.approx(35 * 2**0.7)


def test_one_power_of_the_temperature_is_all_in_the_conductance() -> None:
    film = np.array([290.0, 350.0, 420.0])
    vapour = DRYING.molar_mass * DRYING.pressure / (materials.GAS_CONSTANT * film)
    np.testing.assert_allclose(
        drying.conductance(35.0, film, DRYING),
        drying.mass_transfer(35.0, film, DRYING) * vapour,
        rtol=1e-13,
    )


def test_solvent_of_the_reference_film() -> None:
    assert drying.initial_solvent(0.180, 0.65) == pytest.approx(96.9e-3, abs=5e-5)
    assert drying.critical_solvent(0.180, 0.46, RECIPE) == pytest.approx(35.3e-3, abs=5e-5)
    assert materials.layer_thickness(0.180, 0.46, RECIPE) == pytest.approx(74.62e-6, abs=5e-9)
    wet = drying.film_thickness(0.180, 96.9e-3, 0.46, RECIPE)
    assert wet == pytest.approx(134.6e-6, abs=0.1e-6)
    assert drying.heat_capacity(0.180, 96.9e-3, DRYING) == pytest.approx(363, abs=0.5)


def test_duration_of_both_drying_periods() -> None:
    shrunk = drying.evaporate(96.9e-3, 1.65e-3, 35.3e-3, (96.9 - 35.3) / 1.65, DRYING)
    assert shrunk == pytest.approx(35.3e-3)
    dried = drying.evaporate(96.9e-3, 1.65e-3, 35.3e-3, 37.3 + 78.5, DRYING)
    assert dried / 0.180 == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize("order", [0.5, 0.8, 1.0, 1.2, 1.5])
def test_evaporation_is_exact_however_it_is_cut(order: float) -> None:
    coefficients = DryingCoefficients(falling_exponent=order)
    whole = drying.evaporate(0.0969, 1.65e-3, 0.0353, 70.0, coefficients)
    part = np.array(0.0969)
    for _ in range(70):
        part = drying.evaporate(part, 1.65e-3, 0.0353, 1.0, coefficients)
    assert part == pytest.approx(whole, rel=1e-9)
    assert 0.0 <= whole < 0.0353


def test_binder_migration() -> None:
    rates = np.array([0.5, 1.0, 2.0]) * 1e-3
    peclet = drying.peclet_number(rates, 134.6e-6, RECIPE, DRYING)
    np.testing.assert_allclose(peclet, [0.65, 1.31, 2.62], atol=0.006)
    np.testing.assert_allclose(drying.binder_at_bottom(peclet), [0.708, 0.484, 0.206], atol=6e-4)
    assert drying.binder_at_bottom(0.0) == pytest.approx(1.0)


def test_dryer_closes_its_solvent_balance_and_reaches_air_temperature() -> None:
    zones = [Zone(3.0, celsius + KELVIN, 35.0) for celsius in (90.0, 110.0, 120.0)]
    dried = dry(0.180, 0.65, np.array([1.0, 8.0]) / 60, zones, RECIPE, DRYING)
    np.testing.assert_allclose(dried.solvent, 0.180 * dried.residual_solvent)
    assert dried.residual_solvent[0] < 1e-6 < 0.1 < dried.residual_solvent[1]
    assert dried.web_temperature[0] == pytest.approx(393.15, abs=0.01)
    assert dried.web_temperature[1] < 385.0
    assert dried.zone_temperatures.shape == (3, 2)
    np.testing.assert_allclose(
        materials.porosity(0.180, dried.thickness, RECIPE), dried.porosity, rtol=1e-12
    )
    assert dried.porosity[0] == pytest.approx(0.46, abs=0.01)


def test_solvent_lost_is_the_flux_summed_over_the_dryer() -> None:
    zone = Zone(3.0, 393.15, 35.0)
    solvent, temperature = drying.initial_solvent(0.180, 0.65), np.array(298.15)
    critical = drying.critical_solvent(0.180, 0.46, RECIPE)
    summed, start = 0.0, float(solvent)
    for _ in range(8000):
        wet = drying.flux(temperature, zone.air_temperature, zone.alpha, zone.vapour, DRYING)
        summed += 0.01 * float(wet * drying.falling_factor(solvent, critical, DRYING))
        temperature, solvent, _ = drying.advance(
            temperature, solvent, 0.180, critical, zone, 0.01, DRYING
        )
    assert start - float(solvent) == pytest.approx(summed, rel=2e-4)


def test_steady_web_temperature_is_the_film_temperature() -> None:
    zone = Zone(3.0, 393.15, 35.0)
    temperature = np.array(298.15)
    for _ in range(200):
        temperature, _, _ = drying.advance(temperature, 1.0, 0.180, 0.0353, zone, 5.0, DRYING)
    film = drying.film_temperature(393.15, 35.0, 0.0, 0.0, 0.0, DRYING)
    assert temperature == pytest.approx(float(film), abs=0.01)


@pytest.mark.parametrize(
    ("gap", "load", "porosity", "thickness"),
    [(40, 330, 0.260, 54.4), (60, 157, 0.329, 60.1), (80, 34, 0.423, 69.9)],
)
def test_calender_set_by_gap(gap: float, load: float, porosity: float, thickness: float) -> None:
    assert calendering.compaction_resistance(0.180, 298.15, PLAIN) == pytest.approx(224e3)
    behind = calender(gap * 1e-6, 0.0, 298.15, 0.02, 0.180, 0.46, RECIPE, PLAIN)
    assert behind.line_load / 1e3 == pytest.approx(load, abs=0.6)
    assert behind.porosity == pytest.approx(porosity, abs=6e-4)
    assert behind.thickness * 1e6 == pytest.approx(thickness, abs=0.06)
    assert materials.mass_loading(behind.porosity, behind.thickness, RECIPE) == pytest.approx(
        0.180, rel=1e-12
    )


def test_open_calender_touches_nothing() -> None:
    behind = calender(300e-6, 0.0, 298.15, 0.02, 0.180, 0.46, RECIPE, PLAIN)
    assert behind.line_load == 0.0
    assert behind.porosity == pytest.approx(0.46)


def test_gap_zero_adds_to_the_gap() -> None:
    shifted = calender(40e-6, 20e-6, 298.15, 0.02, 0.180, 0.46, RECIPE, PLAIN)
    plain = calender(60e-6, 0.0, 298.15, 0.02, 0.180, 0.46, RECIPE, PLAIN)
    assert shifted.line_load == plain.line_load


def test_gap_for_a_line_load_is_the_inverse() -> None:
    loads = np.array([1e3, 100e3, 1500e3])
    gaps = calendering.gap_for_line_load(loads, 0.180, 0.46, 298.15, RECIPE, PLAIN)
    found = calendering.line_load(gaps, 0.180, 0.46, 298.15, RECIPE, PLAIN)
    np.testing.assert_allclose(found, loads, rtol=1e-9)


def test_structure_after_calendering() -> None:
    spheres = CalenderingCoefficients(bruggeman_exponent=0.5)
    dense = CalenderingCoefficients(bruggeman_exponent=1.0)
    assert calendering.tortuosity(0.30, spheres) == pytest.approx(1.826, abs=5e-4)
    assert calendering.tortuosity(0.30, dense) == pytest.approx(3.333, abs=5e-4)
    assert calendering.pore_radius(0.46, 0.46, PLAIN) == pytest.approx(0.8e-6)
    assert calendering.bending(500e3, np.array([-1.0, 0.0, 1.0]), PLAIN)[1] == pytest.approx(2e-6)


def test_arrays_broadcast() -> None:
    gaps = np.array([40e-6, 60e-6])[:, None]
    speeds = np.array([0.01, 0.1, 0.2])[None, :]
    assert calender(gaps, 0.0, 350.0, speeds, 0.18, 0.46, RECIPE, PLAIN).porosity.shape == (2, 3)
