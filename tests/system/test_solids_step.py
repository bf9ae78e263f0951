"""A batch with other solids than it says: the loading comes back while the laboratory is silent."""

from __future__ import annotations

import numpy as np
import pytest

from tests.in_process import LineInProcess
from twin.samples import Floats

TARGET = 180.0
BETA = 10.6
"""From the coating head to the beta gauge, m."""


def loading(seed: int, accept: bool, scenario: str = "slurry-solids-step") -> Floats:
    """True loading per segment, g/m^2; 150 m let the late laboratory value act as well."""
    run = LineInProcess(scenario, seed=seed, metres=150, accept=accept)
    run.run()
    found: Floats = run.line.truth().segments["mass_loading"].astype(np.float64)
    return found


@pytest.mark.parametrize("seed", [1, 4])
def test_loading_comes_back_and_stays(seed: int) -> None:
    found = loading(seed, accept=True)
    metre = (np.arange(len(found)) + 0.5) * 0.5
    off = np.abs(found / TARGET - 1) > 0.01
    first = float(metre[off & (metre > 55)][0])
    assert 60 < first < 70
    back = metre > first + BETA + 15
    assert not off[back].any()
    assert (found[metre > first] / TARGET - 1).max() < 0.02


def test_without_the_twin_it_stays_out() -> None:
    found = loading(1, accept=False)
    metre = (np.arange(len(found)) + 0.5) * 0.5
    assert (np.abs(found[metre > 75] / TARGET - 1) > 0.02).all()


def test_a_healthy_line_is_left_alone() -> None:
    runs = []
    for accept in (True, False):
        run = LineInProcess("nominal", seed=3, metres=80, accept=accept)
        run.run()
        steady = run.line.truth().segments["mass_loading"].astype(np.float64)[60:]
        runs.append((steady.std(), len(run.recommendations("proposed"))))
    (with_twin, advised), (alone, _) = runs
    assert with_twin < 1.05 * alone
    assert advised < 15


def test_unknown_zero_of_the_gap_is_found_at_once() -> None:
    """Seed 4 has the largest of the first six; an additive bias swung between the range's ends."""
    run = LineInProcess("nominal", seed=4, metres=60, accept=True)
    run.run()
    thickness = run.line.truth().segments["calendered_thickness"].astype(np.float64)
    out = (thickness < 58.5) | (thickness > 61.5)
    assert out[:100].sum() * 0.5 < 6.0
    moves = [r for r in run.recommendations("verified") if r.web == "calender"]
    assert 1 <= len(moves) <= 5
