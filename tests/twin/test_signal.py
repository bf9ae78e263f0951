"""Signals over time: positions and held values do not depend on how they came."""

from __future__ import annotations

import numpy as np
import pytest

from twin.samples import Floats, Ints
from twin.signal import HeldSignal, WebPosition

S = 1_000_000_000


def times(*seconds: float) -> Ints:
    return (np.array(seconds) * S).astype(np.int64)


def web(seconds: list[float], values: list[float], from_speed: bool = False) -> WebPosition:
    position = WebPosition(1.0, from_speed)
    for second, value in zip(seconds, values, strict=True):
        position.extend(times(second), np.array([value]))
    return position


def at(position: WebPosition, *seconds: float) -> Floats:
    return position.at(times(*seconds))


def test_linear_between_reports_and_nan_before() -> None:
    found = at(web([1, 2], [10.0, 11.0]), 0.5, 1.0, 1.25, 2.0)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([10.0, 10.25, 11.0])


def test_a_silent_encoder_stands() -> None:
    """Reports at 1 s and 61 s: it stood until 60 s."""
    assert at(web([1, 61], [10.0, 10.5]), 30.0, 60.0, 60.5) == pytest.approx([10.0, 10.0, 10.25])


def test_a_counter_that_is_set_back_goes_on() -> None:
    assert at(web([1, 2, 3], [10.0, 0.0, 0.5]), 3.0) == pytest.approx([10.5])


def test_a_report_that_no_other_confirms_does_not_set_the_counter_back() -> None:
    seconds = np.arange(0.0, 50.0, 0.1)
    values = 100.0 + 0.1 * seconds
    values[[300, 410]] = 0.0, 50.0
    position = web(seconds.tolist(), values.tolist())
    assert at(position, 29.9, 30.0, 30.1, 48.0) == pytest.approx([102.99, 102.99, 103.01, 104.8])


def test_a_counter_that_is_set_back_twice_goes_on() -> None:
    position = web([1, 2, 3, 4, 5], [100.0, 50.0, 0.0, 0.5, 1.0])
    assert at(position, 2.0, 3.0, 5.0) == pytest.approx([100.0, 100.0, 101.0])


def test_a_counter_may_be_lost_while_it_is_set_back() -> None:
    position = web([1, 2, 3, 4, 5], [100.0, np.nan, 0.0, np.nan, 0.5])
    assert at(position, 5.0) == pytest.approx([100.5])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_fall_is_judged_alike_however_it_came(size: int) -> None:
    """Cut into pieces, each taken by another that goes on from a snapshot."""
    seconds = np.arange(20.0)
    values = np.concatenate([100.0 + 0.1 * seconds[:10], 0.1 * seconds[:10]])
    values[[4, 15]] = 0.0, 1e-3 - 90.0
    whole, cut = web([], []), web([], [])
    whole.extend(times(*seconds), values)
    for start in range(0, 20, size):
        piece = slice(start, start + size)
        before, cut = cut, WebPosition(1.0)
        cut.restore(before.snapshot(0))
        cut.extend(times(*seconds[piece]), values[piece])
        # what is known of the time before the last report does not change any more
        known = seconds[seconds < seconds[piece][-1]]
        np.testing.assert_array_equal(at(cut, *known), at(whole, *known))
    assert at(whole, 19.0) == pytest.approx([101.8])


def test_a_lost_encoder_says_so_and_keeps_counting() -> None:
    position = web([1, 2, 3, 5, 6], [1.0, 2.0, np.nan, 5.0, 6.0])
    assert position.known(times(2.5, 3.5, 5.5)).tolist() == [True, False, True]
    assert at(position, 6.0) == pytest.approx([6.0])


def test_a_steady_speed_may_be_silent() -> None:
    position = web([0], [0.05], from_speed=True)
    assert at(position, 60.0) == pytest.approx([3.0])
    assert position.reached(np.array([3.0]))[0] == 60 * S
    position.extend(times(100.0), np.array([0.05]))
    assert at(position, 60.0) == pytest.approx([3.0])
    assert position.reached(np.array([3.0]))[0] == 60 * S


def test_means_need_half_of_the_time() -> None:
    signal, position = HeldSignal(), web([0, 10], [0.0, 10.0])
    moments = times(0, 4, 8)
    signal.extend(moments, np.array([2.0, np.nan, 6.0]), position.at(moments))
    means = signal.mean_over_time(times(0, 3, 0), times(4, 7, 10))
    assert means[0] == pytest.approx(2.0)
    assert np.isnan(means[1])
    assert means[2] == pytest.approx((4 * 2.0 + 2 * 6.0) / 6)


def test_only_what_is_new_is_a_change() -> None:
    signal = HeldSignal()
    for second, value in enumerate([1.0, 1.0, 2.0, 2.0]):
        signal.extend(times(second), np.array([value]), np.array([0.0]))
    assert signal.changes(-1, 9 * S)[1].tolist() == [1.0, 2.0]
    assert signal.changes(0, S)[1].tolist() == []
    assert signal.changes(S, 9 * S)[1].tolist() == [2.0]
