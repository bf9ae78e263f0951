"""The margin: whatever the residuals do, the stated interval misses its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.conformal import FIRST, GAUSSIAN, MISSED, RATE, ROW, Margin

S = 1_000_000_000
DELAY = 20
"""Segments between a step and its gauge."""


def missed(score: np.ndarray, delay: int = DELAY) -> tuple[np.ndarray, Margin]:
    """Whether each stated interval missed, and the margin at the end."""
    margin = Margin()
    left = np.arange(len(score), dtype=np.int64) * S
    margin.update(left + delay * S, left, score)
    return score > GAUSSIAN * margin.at(left - 1), margin


def test_before_the_first_measurement_sigma_is_as_stated() -> None:
    np.testing.assert_array_equal(Margin().at(np.array([0, S])), [1.0, 1.0])


@pytest.mark.parametrize("wrong", [0.3, 1.0, 3.0])
def test_a_sigma_that_is_wrong_by_a_factor_is_found(wrong: float) -> None:
    draw = np.random.default_rng(1)
    out, margin = missed(np.abs(draw.standard_normal(4000)) * wrong)
    assert out[500:].mean() == pytest.approx(MISSED, abs=0.015)
    assert margin.at(np.array([2**62]))[0] == pytest.approx(wrong, rel=0.35)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    delay=st.integers(0, 30),
    levels=st.lists(st.floats(0.05, 20.0), min_size=1, max_size=5),
)
def test_the_share_missed_is_bounded_by_how_far_the_margin_went(
    seed: int, delay: int, levels: list[float]
) -> None:
    draw = np.random.default_rng(seed)
    score = np.concatenate([np.abs(draw.standard_normal(200)) * level for level in levels])
    out, margin = missed(score, delay)
    levels_after = np.log(margin.at((np.arange(FIRST - 1, len(score)) + delay) * S))
    steps = np.diff(levels_after)
    # after many in a row inside it is set down at once, besides
    set_down = np.minimum(steps + RATE * MISSED, 0.0).sum()
    gone = (levels_after[-1] - levels_after[0] - set_down) / (RATE * (len(score) - FIRST))
    assert (steps < -RATE * MISSED - 1e-9).sum() <= len(score) / ROW
    assert out[FIRST:].mean() - MISSED == pytest.approx(gone, abs=1e-9)


def test_a_rough_start_is_not_paid_for_with_wide_intervals() -> None:
    draw = np.random.default_rng(7)
    rough = np.concatenate([np.full(30, 20.0), np.ones(400)])
    out, _ = missed(np.abs(draw.standard_normal(430)) * rough, 0)
    assert not out[FIRST : FIRST + ROW].any()
    assert out[FIRST + ROW + 1 :].mean() == pytest.approx(MISSED, abs=0.03)


@pytest.mark.parametrize("wrong", [0.2, 5.0])
def test_the_first_measurements_already_say_how_wrong_sigma_is(wrong: float) -> None:
    draw = np.random.default_rng(5)
    runs = [missed(np.abs(draw.standard_normal(FIRST)) * wrong, 0)[0] for _ in range(200)]
    # nine measurements are too few to hold nine of ten with certainty
    assert np.mean(runs, axis=0)[10:].mean() == pytest.approx(MISSED, abs=0.02)


@given(at=st.lists(st.integers(1, 99), max_size=5))
def test_cutting_changes_nothing(at: list[int]) -> None:
    draw = np.random.default_rng(3)
    score = np.abs(draw.standard_normal(100))
    left = np.arange(100, dtype=np.int64) * S
    whole, cut = Margin(), Margin()
    whole.update(left + DELAY * S, left, score)
    for rows in np.split(np.arange(100), sorted(at)):
        cut.update(left[rows] + DELAY * S, left[rows], score[rows])
    np.testing.assert_array_equal(whole.at(left), cut.at(left))
