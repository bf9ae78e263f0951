"""Raw readings: a gauge that freezes, spikes or scatters is found, a moving line is not."""

from __future__ import annotations

import numpy as np
import pytest

from twin.readings import Condition, Readings
from twin.samples import Floats

S = 1_000_000_000


def healthy(count: int, seed: int = 1) -> Floats:
    """A thickness of 120 um that wanders, read with 0.5 um of noise, to 0.01 um."""
    draw = np.random.default_rng(seed)
    course = 120.0 + 0.3 * np.sin(np.arange(count) / 40.0)
    return np.round(course + 0.5 * draw.standard_normal(count), 2)


def follow(
    values: Floats, size: int = 10**6, stands: bool = False
) -> tuple[list[int], list[Condition]]:
    """Which readings are spikes, and what was found, the stream cut into pieces."""
    readings = Readings(3)
    time = np.arange(len(values)) * S
    travel = np.zeros(len(values)) if stands else np.arange(len(values)) * 0.05
    spikes: list[int] = []
    found: list[Condition] = []
    for start in range(0, len(values), size):
        piece = slice(start, start + size)
        alone, conditions = readings.follow(time[piece], values[piece], travel[piece])
        spikes += (start + np.flatnonzero(alone)).tolist()
        found += conditions
    return spikes, found


def test_a_healthy_gauge_is_left_alone() -> None:
    for seed in range(5):
        spikes, found = follow(healthy(5000, seed))
        assert found == []
        assert len(spikes) <= 1


def test_a_frozen_gauge_is_found_after_a_few_readings_and_well_again_later() -> None:
    values = healthy(2000)
    values[1000:1200] = values[999]
    (frozen, well) = follow(values)[1]
    assert (frozen.kind, frozen.active, frozen.tag) == ("frozen", True, 3)
    assert 1004 <= frozen.time // S <= 1010
    assert frozen.since // S == 999
    assert (well.kind, well.active) == ("frozen", False)
    assert 1200 < well.time // S < 1300


def test_a_gauge_with_coarse_steps_is_not_frozen_by_chance() -> None:
    values = np.round(healthy(5000) / 0.5) * 0.5
    assert follow(values)[1] == []


@pytest.mark.parametrize("times", [24, 30, 100])
def test_a_gauge_that_repeats_its_readings_is_not_frozen_until_it_is(times: int) -> None:
    """It integrates for seconds and publishes ten times a second."""
    values = np.repeat(healthy(20_000 // times), times)
    assert follow(values)[1] == []
    values[15_000:] = values[14_999]
    frozen, *_ = follow(values)[1]
    assert (frozen.kind, frozen.active) == ("frozen", True)
    assert 15_000 < frozen.time // S < 15_000 + 5 * times


def test_a_gauge_that_repeats_longer_than_expected_is_taken_back() -> None:
    values = np.repeat(healthy(100), 300)
    found = follow(values)[1]
    assert [each.active for each in found] == [True, False] * 3
    assert found[-1].time // S < 1000


@pytest.mark.parametrize("share", [4, 6])
def test_a_gauge_that_shows_less_than_its_noise_is_hardly_ever_frozen(share: int) -> None:
    """Its readings stay equal while the process lies in the middle of a step."""
    draw, count = np.random.default_rng(1), 40_000
    course = 0.6 * np.sin(np.arange(count) / 500.0)
    values = np.round(course + draw.standard_normal(count) / share)
    assert sum(each.active for each in follow(values)[1]) <= 3


def test_a_gauge_frozen_from_the_start_is_named() -> None:
    for first in (1, 20):
        values = healthy(300)
        values[first:] = values[first - 1]
        (frozen,) = follow(values)[1]
        assert (frozen.kind, frozen.active) == ("frozen", True)
        assert frozen.time // S <= first + 101


def test_a_gauge_that_was_frozen_before_is_named_as_soon() -> None:
    values = healthy(4000)
    for start in (1000, 2000, 3000):
        values[start : start + 200] = values[start - 1]
    found = [each for each in follow(values)[1] if each.active]
    assert [each.kind for each in found] == ["frozen"] * 3
    assert all(each.time // S % 1000 <= 10 for each in found)


def test_where_the_web_stands_nothing_is_frozen() -> None:
    values = healthy(2000)
    values[1000:1200] = values[999]
    assert follow(values, stands=True)[1] == []


def test_spikes_are_taken_out_and_their_gauge_is_named() -> None:
    values = healthy(3000)
    draw = np.random.default_rng(2)
    wrong = np.flatnonzero(draw.random(3000) < 0.03)
    wrong = wrong[wrong > 500]
    values[wrong] += draw.choice([-25.0, 25.0], len(wrong))
    spikes, (spiking, *others) = follow(values)
    assert spiking.kind == "spiking"
    assert spiking.active
    assert spiking.time // S < wrong[10]
    assert others == []
    assert len(set(wrong.tolist()) - set(spikes)) <= 0.05 * len(wrong)
    assert len(set(spikes) - set(wrong.tolist())) <= 2


def test_a_step_of_the_process_is_no_spike() -> None:
    values = healthy(2000)
    values[1000:] += 10.0
    spikes, found = follow(values)
    assert found == []
    assert spikes in ([], [1000])


def test_a_gauge_that_scatters_is_found() -> None:
    values = healthy(3000)
    values[1500:] += 3.0 * np.random.default_rng(4).standard_normal(1500)
    (noisy,) = follow(values)[1]
    assert (noisy.kind, noisy.active) == ("noisy", True)
    assert 1500 < noisy.time // S < 1700


@pytest.mark.parametrize("size", [1, 7, 250])
def test_how_the_stream_is_cut_changes_nothing(size: int) -> None:
    values = healthy(1500)
    values[700:720] = values[699]
    values[[900, 950, 951, 1000, 1020, 1050]] += 30.0
    values[1200:] += 4.0 * np.random.default_rng(4).standard_normal(300)
    assert follow(values, size) == follow(values)
