"""The estimator: slow, robust, and quick when the process has really shifted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twin.estimation import BiasEstimator
from twin.samples import Floats

NOISE = 0.3


def fed(values: list[float], mean: float = 0.0, relative: bool = False) -> BiasEstimator:
    estimator = BiasEstimator(NOISE, relative)
    for second, value in enumerate(values):
        estimator.update(np.array([second]), np.array([mean + value]), np.array([mean]))
    return estimator


def bias(estimator: BiasEstimator, at: int = 2**60) -> float:
    return float(estimator.at(np.array([at]))[0][0])


def noise(count: int) -> list[float]:
    return (NOISE * np.random.default_rng(7).standard_normal(count)).tolist()


def test_nothing_is_known_before_the_first_residual() -> None:
    found, sigma = BiasEstimator(NOISE).at(np.array([5]))
    assert found[0] == 0.0
    assert np.isnan(sigma[0])


def test_one_spike_changes_nothing() -> None:
    quiet, spiked = fed(noise(80)), fed([*noise(80), 20.0])
    assert bias(spiked) == pytest.approx(bias(quiet), abs=1e-12)


def test_a_step_is_adopted_with_the_second_segment() -> None:
    stepped = fed([*noise(80), -16.0, -16.1])
    assert bias(stepped) == pytest.approx(-16.1, abs=0.3)


def test_a_small_step_is_found_by_its_persistence() -> None:
    values = noise(110)
    shifted = fed([value + (0.7 if index >= 80 else 0.0) for index, value in enumerate(values)])
    assert bias(shifted) == pytest.approx(0.7, abs=0.25)


def test_noise_is_learned_and_never_below_what_is_stated() -> None:
    estimator = fed((3.0 * np.array(noise(300))).tolist())
    assert estimator.state(np.array([2**60]))[1][0] == pytest.approx(3.0 * NOISE, rel=0.4)
    assert fed([0.0] * 50).state(np.array([2**60]))[1][0] >= NOISE


def test_a_factor_holds_at_another_value() -> None:
    estimator = fed([-9.0] * 20, mean=100.0, relative=True)
    corrected, _ = estimator.correct(np.array([200.0]), np.array([2**60]))
    assert corrected[0] == pytest.approx(182.0, rel=1e-6)


def test_a_revised_input_leaves_the_corrected_value() -> None:
    for relative in (False, True):
        estimator = fed([-9.0] * 20, mean=100.0, relative=relative)
        estimator.shift(50, 100.0, 92.0)
        assert estimator.correct(np.array([92.0]), np.array([60]))[0][0] == pytest.approx(91.0)
        assert estimator.correct(np.array([100.0]), np.array([40]))[0][0] == pytest.approx(91.0)


def test_a_prior_gives_an_interval_before_the_first_residual_and_is_soon_forgotten() -> None:
    estimator = BiasEstimator(NOISE, prior=2.0)
    before, sigma = estimator.correct(np.array([10.0]), np.array([5]))
    assert before[0] == 10.0
    assert sigma[0] == pytest.approx(np.hypot(2.0, NOISE))
    values = np.array([1.5 + value for value in noise(60)])
    estimator.update(np.arange(60), values, np.zeros(60))
    assert bias(estimator) == pytest.approx(1.5, abs=0.2)


def test_others_build_on_what_drifts_but_not_on_a_jump_that_one_gauge_saw() -> None:
    drifting = np.linspace(0.0, 3.0, 200) + np.array(noise(200))
    drifted = fed(drifting.tolist())
    assert drifted.shared(np.array([2**60]))[0][0] == bias(drifted)
    jumped = fed([*noise(80), *(-16.0 + value for value in noise(20))])
    shared, known = jumped.shared(np.array([2**60]))
    assert known[0]
    assert bias(jumped) == pytest.approx(-16.0, abs=0.5)
    assert shared[0] == pytest.approx(0.0, abs=0.5)


def test_other_material_opens_the_bias_by_the_prior() -> None:
    settled, opened = (BiasEstimator(NOISE, prior=5.0) for _ in range(2))
    values = np.append(noise(80), [3.0])
    time, mean = np.arange(81), np.zeros(81)
    settled.update(time, values, mean)
    opened.update(time, values, mean, fresh=time == 80)
    assert bias(settled) == pytest.approx(0.0, abs=0.3)
    assert bias(opened) == pytest.approx(3.0, abs=0.1)


def test_after_a_move_the_bias_may_change_by_a_share_of_it() -> None:
    still, moved = (BiasEstimator(NOISE) for _ in range(2))
    time, mean = np.arange(81), np.zeros(81)
    level = np.where(time < 80, 0.0, 20.0)
    values = np.append(noise(80), [0.9])
    still.update(time, values, mean, level=mean)
    moved.update(time, values, mean, level=level)
    assert abs(bias(still)) < 0.2
    assert bias(moved) == pytest.approx(0.9, abs=0.15)


@pytest.mark.parametrize(
    ("own", "pause", "followed"),
    [(True, 10, 0.05), (True, 600, 0.15), (True, 36_000, 0.9), (False, 36_000, 0.05)],
)
def test_an_offset_of_a_machine_moves_on_while_nothing_is_read(
    own: bool, pause: int, followed: float
) -> None:
    estimator, nothing, slope = fed([0.0] * 80), np.zeros(1), np.ones(1) if own else None
    estimator.update(np.array([80 + pause * 10**9]), np.array([0.5]), nothing, slope)
    assert bias(estimator) / 0.5 == pytest.approx(followed, rel=0.3)


def test_what_comes_with_a_foil_is_the_foils_and_what_comes_later_the_coatings() -> None:
    time, mean = np.arange(280), np.full(280, 180.0)
    shift = np.where(time < 80, 0.0, 1.5)
    drift = np.interp(time, [120, 220], [0.0, 6.0])
    read = mean + shift + drift + np.array(noise(280))
    for relative in (False, True):
        estimator = BiasEstimator(NOISE, relative, foil=1.1)
        estimator.update(time, read, mean, spliced=time == 80)
        for until, coated in ((79, 180.0), (110, 180.0), (279, 186.0)):
            at = np.array([until])
            corrected = estimator.correct(mean[:1], at)[0]
            assert corrected[0] == pytest.approx(coated + shift[until], abs=0.4)
            assert estimator.coating(corrected, at)[0] == pytest.approx(coated, abs=0.4)
    unspliced = BiasEstimator(NOISE, foil=1.1)
    unspliced.update(time, read, mean)
    assert unspliced.coating(read, time) == pytest.approx(read)


def test_no_foil_explains_what_is_too_much_for_one() -> None:
    time, mean = np.arange(100), np.zeros(100)
    estimator = BiasEstimator(NOISE, foil=1.1)
    estimator.update(time, 9.0 * (time >= 80) + noise(100), mean, spliced=time == 80)
    assert estimator.coating(np.array([9.0]), time[-1:])[0] == pytest.approx(9.0, abs=0.2)


def test_what_was_taken_for_the_foil_is_forgotten_with_it() -> None:
    time, mean = np.arange(100), np.zeros(100)
    estimator = BiasEstimator(NOISE, foil=1.1)
    estimator.update(time, 1.5 * (time >= 80) + noise(100), mean, spliced=time == 80)
    estimator.forget_since(80, 100)
    assert estimator.coating(np.array([5.0]), np.array([99]))[0] == pytest.approx(3.5, abs=0.3)
    assert estimator.coating(np.array([5.0]), np.array([100]))[0] == 5.0


@pytest.mark.parametrize("prior", [2.0, math.inf])
def test_once_all_is_forgotten_it_is_as_before_the_first(prior: float) -> None:
    time = np.arange(10)
    mean: Floats = np.full(10, 180.0)
    estimator = BiasEstimator(NOISE, prior=prior)
    estimator.forget_since(0, 0)
    estimator.update(time, mean + 4.0, mean)
    estimator.forget_since(0, 10)
    later, new = np.array([10]), BiasEstimator(NOISE, prior=prior)
    assert not estimator.shared(later)[1][0]
    made, expected = (each.correct(mean[:1], later) for each in (estimator, new))
    assert np.array_equal(made, expected, equal_nan=True)
    assert np.array_equal(estimator.at(later), new.at(later), equal_nan=True)
    estimator.shift(11, 1.0, 2.0)
    assert estimator.correct(mean[:1], np.array([11]))[0][0] == 180.0
    estimator.update(np.array([12]), np.array([183.0]), mean[:1])
    assert estimator.shared(np.array([12]))[1][0]


def test_what_was_forgotten_was_not_learned() -> None:
    time, mean = np.arange(10), np.zeros(10)
    estimator = BiasEstimator(NOISE)
    assert estimator.learned < 0
    estimator.update(time, mean + 1.0, mean)
    assert estimator.learned == 9
    estimator.shift(11, 1.0, 2.0)
    assert estimator.learned == 9
    estimator.forget_since(6, 12)
    assert estimator.learned == 5
    estimator.forget_since(0, 13)
    assert estimator.learned < 0
